"""The same cluster twice: once of real nodes and once of totemd, for tests that do one thing to both and compare.

What is compared is text, after masks have taken out what has to differ; every mask names its reason.
"""

import contextlib
import difflib
import os
import re
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from totemd_lab.configuration import RingSettings
from totemd_lab.nodes import Node
from totemd_lab.places import LabError, Place, run
from totemd_lab.ring import SLOWNESS, Lab, wait_until
from totemd_lab.upstream import ATTEMPTS, aborted

SUBJECT = os.environ.get("TOTEMD_LAB_SUBJECT", "T")
"""The kind put beside corosync. "C" plays corosync against itself: what differs then is the tests' own noise."""

NODES = 3
SETTINGS = RingSettings(token_ms=800, token_coefficient_ms=0)
PATIENCE_S = 15.0


@dataclass(frozen=True)
class Mask:
    """A part of the text that may differ: what matches `pattern` (per line, "$" is a line's end) is replaced."""

    pattern: str
    replacement: str | Callable[[re.Match[str]], str]
    reason: str


def masked(text: str, masks: Iterable[Mask]) -> str:
    """The text with everything that may differ taken out."""
    for mask in masks:
        text = re.sub(mask.pattern, mask.replacement, text, flags=re.MULTILINE)
    return text


def difference(expected: str, got: str) -> str:
    """How the real cluster's text and the other's differ; empty if they do not."""
    lines = difflib.unified_diff(expected.splitlines(), got.splitlines(), "corosync", "totemd", lineterm="", n=4)
    return "\n".join(lines)


class Cluster:
    """One of the two: a formed ring whose clients of corosync's sockets are served."""

    def __init__(self, directory: Path, kind: str) -> None:
        self._directory = directory
        self.kind = kind
        self._generation = 0
        self.lab = self._new_lab()

    def _new_lab(self) -> Lab:
        self._generation += 1
        lab = Lab(self._directory / f"{self.kind}{self._generation}", self.kind * NODES, SETTINGS)
        try:
            lab.start()
            wait_ready(lab)
        except BaseException:
            lab.close()
            raise
        return lab

    def play(self, script: Callable[[Lab], str]) -> str:
        """Play a script on the cluster, again on a new one if a real node has aborted by its own defect."""
        for _ in range(ATTEMPTS - 1):
            try:
                self.repair()
                return self._anonymous(script(self.lab))
            except Exception:
                if not aborted(self.lab):
                    raise
            self.lab.close()
            self.lab = self._new_lab()
        return self._anonymous(script(self.lab))

    def repair(self) -> None:
        """Start what an earlier script has left ended."""
        missing = [node for node in self.lab.nodes if not node.running()]
        if missing:
            self.lab.start(missing)
            wait_ready(self.lab)

    def _anonymous(self, text: str) -> str:
        return text.replace(str(self.lab.directory), "DIRECTORY")

    def close(self) -> None:
        """Remove it."""
        self.lab.close()


class Beside:
    """The two clusters, and the comparison."""

    def __init__(self, directory: Path) -> None:
        self.real = Cluster(directory / "real", "C")
        try:
            self.subject = Cluster(directory / "subject", SUBJECT)
        except BaseException:
            self.real.close()
            raise

    def compare(self, script: Callable[[Lab], str], masks: Sequence[Mask] = ()) -> None:
        """Play the script on both and compare its text. Raises AssertionError with the lines that differ."""
        expected = masked(self.real.play(script), masks)
        got = masked(self.subject.play(script), masks)
        if found := difference(expected, got):
            raise AssertionError(f"not the same:\n{found}")

    def close(self) -> None:
        """Remove both."""
        self.real.close()
        self.subject.close()


def wait_ready(lab: Lab) -> None:
    """Wait until the running nodes are one ring and every service's socket of each is served."""
    lab.wait_formed()

    def served(node: Node) -> bool:
        return tool(node, ["corosync-quorumtool", "-s"]).status == 0

    if not wait_until(lambda: all(map(served, lab.running())), PATIENCE_S):
        raise LabError(f"corosync-quorumtool is not served:\n{lab.describe()}")


@dataclass(frozen=True)
class Output:
    """What a command has done."""

    status: int
    out: str
    err: str

    def __str__(self) -> str:
        parts = [f"status {self.status}\n"]
        parts += [f"{name}:\n{text}" for name, text in (("out", self.out), ("err", self.err)) if text]
        return "".join(part if part.endswith("\n") else part + "\n" for part in parts)


def tool(node: Node, argv: Sequence[str], text_in: str = "", timeout_s: float = 20.0) -> Output:
    """Run a command beside the node to its end."""
    result = run(node.place, argv, text_in=text_in, check=False, timeout_s=timeout_s)
    return Output(result.returncode, result.stdout, result.stderr)


class Located(Protocol):
    """What commands can be run beside."""

    @property
    def place(self) -> Place: ...


class Watch:
    """A command that goes on printing until it is ended; it can be given lines to read."""

    def __init__(self, node: Located, argv: Sequence[str], output: Path, *, errors: bool = True) -> None:
        self._output = output
        with output.open("wb") as file:
            self._popen = subprocess.Popen(
                node.place.command(["stdbuf", "-oL", *argv]),
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT if errors else subprocess.DEVNULL,
            )
        self.pid = self._popen.pid
        self._marks: dict[str, int] = {}

    def text(self) -> str:
        """What it has printed so far."""
        return self._output.read_text(errors="replace")

    def say(self, line: str) -> None:
        """Give it a line."""
        assert self._popen.stdin is not None
        self._popen.stdin.write(f"{line}\n".encode())
        self._popen.stdin.flush()

    def wait_for(self, pattern: str, timeout_s: float = PATIENCE_S, reader: str = "") -> str:
        """Wait until something new has been printed that matches. Returns it. LabError if nothing does.

        What is in front of it is not looked at again by the same `reader`.
        """
        mark = self._marks.setdefault(reader, 0)
        matched = ""

        def found() -> bool:
            nonlocal matched
            match = re.compile(pattern, re.MULTILINE).search(self.text(), mark)
            if match is not None:
                self._marks[reader] = match.end()
                matched = match[0]
            return match is not None

        if not wait_until(found, timeout_s, 0.01):
            raise LabError(f"nothing printed that matches {pattern!r}: ...{self.text()[mark:]!r}")
        return matched

    def wait(self) -> int:
        """Wait until it ends by itself. Returns its exit status (negative: killed by that signal)."""
        try:
            return self._popen.wait(PATIENCE_S * SLOWNESS)
        except subprocess.TimeoutExpired:
            raise LabError(f"does not end: {self.text()[-1000:]}") from None

    def kill(self) -> None:
        """SIGKILL. Idempotent."""
        self._popen.kill()
        self._popen.wait()
        if self._popen.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._popen.stdin.close()
