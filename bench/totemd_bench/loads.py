"""Cells in which clients on all nodes send and record."""

import time
from array import array
from pathlib import Path

from totemd_bench.figures import Figures, latency_figures, load_figures, parse_client
from totemd_bench.plan import LIBCPG, Step
from totemd_bench.stage import SOURCES, Ring, RingError
from totemd_lab.nodes import Node, TotemdNode
from totemd_lab.places import Process

POLL_S = 0.05
PATIENCE_S = 20
"""Beyond the sending: for joining the group, and for what is under way."""


class LoadRun:
    """One round of one cell."""

    def __init__(self, ring: Ring, step: Step, seconds: float, tag: str) -> None:
        self._ring = ring
        self._cell = step.cell
        self._client = step.client
        self._seconds = seconds
        self._tag = tag
        self._limit_s = int(seconds + PATIENCE_S + len(ring.nodes) / 4)

    def run(self) -> Figures:
        """Measure. Raises RingError with the reason when a client fails."""
        processes: list[Process] = []
        try:
            for index, node in enumerate(self._ring.nodes):
                processes.append(Process(node.place, self._argv(index, node), self._file(node, "output")))
            self._wait(processes)
            return self._figures([process.output.read_text() for process in processes])
        except ValueError as error:
            raise RingError(str(error)) from None
        finally:
            for process in processes:
                process.close()
            for node in self._ring.nodes:
                self._file(node, "records").unlink(missing_ok=True)

    def _wait(self, processes: list[Process]) -> None:
        """Until all clients have ended. Raises RingError at the first failure."""
        deadline = time.monotonic() + self._limit_s + 5
        waiting = dict(zip(self._ring.nodes, processes, strict=True))
        while waiting:
            time.sleep(POLL_S)
            for node, process in [*waiting.items()]:
                if process.running():
                    continue
                if process.wait(1.0) != 0:
                    said = process.output.read_text().strip()[-200:]
                    reason = f"the client of {node.member.name} failed: {said or 'it said nothing'}"
                    ended = self._ring.ended()
                    raise RingError(f"{reason}; {ended}" if ended else reason)
                del waiting[node]
            if time.monotonic() > deadline:
                raise RingError(f"the clients of {', '.join(node.member.name for node in waiting)} do not end")

    def _argv(self, index: int, node: Node) -> list[str]:
        cell, count = self._cell, len(self._ring.nodes)
        program = [str(self._ring.programs.libcpg)]
        if self._client != LIBCPG:
            assert isinstance(node, TotemdNode)
            native = [str(self._ring.programs.native)]
            program = (
                native if self._client == "native" else [self._ring.engine.python, str(SOURCES / "load_python.py")]
            )
            program.append(str(node.socket))
        senders = count if cell.everyone else 1
        numbers = (index, count, senders, cell.size_bytes, cell.rate_per_s, self._seconds, self._limit_s, node.pid)
        return [
            *self._ring.programs.prefix,
            *program,
            f"bench-{self._tag}",
            *map(str, numbers),
            str(self._file(node, "records")),
        ]

    def _file(self, node: Node, name: str) -> Path:
        return node.directory / f"{self._tag}.{name}"

    def _figures(self, outputs: list[str]) -> Figures:
        found = load_figures([parse_client(text) for text in outputs], self._cell.size_bytes)
        if self._cell.rate_per_s:
            records = [read_records(self._file(node, "records")) for node in self._ring.nodes]
            # A sender's number is its node's place; the rate is what was asked for.
            return latency_figures(records, range(len(records))) | {"cpu_per_message": found["cpu_per_message"]}
        return found


def read_records(file: Path) -> "array[int]":
    """What a client recorded."""
    numbers = array("q")
    numbers.frombytes(file.read_bytes())
    return numbers
