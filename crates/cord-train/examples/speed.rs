//! throwaway
use cord_core::Seed;
use cord_lm::*;
use cord_train::*;
fn main() {
    let a: Vec<usize> = std::env::args().skip(1).map(|x| x.parse().unwrap()).collect();
    let (h, l, t, b, part, threads) = (a[0], a[1], a[2], a[3], a[4], a[5]);
    let c = LmConfig {
        vocab: 320,
        hidden: h,
        ffn: h * 8 / 3 / 8 * 8,
        layers: l,
        heads: 4,
        kv_heads: 2,
        head_dim: h / 4,
        context: 512,
        rope_theta: 1e4,
        norm_eps: 1e-6,
        tied: true,
        eos: vec![2],
        bos: None,
        pad: Some(0),
    };
    println!("params {}", c.parameters());
    let dev = open_device(DeviceSpec::Cpu).unwrap();
    let m = Transformer::init(&c, Seed::root(1), &dev);
    let ex: Vec<Example> = (0..b * 6)
        .map(|i| Example {
            id: format!("{i}"),
            ids: (0..t as u32).map(|j| (j * 7 + i as u32) % 300).collect(),
            supervised: vec![true; t],
        })
        .collect();
    let s = TrainSettings {
        length: RunLength::Epochs(1),
        batch: b,
        schedule: Schedule { kind: ScheduleKind::Cosine, peak: 1e-3, floor_share: 0.1, warmup_share: 0.1 },
        adamw: AdamWConfig::default(),
        clip_norm: 1.0,
        max_length: 512,
        too_long: LengthPolicy::Error,
        part_tokens: part,
        seed: Seed::root(2),
    };
    train(m, &ex, &s, None, threads, &|| false, &mut |r| {
        println!("{} loss {:.3} {:.0} tok/s", r.step, r.loss, r.tokens as f64 / r.seconds)
    })
    .unwrap();
}
