"""Process group members that send and record: libcpg on corosync, either on totemd, one line format.

The format is explained in tests/lab/cpg_load.c.
"""

import hashlib
import random
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from totemd_lab.nodes import Node, TotemdNode
from totemd_lab.places import LabError, Process

SOURCE = Path(__file__).parent.parent / "cpg_load.c"


def compile_client(source: Path, directory: Path, *libraries: str) -> Path:
    """Compile a libcpg program, with further libraries ("-lm"). Returns it."""
    program = directory / source.stem
    command = ["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(program), str(source), "-lcpg", *libraries]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise LabError(result.stderr)
    return program


@dataclass(frozen=True)
class LoadPlan:
    """What every member does: wait until the group has `complete` members, send, record `expected` deliveries."""

    complete: int
    sizes: Sequence[int] = ()
    expected: int = 0
    """0: record until told to stop."""
    timeout_s: float = 60.0
    group: str = "load"
    guarantee: str = "agreed"
    """Only totemd's own clients can ask for "safe": corosync's library has no such guarantee in effect."""


class Load:
    """One running member."""

    def __init__(
        self, node: Node, plan: LoadPlan, libcpg_program: Path, tag: str = "", *, libcpg_only: bool = False
    ) -> None:
        self.node = node
        stem = f"{plan.group}{tag}"
        self.delivered_file = node.directory / f"{stem}.delivered"
        self.sent_file = node.directory / f"{stem}.sent"
        self._output = node.directory / f"{stem}.output"
        sizes = node.directory / f"{stem}.sizes"
        sizes.write_text("".join(f"{size}\n" for size in plan.sizes))
        if isinstance(node, TotemdNode) and not libcpg_only:
            argv = [sys.executable, "-m", "totemd_lab.cpg_load", str(node.socket), plan.guarantee]
        else:
            argv = [str(libcpg_program)]
        argv += [plan.group, str(plan.complete), str(sizes), str(plan.expected), str(plan.timeout_s)]
        argv += [str(self.delivered_file), str(self.sent_file)]
        environment = {"PYTHONPATH": str(SOURCE.parent)}
        self._process = Process(node.place, argv, self._output, environment)
        self.pid = self._process.pid
        self._timeout_s = plan.timeout_s

    def joined(self) -> bool:
        """Whether it has joined the group."""
        return self._output.read_text().startswith("J")

    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.running()

    def finish(self) -> None:
        """Wait until it has recorded what it was to record. Raises LabError when it has not."""
        status = self._process.wait(self._timeout_s + 30)
        if status != 0:
            count = len(self.messages())
            raise LabError(f"load on {self.node!r}: status {status}, {count} delivered: {self._output.read_text()}")

    def stop(self) -> None:
        """Tell it to leave and wait for its end."""
        self._process.signal(signal.SIGTERM)
        self.finish()

    def kill(self) -> None:
        """Kill it."""
        self._process.close()

    def lines(self) -> list[str]:
        """The recorded sequence."""
        return self.delivered_file.read_text().splitlines() if self.delivered_file.exists() else []

    def messages(self) -> list[str]:
        """The recorded deliveries, without membership changes."""
        return [line for line in self.lines() if line.startswith("M")]

    def sent(self) -> list[str]:
        """What it sent, as "<length> <crc32>"."""
        return [line.removeprefix("S ") for line in self.sent_file.read_text().splitlines()]

    def digest(self) -> str:
        """SHA-256 of the recorded sequence."""
        return hashlib.sha256(self.delivered_file.read_bytes()).hexdigest()


def check_one_order(loads: Sequence[Load]) -> None:
    """All members recorded one and the same sequence, with every sent message once and in its sender's order.

    For groups with one member on each node.
    """
    first = loads[0]
    for load in loads[1:]:
        if load.digest() != first.digest():
            raise AssertionError(_difference(first, load))
    delivered: dict[int, list[str]] = {}
    for line in first.messages():
        _, nodeid, _, content = line.split(" ", 3)
        delivered.setdefault(int(nodeid), []).append(content)
    for load in loads:
        assert delivered.get(load.node.nodeid, []) == load.sent(), f"messages of {load.node!r} were lost or repeated"


def _difference(one: Load, other: Load) -> str:
    pairs = zip(one.lines(), other.lines(), strict=False)
    place = next((index for index, (a, b) in enumerate(pairs) if a != b), min(len(one.lines()), len(other.lines())))
    excerpts = [f"{load.node!r} {place}: {load.lines()[place : place + 3]}" for load in (one, other)]
    return "the sequences differ: " + "; ".join(excerpts)


def mixed_sizes(seed: int, count: int, largest: int = 65536, big_count: int = 0, big: int = 1_000_000) -> list[int]:
    """Lengths from 1 to `largest`, small ones as likely as large ones by magnitude, and big ones between."""
    source = random.Random(seed)
    sizes = [min(largest, int(2 ** source.uniform(0, largest.bit_length() - 1))) for _ in range(count)]
    sizes[: min(2, count)] = [1, largest][: min(2, count)]
    sizes += [big] * big_count
    source.shuffle(sizes)
    return sizes
