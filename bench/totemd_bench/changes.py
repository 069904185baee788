"""Cells in which the membership changes, and cells in which nothing happens."""

import os
import signal
import statistics
import time
from collections.abc import Callable

from totemd_bench import probes
from totemd_bench.figures import Figures
from totemd_bench.plan import Options, token_s
from totemd_bench.stage import Ring, RingError
from totemd_bench.watch import FirstPackets, Watchers
from totemd_lab.places import LabError

SETTLE_S = 0.5
MIB = 1024 * 1024


def idle(ring: Ring, seconds: float) -> Figures:
    """Processor time and memory of daemons that nobody asks for anything; processor time is a mean over the daemons."""
    time.sleep(SETTLE_S)
    begin = time.monotonic_ns()
    before = [probes.cpu_ns(node.pid) for node in ring.nodes]
    time.sleep(seconds)
    used = [probes.cpu_ns(node.pid) - at for node, at in zip(ring.nodes, before, strict=True)]
    elapsed = time.monotonic_ns() - begin
    memories = [probes.memory(node.pid) for node in ring.nodes]
    return {
        "idle_cpu": 100 * statistics.mean(used) / elapsed,
        "rss": max(memory.resident for memory in memories) / MIB,
        "pss": max(memory.proportional for memory in memories) / MIB,
    }


def memory(ring: Ring) -> Figures:
    """The memory of the largest daemon, now and at its peak so far."""
    memories = [probes.memory(node.pid) for node in ring.nodes]
    return {"rss": max(m.resident for m in memories) / MIB, "peak": max(m.peak for m in memories) / MIB}


def form(ring: Ring, timeout_s: float) -> None:
    """Start all daemons as it suits the engine, and wait until each lists all. Raises RingError."""
    ring.start(at_once=False)
    watchers = Watchers(ring, ring.nodes)
    try:
        watchers.wait([node.nodeid for node in ring.nodes], timeout_s)
    finally:
        watchers.close()


def cold_start(ring: Ring, bound_s: float) -> Figures:
    """Start all daemons in the same instant. Raises RingError if not every one lists all within the bound."""
    ring.stage.plug_listener(up=True)
    watchers = Watchers(ring, ring.nodes)
    packets = None
    try:
        packets = FirstPackets(ring, ring.stage.listener)
        time.sleep(SETTLE_S)
        started = ring.start(at_once=True)
        views = watchers.wait([node.nodeid for node in ring.nodes], bound_s)
        first = packets.times_ns()
    finally:
        watchers.close()
        if packets is not None:
            packets.close()
        ring.stage.plug_listener(up=False)
    formed = max(view.time_ns for view in views.values())
    found = {
        "from_start": (formed - started) / 1e9,
        "start_cpu": statistics.median(view.cpu_ns for view in views.values()) / 1e9,
    }
    if len(first) == len(ring.nodes):
        # A later packet of one already in the ring is not its first, but then the ring is formed only after it.
        found |= {"from_first_packet": (formed - first[0]) / 1e9, "from_last_packet": (formed - first[-1]) / 1e9}
    return found


def leave(ring: Ring, options: Options) -> Figures:
    """The last node is asked to end; until all others list only each other."""
    return _without_last(ring, options, lambda: ring.nodes[-1].terminate(20.0))


def kill(ring: Ring, options: Options) -> Figures:
    """The last node is killed; until all others list only each other."""
    return _without_last(ring, options, lambda: os.kill(ring.nodes[-1].pid, signal.SIGKILL))


def _without_last(ring: Ring, options: Options, end: Callable[[], object]) -> Figures:
    everyone = [node.nodeid for node in ring.nodes]
    watchers = Watchers(ring, ring.nodes[:-1])
    try:
        watchers.wait(everyone, 10.0)
        time.sleep(SETTLE_S)
        begin = time.monotonic_ns()
        end()
        views = watchers.wait(everyone[:-1], bound_s(options, len(everyone)))
    except LabError as error:
        raise RingError(str(error)) from None
    finally:
        watchers.close()
    return {"duration": (max(view.time_ns for view in views.values()) - begin) / 1e9}


def join(ring: Ring, options: Options) -> Figures:
    """The last node is started into the ring of the others; from its process's start until every node lists all."""
    everyone = [node.nodeid for node in ring.nodes]
    others = Watchers(ring, ring.nodes[:-1])
    newcomer = Watchers(ring, ring.nodes[-1:])
    try:
        others.wait(everyone[:-1], 10.0)
        time.sleep(SETTLE_S)
        begin = time.monotonic_ns()
        ring.start_node(ring.nodes[-1])
        bound = bound_s(options, len(everyone))
        views = others.wait(everyone, bound) | newcomer.wait(everyone, bound)
    finally:
        others.close()
        newcomer.close()
    return {"duration": (max(view.time_ns for view in views.values()) - begin) / 1e9}


def bound_s(options: Options, nodes: int) -> float:
    """After so long a change of the membership has failed."""
    return 15.0 + 5.0 * token_s(options, nodes)
