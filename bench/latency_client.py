"""Latency of ordered delivery through totemd.client; bench/pace.h is the same program in C.

latency_client.py SOCKET COMPLETE COUNT RATE SIZE SENDING OUT
"""

import gc
import struct
import sys
import time
from math import inf
from pathlib import Path

from totemd.client import blocking
from totemd.client.records import Delivered, MembersChanged

START_DELAY_S = 0.2

STAMP = struct.Struct("=q")


def measure(socket: str, complete: int, count: int, rate: int, size: int, sending: bool) -> tuple[list[int], int]:
    """Returns the latencies of all deliveries, and the time from the first sending to the last delivery, nanoseconds.
    Each message begins with its sending time. Rate 0: as fast as it goes."""
    latencies: list[int] = []
    sent, next_ns, first_sent = 0, inf, 0
    interval_ns = 1_000_000_000 // rate if rate else 0
    with blocking.connect(socket) as client, client.join("latency") as group:
        while len(latencies) < count:
            now_ns = time.monotonic_ns()
            if now_ns >= next_ns and sent < count:
                group.multicast(STAMP.pack(now_ns).ljust(size, b"\0"))
                sent += 1
                next_ns += interval_ns
            rest_s = max(0.0, (next_ns - time.monotonic_ns()) / 1e9) if sent < count else inf
            event = group.next_event(min(rest_s, 1.0))
            if isinstance(event, Delivered):
                stamp = STAMP.unpack_from(event.data)[0]
                first_sent = first_sent or stamp
                latencies.append(time.monotonic_ns() - stamp)
            elif isinstance(event, MembersChanged) and sending and len(event.members) >= complete:
                next_ns = time.monotonic_ns() + START_DELAY_S * 1e9
    return latencies, time.monotonic_ns() - first_sent


def main() -> None:
    """The command."""
    socket, complete, count, rate, size, sending, out = sys.argv[1:]
    gc.disable()
    latencies, elapsed = measure(socket, int(complete), int(count), int(rate), int(size), sending == "1")
    Path(out).write_text("".join(f"{latency}\n" for latency in latencies))
    print(elapsed)


if __name__ == "__main__":
    main()
