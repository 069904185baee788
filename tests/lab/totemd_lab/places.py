"""Where a node runs: the machine itself, or a network and mount namespace held open by a process of ours.

The namespaces have no names and no files, so nothing is left behind whatever happens: the holder is killed with
this Python process (prctl PDEATHSIG), and a namespace ends with its last process. The signal follows the *thread*
that started a child, so children are started from the main thread only.
"""

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Protocol

BOUND_TO_US = ("setpriv", "--pdeathsig", "KILL")
"""A command prefix: the command is killed when the thread that started it ends."""

PRIVATE_MOUNTS = ("/run", "/dev/shm", "/var/lib/corosync")
"""Directories with paths compiled into corosync and its libraries; each node has its own."""

HOLD = "ip link set lo up && {mounts} echo ready && exec sleep infinity"


class LabError(Exception):
    """The laboratory itself failed; nothing is said about the daemons."""


class Place(Protocol):
    """Runs commands somewhere."""

    def command(self, argv: Sequence[str]) -> list[str]:
        """`argv` as a command of the machine itself that runs there and dies with this process."""

    def close(self) -> None:
        """End the place. Idempotent."""


class Plugged(Place, Protocol):
    """A place with a network of its own, which a cable can be put into."""

    pid: int


class Machine:
    """The machine's own namespaces: for nodes on 127.0.0.0/8, which need no privilege."""

    def command(self, argv: Sequence[str]) -> list[str]:
        return [*BOUND_TO_US, *argv]

    def close(self) -> None:
        pass


class Namespace:
    """A network namespace with only `lo` up, and a mount namespace with empty PRIVATE_MOUNTS."""

    def __init__(self, mounts: Sequence[str] = PRIVATE_MOUNTS) -> None:
        script = HOLD.format(mounts="".join(f"mount -t tmpfs lab {path} && " for path in mounts))
        self._holder = subprocess.Popen(
            [*BOUND_TO_US, "unshare", "--net", "--mount", "sh", "-c", script],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.pid = self._holder.pid
        assert self._holder.stdout is not None
        if self._holder.stdout.readline().strip() != "ready":
            _, errors = self._holder.communicate(timeout=10)
            raise LabError(f"no namespace: {errors.strip()}")

    def command(self, argv: Sequence[str]) -> list[str]:
        return [*BOUND_TO_US, "nsenter", f"--target={self.pid}", "--net", "--mount", "--", *argv]

    def close(self) -> None:
        if self._holder.poll() is None:
            self._holder.kill()
        self._holder.communicate()


class Bridge:
    """An Ethernet switch in a namespace of its own; every attached place gets one interface `eth0`."""

    def __init__(self) -> None:
        self._place = Namespace(mounts=())
        # Snooping would need an IGMP querier to keep multicast flowing.
        self._ip("link add br0 type bridge mcast_snooping 0 forward_delay 0")
        self._ip("link set br0 up")
        self._ports = 0

    def attach(self, place: "Plugged", address: str) -> None:
        """Give `place` an interface with `address` ("10.78.0.1/16")."""
        self._ports += 1
        port = f"p{self._ports}"
        self._ip(f"link add {port} type veth peer name eth0 netns {place.pid}")
        self._ip(f"link set {port} master br0 up")
        # nodad: an IPv6 address is usable at once.
        options = ["nodad"] if ":" in address else []
        run(place, ["ip", "address", "add", address, "dev", "eth0", *options])
        run(place, ["ip", "link", "set", "eth0", "up"])

    def set_port(self, number: int, up: bool) -> None:
        """Plug or unplug the cable of the `number`th attached place (from 1)."""
        self._ip(f"link set p{number} {'up' if up else 'down'}")

    def _ip(self, words: str) -> None:
        run(self._place, ["ip", *words.split()])

    def close(self) -> None:
        self._place.close()


def run(
    place: Place, argv: Sequence[str], *, text_in: str = "", timeout_s: float = 20.0, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run a command there to its end. With `check`, raises LabError with its output when it fails."""
    result = subprocess.run(
        place.command(argv), input=text_in, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    if check and result.returncode != 0:
        raise LabError(f"{' '.join(argv)}: status {result.returncode}: {result.stderr.strip()}{result.stdout.strip()}")
    return result


class Process:
    """A long-running command of a place, its output appended to a file."""

    def __init__(self, place: Place, argv: Sequence[str], output: Path, env: dict[str, str] | None = None) -> None:
        self.output = output
        self._file: IO[bytes] = output.open("ab")
        self._popen = subprocess.Popen(
            place.command(argv),
            stdin=subprocess.DEVNULL,
            stdout=self._file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
        )
        self.pid = self._popen.pid

    def running(self) -> bool:
        """Whether it has not ended."""
        return self._popen.poll() is None

    def wait(self, timeout_s: float) -> int:
        """Its exit status (negative: killed by that signal). Raises LabError when it does not end."""
        try:
            return self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise LabError(f"still runs after {timeout_s} s: {self.output}") from None

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal; no effect when it has ended."""
        if self.running():
            self._popen.send_signal(number)

    def close(self) -> None:
        """Kill it. Idempotent."""
        self.signal(signal.SIGKILL)
        self._popen.wait()
        self._file.close()
