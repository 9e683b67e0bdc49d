#!/usr/bin/env python3
"""The twin in PyTorch of `cargo bench -p cord-train --bench speed`: the same work, one line of JSON.

    python3 -m venv .venv && .venv/bin/pip install torch==2.15.0 transformers==5.23.0
    .venv/bin/python scripts/bench_torch.py --shape mini --work train --threads 2

Shapes and amounts of work are in `crates/cord-train/benches/work.json`. The model is transformers' own, in f32, not compiled; training ends with `clip_grad_norm_` and the fused `AdamW`; decoding is a greedy loop over the model
with a key-value cache and without the overhead of `generate`. Where PyTorch offers a choice (attention by `sdpa` or
`eager`, a dynamic or a static cache), each is tried first and the fastest is measured. With `--gpu`, training is in bf16 by autocast with
f32 weights and optimiser, recomputing where the twin does, and decoding by a model in bf16; attention is `sdpa`, since `eager` holds a
matrix of tokens × tokens. Not covered: `torch.compile`.
"""

import argparse
import itertools
import json
import os
import pathlib
import sys
import time

os.environ["HF_HUB_OFFLINE"] = "1"
try:
    import torch
    import transformers
except ImportError as missing:
    sys.exit(f"expected torch and transformers in `{sys.executable}`, got `{missing}`\n"
             "hint: python3 -m venv .venv && .venv/bin/pip install torch==2.15.0 transformers==5.23.0")

WORK = pathlib.Path(__file__).resolve().parent.parent / "crates/cord-train/benches/work.json"
ATTENTIONS = ["sdpa", "eager"]
CACHES = ["dynamic", "static"]


def tokens(model, rows: int, count: int) -> torch.Tensor:
    """The same made-up text as the twin's, on the model's device: `[rows, count]`, rows differ, no special token."""
    words = model.config.vocab_size - 3
    text = [[3 + (row * 31 + place * 7) % words for place in range(count)] for row in range(rows)]
    return torch.tensor(text, device=model.device)


def trainer(model, work):
    ids = tokens(model, work["batch"], work["tokens"])
    linear = [module.weight for module in model.modules() if isinstance(module, torch.nn.Linear)]
    # The head is the embedding table, which decays no more than a norm does.
    linear = [weight for weight in linear if weight is not model.get_input_embeddings().weight]
    other = [p for p in model.parameters() if all(p is not weight for weight in linear)]
    optimiser = torch.optim.AdamW(
        [{"params": linear, "weight_decay": 0.05}, {"params": other, "weight_decay": 0.0}], lr=1e-4, fused=True)

    if work.get("recompute"):
        model.gradient_checkpointing_enable()

    def step() -> int:
        # The last token of a row is only ever a target.
        with torch.autocast(model.device.type, torch.bfloat16, enabled=work.get("bf16", False)):
            logits = model(ids[:, :-1], use_cache=False).logits
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        loss.item()
        return ids.numel()

    return step


def decoder(model, work, batch: int, cache: str):
    prompt = tokens(model, batch, work["prompt"])
    new = work["new"]

    @torch.inference_mode()
    def draw(logits: torch.Tensor) -> torch.Tensor:
        """The most likely token of each row, `[rows, 1]`; its log-probability goes to the host, as in the twin."""
        best = logits.argmax(-1, keepdim=True)
        torch.log_softmax(logits, -1).gather(-1, best).tolist()
        return best

    @torch.inference_mode()
    def reply() -> int:
        if cache == "static":
            past = transformers.StaticCache(config=model.config, max_cache_len=work["prompt"] + new)
        else:
            past = transformers.DynamicCache(config=model.config)
        drawn = [draw(model(prompt, past_key_values=past, logits_to_keep=1).logits[:, -1])]
        while len(drawn) < new:
            drawn.append(draw(model(drawn[-1], past_key_values=past).logits[:, -1]))
        return sum(len(row) for row in torch.cat(drawn, 1).tolist())

    return reply


def seconds(work, clock=time.perf_counter) -> float:
    begun = clock()
    work()
    return clock() - begun


def main() -> None:
    shapes = json.loads(WORK.read_text())
    parser = argparse.ArgumentParser(description="the same work as `cargo bench --bench speed`, in PyTorch")
    parser.add_argument("--shape", required=True, choices=list(shapes))
    parser.add_argument("--work", required=True, choices=["train", "decode"])
    parser.add_argument("--batch", type=int, help="sequences that decode at once")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cpu", help="`cpu`, or `cuda:0`: results go to the host, so the clock sees all of it")
    parser.add_argument("--gpu", action="store_true", help="the work that `work.json` has for GPUs")
    parser.add_argument("--tokens", type=int, help="with `--gpu --work train`: those of the sample")
    parser.add_argument("--variant", help="measure this one, as in the result's `variant`, without trying the others")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    shape = shapes[arguments.shape]
    work = (shape.get("gpu", {}) if arguments.gpu else shape).get(arguments.work)
    if arguments.gpu and arguments.work == "train":
        work = next((one for one in work or [] if arguments.tokens in (None, one["tokens"])), None)
    if work is None:
        parser.error(f"expected a shape and tokens that `work.json` lists this work for, got `{arguments.shape}`")
    if arguments.work == "train":
        batch, caches = work["batch"], [None]
    else:
        batch, caches = arguments.batch or work["batches"][0], CACHES
        if batch not in work["batches"]:
            parser.error(f"expected `--batch` to be one of {work['batches']}, got `{batch}`")

    config = transformers.AutoConfig.for_model(**shape["config"])
    half = arguments.gpu and arguments.work == "decode"
    model = transformers.AutoModelForCausalLM.from_config(config).to(arguments.device, torch.bfloat16 if half else torch.float32)
    model.train(arguments.work == "train")
    attentions = ["sdpa"] if arguments.gpu else ATTENTIONS
    variants = {"/".join(filter(None, pair)): pair for pair in itertools.product(attentions, caches)}
    if arguments.variant and arguments.variant not in variants:
        parser.error(f"expected `--variant` to be one of {list(variants)}, got `{arguments.variant}`")

    def prepare(variant):
        attention, cache = variants[variant]
        model.set_attn_implementation(attention)
        return trainer(model, work) if arguments.work == "train" else decoder(model, work, batch, cache)

    trials = {}
    for variant in [] if arguments.variant else variants:
        run = prepare(variant)
        run()
        # One thread's CPU time is the steadier measure where a machine is not quiet.
        clock = time.process_time if arguments.threads == 1 else time.perf_counter
        trials[variant] = min(seconds(run, clock) for _ in range(2))
    fastest = arguments.variant or min(trials, key=trials.get)
    run = prepare(fastest)
    counts = [run() for _ in range(work["warmup"])]
    cpu = time.process_time()
    times = [seconds(lambda: counts.append(run())) for _ in range(work["repetitions"])]
    cpu = time.process_time() - cpu
    assert len(set(counts)) == 1, f"every repetition has the same tokens: {counts}"
    print(json.dumps({
        "engine": "pytorch", "shape": arguments.shape, "work": arguments.work, "batch": batch,
        "threads": torch.get_num_threads(), "device": arguments.device, "parameters": sum(p.numel() for p in model.parameters()),
        "tokens": counts[0], "tokens_per_second": [counts[0] / t for t in times],
        "tokens_per_cpu_second": counts[0] * len(times) / cpu,
        "variant": fastest, "trials": {variant: counts[0] / t for variant, t in trials.items()},
        "torch": torch.__version__, "transformers": transformers.__version__,
    }))


main()
