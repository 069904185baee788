"""A quick look: one cell on rings of one size. The whole benchmark is `make bench`.

Further options are those of the benchmark; `make bench BENCH_ARGS=--help` shows them.
"""

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests" / "lab")]

from totemd_bench.__main__ import main as measure  # noqa: E402


def main() -> int:
    """The command. Gives the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=3, help="nodes of each ring (default 3)")
    parser.add_argument("--rate", type=int, default=1000, help="messages a second; 0: as many as it can (default 1000)")
    parser.add_argument("--size", type=int, default=64, help="bytes of a message (default 64)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds for each engine (default 5)")
    parser.add_argument("--all", action="store_true", help="every node sends; the rate is of all together")
    arguments, others = parser.parse_known_args()
    cell = f"{'all:' if arguments.all else ''}{arguments.size}@{arguments.rate}"
    numbers = ["--nodes", str(arguments.nodes), "--work", cell, "--rounds", str(arguments.rounds)]
    return measure([*numbers, *others])


if __name__ == "__main__":
    sys.exit(main())
