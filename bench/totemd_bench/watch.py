"""What nodes say of their cluster, and when they came to say it."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from totemd_bench.stage import Ring, RingError, last_line, pid_file
from totemd_lab.nodes import Node
from totemd_lab.places import Namespace, Process

POLL_S = 0.02


@dataclass(frozen=True)
class View:
    """A node's view, as watch_quorum writes it down."""

    time_ns: int
    """When it came, CLOCK_MONOTONIC."""
    cpu_ns: int
    """What the daemon had used of the processor by then."""
    members: tuple[int, ...]


def parse_views(text: str) -> list[View]:
    """What watch_quorum has printed so far; a line that is not whole yet is left out."""
    views = []
    for line in text.splitlines(keepends=True):
        if line.endswith("\n"):
            time_ns, cpu_ns, *members = map(int, line.split())
            views.append(View(time_ns, cpu_ns, tuple(sorted(members))))
    return views


def since(views: Sequence[View], members: Iterable[int]) -> View | None:
    """The first of the latest views in a row with exactly these members; None: the latest has others."""
    wanted = tuple(members)
    found = None
    for view in reversed(views):
        if view.members != wanted:
            break
        found = view
    return found


class Watchers:
    """A client beside each node that writes down when the node's view of the cluster changes."""

    def __init__(self, ring: Ring, nodes: Iterable[Node]) -> None:
        self._ring = ring
        self._outputs: dict[int, Path] = {}
        self._processes: list[Process] = []
        for node in nodes:
            self.add(node)

    def add(self, node: Node) -> None:
        """Watch one more node; it may still have to be started."""
        output = node.directory / f"view-{time.monotonic_ns()}"
        self._outputs[node.nodeid] = output
        programs = self._ring.programs
        # Often enough for a single node; together seldom enough that many do not slow the start that they watch.
        interval_us = 5000 + 1500 * len(self._ring.nodes)
        argv = [*programs.prefix, str(programs.watch), str(pid_file(node)), str(interval_us)]
        self._processes.append(Process(node.place, argv, output))

    def wait(self, members: Sequence[int], timeout_s: float) -> dict[int, View]:
        """Wait until all watched nodes list exactly `members`: since when they do.

        Raises RingError if they do not in time, or if a member ends.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            views = {nodeid: since(parse_views(file.read_text()), members) for nodeid, file in self._outputs.items()}
            found = {nodeid: view for nodeid, view in views.items() if view is not None}
            if len(found) == len(self._outputs):
                return found
            gone = [node for node in self._ring.nodes if node.nodeid in members and not node.running()]
            if gone:
                raise RingError(f"n{gone[0].nodeid} ended: {last_line(gone[0])}")
            if time.monotonic() > deadline:
                raise RingError(f"{len(found)} of {len(self._outputs)} list all {len(members)} after {timeout_s:g} s")
            time.sleep(POLL_S)

    def close(self) -> None:
        """End the watching clients."""
        for process in self._processes:
            process.close()


class FirstPackets:
    """Hears when each node's first packet was on the network."""

    def __init__(self, ring: Ring, place: Namespace) -> None:
        self._output = ring.directory / f"packets-{time.monotonic_ns()}"
        argv = [*ring.programs.prefix, str(ring.programs.first_packets), str(ring.stage.settings.port)]
        self._process = Process(place, argv, self._output)
        deadline = time.monotonic() + 5
        while "ready" not in self._output.read_text():
            if time.monotonic() > deadline:
                raise RingError("cannot listen to the network")
            time.sleep(POLL_S)

    def times_ns(self) -> list[int]:
        """The time of each address's first packet, ascending."""
        lines = self._output.read_text().splitlines()
        return sorted(int(line.split()[0]) for line in lines if line != "ready")

    def close(self) -> None:
        """Listen no longer."""
        self._process.close()
