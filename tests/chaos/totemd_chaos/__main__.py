"""python -m totemd_chaos: five real daemons, faults by a seed, and the simulator's checkers on what clients saw."""

import argparse
import json
import secrets
import sys
import time
from pathlib import Path

from totemd_chaos.results import Result, summary
from totemd_chaos.run import MIXED, PURE, Plan, Run, can_run
from totemd_chaos.schedule import draw_schedule

EXIT_OK, EXIT_VIOLATION, EXIT_CANNOT = 0, 1, 77


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="totemd_chaos", description=__doc__, allow_abbrev=False)
    parser.add_argument("--seconds", type=float, default=120.0, help="of faults; calm comes on top (default 120)")
    parser.add_argument("--mixed", action="store_true", help=f"with real corosync nodes: {MIXED} instead of {PURE}")
    parser.add_argument("--kinds", default="", help="other nodes: a letter for each, T totemd, C corosync")
    parser.add_argument("--seed", default="", help="of the faults; default: a new one, which is printed")
    parser.add_argument("--rate", type=float, default=20.0, help="messages of each node per second (default 20)")
    parser.add_argument("--token-ms", type=int, default=600, help="the token timeout (default 600)")
    parser.add_argument("--settle", type=float, default=30.0, help="seconds until all is well again (default 30)")
    parser.add_argument("--round", type=float, default=50.0, help="seconds of faults before each calm (default 50)")
    parser.add_argument("--sealed", action="store_true", help="the ring is sealed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there")
    parser.add_argument("--keep", action="store_true", help="keep the recordings also without a violation")
    parser.add_argument("--schedule", action="store_true", help="print the first round's faults and end")
    return parser


def main() -> int:
    """The command."""
    options = _parser().parse_args()
    kinds = options.kinds or (MIXED if options.mixed else PURE)
    seed = options.seed or secrets.token_hex(4)
    plan = Plan(
        kinds,
        options.seconds,
        seed,
        rate_per_s=options.rate,
        token_ms=options.token_ms,
        settle_s=options.settle,
        round_s=options.round,
        keep=options.keep,
        sealed=options.sealed,
    )
    if options.schedule:
        print(*draw_schedule(f"{seed}/0", plan.seconds, plan.terrain()), sep="\n")
        return EXIT_OK
    if (reason := can_run()) is not None:
        print(reason, file=sys.stderr)
        return EXIT_CANNOT
    begin = time.monotonic()

    def progress(text: str) -> None:
        print(f"{time.monotonic() - begin:7.1f}  {text}", flush=True)

    progress(f"seed {seed}, nodes {kinds}")
    result = Run(plan, progress).run()
    report(result, options.json)
    return EXIT_OK if result.ok else EXIT_VIOLATION


def report(result: Result, json_file: Path | None) -> None:
    """Say what came out."""
    print(summary(result))
    for text in result.violations:
        print(f"VIOLATION: {text}")
    if result.kept:
        print(f"recordings, logs and configurations are kept in {result.kept}")
    if json_file is not None:
        json_file.write_text(json.dumps(result.as_json(), indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
