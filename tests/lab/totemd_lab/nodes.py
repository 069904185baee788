"""A daemon of either kind as the tests see it: started, asked, stopped and killed."""

import re
import signal
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from totemd_lab.configuration import Member
from totemd_lab.places import LabError, Place, Process, run


@dataclass(frozen=True)
class View:
    """What a node says of its cluster."""

    ring: str
    """ "<representative>.<sequence number>", both hexadecimal."""
    members: tuple[int, ...]
    quorate: bool


class Node(ABC):
    """One member of the ring. Its directory keeps its configuration, state, log and whatever its clients write."""

    def __init__(self, member: Member, place: Place, directory: Path) -> None:
        self.member = member
        self.nodeid = member.nodeid
        self.place = place
        self.directory = directory
        self.log = directory / "log"
        self.conf = directory / "corosync.conf"
        self.state = directory / "state"
        self.state.mkdir(parents=True, exist_ok=True)
        self.log.touch()
        self._process: Process | None = None
        self._log_mark = 0

    @property
    @abstractmethod
    def kind(self) -> str:
        """ "C" for corosync, "T" for totemd."""

    @abstractmethod
    def _argv(self) -> list[str]: ...

    @abstractmethod
    def view(self) -> View | None:
        """Its present view, or None while it gives none (starting, synchronizing, gone)."""

    def start(self) -> None:
        """Start the daemon; its log continues."""
        if self.running():
            raise LabError(f"node {self.nodeid} runs already")
        self._log_mark = self.log.stat().st_size
        self._process = Process(self.place, self._argv(), self.log)

    def running(self) -> bool:
        """Whether the daemon runs."""
        return self._process is not None and self._process.running()

    @property
    def pid(self) -> int:
        """The daemon's process id."""
        assert self._process is not None
        return self._process.pid

    def terminate(self, timeout_s: float = 10.0) -> int:
        """SIGTERM: a clean leave. Returns its exit status."""
        assert self._process is not None
        self._process.signal(signal.SIGTERM)
        return self._process.wait(timeout_s)

    def kill(self) -> None:
        """SIGKILL: a crash."""
        if self._process is not None:
            self._process.close()

    def wait_end(self, timeout_s: float) -> int:
        """Wait until the daemon ends by itself. Returns its exit status."""
        assert self._process is not None
        return self._process.wait(timeout_s)

    def log_text(self, whole: bool = False) -> str:
        """What it logged since its last start, or from the beginning."""
        with self.log.open("rb") as file:
            file.seek(0 if whole else self._log_mark)
            return file.read().decode(errors="replace")

    def rss_bytes(self) -> int:
        """Resident memory of the daemon."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
        return int(found[1]) * 1024 if found else 0

    def cpu_s(self) -> float:
        """Processor time the daemon has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def close(self) -> None:
        """Kill the daemon if it runs. Idempotent."""
        self.kill()

    def __repr__(self) -> str:
        return f"<{self.kind}{self.nodeid}>"


class CorosyncNode(Node):
    """Debian's corosync. Only one fits a place: its sockets and its pid file have fixed names."""

    kind = "C"

    def _argv(self) -> list[str]:
        return ["corosync", "-f", "-c", str(self.conf)]

    def tool(self, *argv: str, timeout_s: float = 5.0) -> tuple[int, str]:
        """Run one of corosync's own tools beside the node. Returns its exit status and what it printed."""
        result = run(self.place, argv, check=False, timeout_s=timeout_s)
        return result.returncode, result.stdout + result.stderr

    def view(self) -> View | None:
        if not self.running():
            return None
        status, text = self.tool("corosync-quorumtool", "-s")
        ring = re.search(r"^Ring ID: +(\S+)$", text, re.MULTILINE)
        if ring is None or status not in (0, 2):
            return None
        # Node 0 is the quorum device.
        members = re.findall(r"^ +([1-9]\d*) +\d+ +\S+", text.partition("Membership information")[2], re.MULTILINE)
        return View(ring[1], tuple(sorted(map(int, members))), "Quorate:          Yes" in text)


class TotemdNode(Node):
    """Our own daemon."""

    kind = "T"

    @property
    def run_dir(self) -> Path:
        return self.directory / "run"

    @property
    def socket(self) -> Path:
        """Its native socket; reachable from every place, since it is a file."""
        return self.run_dir / "totemd.sock"

    def _argv(self) -> list[str]:
        directories = ["--state-dir", str(self.state), "--run-dir", str(self.run_dir)]
        identity = ["--node", str(self.nodeid)]
        return [sys.executable, "-m", "totemd.cli.daemon", "-f", "-c", str(self.conf), *identity, *directories]

    def control(self, *argv: str, timeout_s: float = 10.0) -> tuple[int, str]:
        """Run totemctl against the node. Returns its exit status and what it printed."""
        command = [sys.executable, "-m", "totemd.cli.ctl", "--socket", str(self.socket), *argv]
        result = run(self.place, command, check=False, timeout_s=timeout_s)
        return result.returncode, result.stdout + result.stderr

    def view(self) -> View | None:
        if not self.running():
            return None
        from totemd_lab import native

        status = native.status(self.socket)
        if status is None or status["ring"] is None or status["syncing"]:
            return None
        members = tuple(sorted(member["nodeid"] for member in status["members"]))
        ring = status["ring"]
        return View(f"{ring['rep']:x}.{ring['seq']:x}", members, status["quorate"])
