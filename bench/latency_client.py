"""Latency of ordered delivery through totemd.client; bench/cpg_latency.c is the same program for corosync.

latency_client.py SOCKET COMPLETE COUNT RATE SIZE SENDING OUT
"""

import struct
import sys
import time
from pathlib import Path

import trio

from totemd.client import Delivered, Group, MembersChanged, open_client

START_DELAY_S = 0.2


async def send(group: Group, ready: trio.Event, count: int, rate: int, size: int) -> None:
    """Multicast `count` messages, each with its sending time (CLOCK_MONOTONIC, ns) in front."""
    await ready.wait()
    next_ns = time.monotonic_ns() + int(START_DELAY_S * 1e9)
    for _ in range(count):
        await trio.sleep(max(0, next_ns - time.monotonic_ns()) / 1e9)
        await group.multicast(struct.pack("=q", time.monotonic_ns()).ljust(size, b"\0"))
        next_ns += 1_000_000_000 // rate


async def run(socket: str, complete: int, count: int, rate: int, size: int, sending: bool) -> list[int]:
    """Returns the latencies of all deliveries, nanoseconds."""
    latencies: list[int] = []
    ready = trio.Event()
    async with open_client(socket) as client, client.join("latency") as group, trio.open_nursery() as nursery:
        if sending:
            nursery.start_soon(send, group, ready, count, rate, size)
        async for event in group:
            if isinstance(event, Delivered):
                latencies.append(time.monotonic_ns() - struct.unpack_from("=q", event.data)[0])
                if len(latencies) == count:
                    break
            elif isinstance(event, MembersChanged) and len(event.members) >= complete:
                ready.set()
    return latencies


def main() -> None:
    """The command."""
    socket, complete, count, rate, size, sending, out = sys.argv[1:]
    latencies = trio.run(run, socket, int(complete), int(count), int(rate), int(size), sending == "1")
    Path(out).write_text("".join(f"{latency}\n" for latency in latencies))


if __name__ == "__main__":
    main()
