#!/usr/bin/env python3
"""Compares cord-math with Math-Verify in speed and verdicts, on pairs made from a file of gold answers.

    python3 -m venv /tmp/mv && /tmp/mv/bin/pip install 'math-verify[antlr4_13_2]==0.9.0'
    cargo build --release -p cord-math --example throughput
    /tmp/mv/bin/python scripts/bench_math_verify.py target/release/examples/throughput math500.jsonl gsm8k.jsonl

Each gold answer is paired with itself, with respellings of it that keep its value, and with the next two gold answers (sorted,
so that neighbours look alike). `--pairs FILE` keeps the pairs, for `cargo run --release -p cord-math --example disagree < FILE`. Both graders see `\\boxed{...}` and run on one core, in turn, `--rounds` times; the
median of the rounds is printed. Math-Verify parses gold and response with its default settings, as its own
`math_metric` does; its time includes parsing, as ours does.
"""

import argparse
import fractions
import json
import re
import statistics
import subprocess
import tempfile
import time


def respelled(gold):
    """Other spellings of the same value, each by a rule that keeps it."""
    yield gold
    yield gold.replace("\\frac", "\\dfrac").replace("\\ddfrac", "\\dfrac")
    if "\\text" not in gold and "\\mbox" not in gold:
        yield gold.replace(" ", "")
    if "\\left" in gold:
        yield gold.replace("\\left", "").replace("\\right", "")
    if gold.lstrip("-").isdigit():
        yield f"x = {gold}"
        yield f"{gold}.0"
        yield f"\\text{{{gold}}}"
        yield f"{gold} \\text{{ units}}"
        yield f"\\frac{{{gold}}}{{1}}"
        if len(gold.lstrip("-")) > 3:
            yield f"{int(gold):,}"
            yield f"{int(gold):,}".replace(",", "{,}")
    simple = re.fullmatch(r"(-?)\\d?frac\{(\d+)\}\{(\d+)\}", gold)
    if simple and int(simple[3]):
        value = fractions.Fraction(int(simple[2]), int(simple[3])) * (-1 if simple[1] else 1)
        yield f"{value.numerator}/{value.denominator}"
        yield f"\\frac{{{6 * value.numerator}}}{{{6 * value.denominator}}}"
        if not value.denominator % 2 or not value.denominator % 5:
            decimal = f"{float(value):.12g}"
            if fractions.Fraction(decimal) == value:
                yield decimal


def pairs(golds):
    golds = sorted(set(golds))
    for place, gold in enumerate(golds):
        for given in dict.fromkeys(respelled(gold)):
            yield gold, given
        for step in (1, 2):
            yield gold, golds[(place + step) % len(golds)]


def theirs(parse, verify, gold, given):
    try:
        return bool(verify(parse(f"\\boxed{{{gold}}}"), parse(f"\\boxed{{{given}}}")))
    except Exception as error:  # a grader that raises has no verdict
        return f"{type(error).__name__}"


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("ours", help="the binary of the example `throughput`")
    arguments.add_argument("golds", nargs="+", help="JSON lines with the field `answer`; of GSM8K's what follows `####`")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--repeat", type=int, default=20, help="how often our binary repeats the pairs in a round")
    arguments.add_argument("--pairs", help="write the pairs to this file, and stop there without a binary: `-` as `ours`")
    options = arguments.parse_args()
    golds = []
    for path in options.golds:
        with open(path) as file:
            golds += [json.loads(line)["answer"].rsplit("####")[-1].strip() for line in file]
    rows = list(pairs(golds))
    with open(options.pairs, "w") if options.pairs else tempfile.NamedTemporaryFile("w", suffix=".jsonl", delete=False) as file:
        for gold, response in rows:
            file.write(json.dumps({"gold": gold, "response": response}) + "\n")
    if options.ours == "-":
        print(f"{len(rows)} pairs")
        return
    # Here, so that pairs can be made without it.
    from math_verify import parse, verify
    our_rates, their_rates, verdicts, other = [], [], [], []
    for _ in range(options.rounds):
        run = subprocess.run([options.ours, file.name, str(options.repeat)], capture_output=True, text=True, check=True)
        our_rates.append(float(run.stderr.split()[-2]))
        verdicts = [line == "true" for line in run.stdout.split()]
        begin = time.perf_counter()
        other = [theirs(parse, verify, gold, given) for gold, given in rows]
        their_rates.append(len(rows) / (time.perf_counter() - begin))
    ours, math_verify = statistics.median(our_rates), statistics.median(their_rates)
    print(f"{len(rows)} pairs, {options.rounds} rounds")
    print(f"cord-math   {ours:10.0f} pairs/s (from {min(our_rates):.0f} to {max(our_rates):.0f})")
    print(f"Math-Verify {math_verify:10.0f} pairs/s (from {min(their_rates):.0f} to {max(their_rates):.0f})")
    print(f"{ours / math_verify:.0f} times")
    agreed = sum(a == b for a, b in zip(verdicts, other))
    print(f"{agreed} of {len(rows)} verdicts agree")
    for (gold, given), a, b in zip(rows, verdicts, other):
        if a != b:
            print(json.dumps({"gold": gold, "given": given, "ours": a, "theirs": b}))


if __name__ == "__main__":
    main()
