"""What sealing costs: one datagram sealed and opened, by cipher and size, and what is dropped, by how it is forged.

    python bench/sealing.py [--rounds N] [--forgeries N] [--json]

Microseconds of one processor; the best of the rounds, because whatever else runs on the machine only adds.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests" / "lab")]

from sealed_nodes import KEY, Air, SealedNode, pair  # noqa: E402
from totemd.seal import SUITES  # noqa: E402
from totemd.seal.datagram import HEADER_SIZE, PREFIX_SIZE, Header, Kind, encode_header  # noqa: E402
from totemd.seal.suite import Suite  # noqa: E402

SIZES: Final = (100, 1400)
COUNT: Final = 500
"""Datagrams at a time: few enough to stay in the caches, as those that a socket has just given do."""
SOME: Final = 1000


def best_us(rounds: int, count: int, work: Callable[[], object]) -> float:
    """Microseconds of one of the `count` things that `work` does."""
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return min(times) / count * 1e6


def sealing(rounds: int) -> dict[str, dict[str, float]]:
    """Seal and open, and the bare cipher beside it."""
    figures = {}
    for suite in SUITES:
        for size in SIZES:
            _, first, second = pair(suite=suite)
            data = os.urandom(size)
            bare = Suite(suite, first.cluster_id).session(KEY, 1, first.session)
            header, nonce = bytes(HEADER_SIZE), bytes(12)
            made: list[bytes] = []

            def seal(node: SealedNode = first, data: bytes = data, made: list[bytes] = made) -> None:
                made[:] = [node.seal.seal(data) for _ in range(COUNT)]

            seal_us = best_us(rounds, COUNT, seal)
            open_us = []
            for _ in range(rounds):
                seal()
                open_us.append(best_us(1, COUNT, lambda node=second, made=made: [node.seal.open(d, 0.0) for d in made]))  # type: ignore[misc]  # bound at once
            encrypt_us = best_us(
                rounds,
                COUNT,
                lambda: [bare.encrypt(nonce, data, header) for _ in range(COUNT)],  # noqa: B023 - runs at once
            )
            assert second.seal.counters.total() == 0
            figures[f"{suite} {size} B"] = {"seal": seal_us, "open": min(open_us), "bare cipher": encrypt_us}
    return figures


def floods(count: int) -> dict[str, float]:
    """Microseconds for each datagram that is dropped."""
    air, first, second = pair()
    for _ in range(SOME):
        air.say(first, bytes(1000))
    good = air.sent[-1]
    random = Random(1)
    noise = [os.urandom(1000) for _ in range(SOME)]
    forged = [good[:HEADER_SIZE] + random.randbytes(len(good) - HEADER_SIZE) for _ in range(SOME)]
    unknown = [
        encode_header(Header(Kind.RING, KEY.ident, 1, random.randbytes(16), 1)) + good[HEADER_SIZE:]
        for _ in range(SOME)
    ]
    cases = {
        "noise": noise,
        "forged, known session": forged,
        "forged, unknown session": unknown,
        "forged, unknown key": [good[:5] + b"none" + good[9:]] * SOME,
        "another counter": [good[:PREFIX_SIZE] + os.urandom(8) + good[HEADER_SIZE:]] * SOME,
        "replayed": air.sent[-SOME:],
        "old recording": _old(air),
    }
    figures = {}
    for name, datagrams in cases.items():
        before = second.seal.counters.total()
        rounds = count // SOME
        begin = time.perf_counter()
        for number in range(rounds):
            for datagram in datagrams:
                second.seal.open(datagram, number * 0.001)
        figures[name] = (time.perf_counter() - begin) / (rounds * SOME) * 1e6
        assert second.seal.counters.total() == before + rounds * SOME
        second.seal.outbox.clear()
    air.say(first, b"still here")
    assert second.heard[-1] == (1, b"still here")
    assert len(second.seal._handshake.peers) == 1
    return figures


def _old(air: Air) -> list[bytes]:
    boot = SealedNode(1, air.random)
    return [boot.seal.seal(bytes(1000)) for _ in range(SOME)]


def main() -> int:
    """The command. Gives the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50, help="of each figure (default 50)")
    parser.add_argument("--forgeries", type=int, default=20_000, help="of each kind (default 20000)")
    parser.add_argument("--json", action="store_true", help="one object instead of tables")
    arguments = parser.parse_args()
    costs, dropped = sealing(arguments.rounds), floods(arguments.forgeries)
    if arguments.json:
        print(json.dumps({"sealing_us": costs, "dropping_us": dropped}))
        return 0
    print(f"{'datagram':16} {'seal':>8} {'open':>8} {'bare cipher':>12}   us")
    for name, row in costs.items():
        print(f"{name:16} {row['seal']:8.2f} {row['open']:8.2f} {row['bare cipher']:12.2f}")
    print(f"\n{'dropped':26} us each, of {arguments.forgeries}")
    for name, cost in dropped.items():
        print(f"{name:26} {cost:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
