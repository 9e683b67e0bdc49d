//! Verifies pairs on one core and prints pairs per second; `scripts/bench_math_verify.py` runs it beside Math-Verify.
//!
//! ```text
//! cargo run --release -p cord-math --example throughput -- pairs.jsonl 20 > verdicts.txt
//! cargo run --release -p cord-math --example throughput -- hostile 100000
//! ```
//!
//! A line is `{"gold": …, "response": …}`, the response as it would stand inside `\boxed{}`. The verdicts of the
//! first round are printed, one a line; the time of all rounds goes to standard error. `hostile` verifies so many
//! strings made of LaTeX that means nothing, and prints the slowest.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example reports on its streams")]

use std::time::Instant;

use cord_math::{DEFAULT_FUEL, Start, Verdict, verify};
use serde::Deserialize;

#[derive(Deserialize)]
struct Pair {
    gold: String,
    response: String,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("expected a file of pairs, or `hostile`")?;
    let rounds: u64 = arguments.next().map_or(Ok(1), |rounds| rounds.parse())?;
    if path == "hostile" {
        hostile(rounds);
        return Ok(());
    }
    let pairs: Vec<Pair> =
        std::fs::read_to_string(path)?.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let responses: Vec<String> = pairs.iter().map(|pair| format!("\\boxed{{{}}}", pair.response)).collect();
    let begin = Instant::now();
    for round in 0..rounds {
        for (pair, response) in pairs.iter().zip(&responses) {
            let verdict = verify(&pair.gold, response, Start::Plain, DEFAULT_FUEL);
            if round == 0 {
                println!("{}", verdict.is_correct());
            }
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    let count = rounds as f64 * pairs.len() as f64;
    eprintln!("{count} pairs in {seconds:.3} s: {:.0} pairs/s", count / seconds);
    Ok(())
}

fn hostile(count: u64) {
    const PIECES: &[&str] = &[
        "0",
        "7",
        "12",
        "10^",
        "{",
        "}",
        "(",
        ")",
        "[",
        "]",
        "\\{",
        "\\}",
        "\\frac",
        "\\sqrt",
        "\\sqrt[3]",
        "\\sin",
        "\\log_",
        "^",
        "_",
        "!",
        "|",
        "+",
        "-",
        "*",
        "/",
        "=",
        "<",
        "\\le",
        ",",
        ";",
        "\\pm",
        "\\cup",
        "\\pi",
        "\\infty",
        "x",
        "y",
        "e",
        "i",
        "\\binom",
        "\\text{",
        "cm",
        "\\%",
        "\\$",
        "^\\circ",
        "\\begin{pmatrix}",
        "\\end{pmatrix}",
        "\\\\",
        "&",
        " ",
        "9999999999",
        "\\overline",
        "\\ldots",
        "1.5e9",
        "and",
        "twelve",
        "\\boxed{",
        "é",
        "√",
        "²",
        "\\left",
        "\\right",
    ];
    let mut state = 17u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let (mut slowest, mut text_of_slowest, mut unfinished) = (0.0f64, String::new(), 0u64);
    let begin = Instant::now();
    for _ in 0..count {
        let length = 1 + next() % if next() % 100 == 0 { 2000 } else { 60 };
        let mut text = String::new();
        for _ in 0..length {
            text += PIECES[(next() % PIECES.len() as u64) as usize];
        }
        // Some nest deeper than any piece alone would.
        if next() % 20 == 0 {
            let depth = (next() % 200) as usize;
            text = format!("{}{text}{}", "\\sqrt{".repeat(depth), "}".repeat(depth));
        }
        let response = format!("\\boxed{{{text}}}");
        let one = Instant::now();
        let verdict = verify("\\frac{\\sqrt{3}}{2}+x", &response, Start::Plain, DEFAULT_FUEL);
        let seconds = one.elapsed().as_secs_f64();
        unfinished += u64::from(verdict == Verdict::OutOfFuel);
        if seconds > slowest {
            (slowest, text_of_slowest) = (seconds, text);
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    println!("{count} hostile strings in {seconds:.2} s, {unfinished} out of fuel, slowest {:.1} ms", 1000.0 * slowest);
    println!("slowest: {text_of_slowest:.200}");
}
