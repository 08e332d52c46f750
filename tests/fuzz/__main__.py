"""``python -m tests.fuzz``: the campaign, and a line for each kind of file."""

from __future__ import annotations

import argparse
import sys

from tests.fuzz.campaign import Outcome, run
from tests.fuzz.targets import TARGETS


def main() -> None:
    """Exits with status 1 where a case was a fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("kinds", nargs="*", help=f"of {', '.join(TARGETS)}; all by default")
    parser.add_argument("--cases", type=int, help="of each kind; each kind's own number by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    given = parser.parse_args()
    outcomes = []
    print("| input | cases | taken | refused | faults | s |\n|---|---:|---:|---:|---:|---:|")
    for kind in given.kinds or TARGETS:
        outcomes.append(run(kind, given.cases or TARGETS[kind].cases, given.seed, given.first))
        print(line(outcomes[-1]), flush=True)
        for number, text in outcomes[-1].faults.items():
            shown = text if len(text) <= 1200 else f"{text[:300]} ... {text[-900:]}"
            print(f"{kind} {number}: {shown}", file=sys.stderr, flush=True)
    total = Outcome("all")
    for one in outcomes:
        total.taken, total.refused = total.taken + one.taken, total.refused + one.refused
        total.seconds += one.seconds
        total.faults |= {len(total.faults) + k: text for k, text in enumerate(one.faults.values())}
    print(line(total))
    sys.exit(1 if total.faults else 0)


def line(outcome: Outcome) -> str:
    """A row of the table."""
    return (
        f"| {outcome.kind} | {outcome.cases:,} | {outcome.taken:,} | {outcome.refused:,} | {len(outcome.faults)} | "
        f"{outcome.seconds:.0f} |"
    )


if __name__ == "__main__":
    main()
