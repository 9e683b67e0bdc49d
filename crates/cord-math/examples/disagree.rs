//! Prints where published graders disagree with this crate's verdicts, and counts.
//!
//! ```text
//! cargo run --release -p cord-math --example disagree < pairs.jsonl
//! ```
//!
//! A line is `{"gold": "1/2", "response": "0.5"}`, the response as it would stand inside `\boxed{}`.
#![expect(clippy::print_stdout, reason = "an example reports on standard output")]

use std::collections::BTreeMap;
use std::io::BufRead;

use cord_math::{DEFAULT_FUEL, disagreement};
use serde::Deserialize;

#[derive(Deserialize)]
struct Pair {
    gold: String,
    response: String,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (mut pairs, mut unfinished) = (0u64, 0u64);
    let mut counts: BTreeMap<_, (u64, u64)> = BTreeMap::new();
    for line in std::io::stdin().lock().lines() {
        let pair: Pair = serde_json::from_str(&line?)?;
        pairs += 1;
        match disagreement(&pair.gold, &pair.response, DEFAULT_FUEL) {
            Ok(Some(found)) => {
                for grader in &found.against {
                    let count = counts.entry(*grader).or_default();
                    if found.ours.is_some() { count.0 += 1 } else { count.1 += 1 }
                }
                println!("{}", serde_json::to_string(&found)?);
            }
            Ok(None) => {}
            Err(_) => unfinished += 1,
        }
    }
    println!("{pairs} pairs, {unfinished} out of fuel");
    for (grader, (stricter, laxer)) in counts {
        println!("{grader:?}: rejects {stricter} that we accept, accepts {laxer} that we reject");
    }
    Ok(())
}
