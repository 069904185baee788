"""Three totemd daemons on loopback, in a temporary directory, for `totemctl demo`."""

import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

NAMES: Final = ("alpha", "beta", "gamma")

STOP_TIMEOUT_S: Final = 5.0
"""How long a daemon may take to leave when the demo is cleaned up; then it is killed."""

LOG_TAIL_LINES: Final = 25

_PORTS: Final = range(20_000, 32_000, 2)
"""Below the ports that Linux gives to clients."""


class DemoFailed(Exception):
    """Something did not go as it must; the text says what, for the person who watches."""


class Daemon:
    """One `totemd` process, which can be started again after its end."""

    def __init__(self, name: str, nodeid: int, directory: Path) -> None:
        self.name = name
        self.nodeid = nodeid
        self.address = f"127.0.0.{nodeid}"
        self.socket = directory / name / "run" / "totemd.sock"
        self._directory = directory
        self._log = directory / name / "log"
        self._process: subprocess.Popen[bytes] | None = None
        for part in ("run", "state"):
            (directory / name / part).mkdir(parents=True)

    def start(self) -> None:
        """Start the process, in a session of its own so that the terminal's Ctrl-C reaches only the demo."""
        base = self._directory / self.name
        command = [sys.executable, "-m", "totemd.cli.daemon", "-f", "-c", str(self._directory / "corosync.conf")]
        command += ["--state-dir", str(base / "state"), "--run-dir", str(base / "run"), "--node", self.name]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_status(self) -> int | None:
        return None if self._process is None else self._process.poll()

    def check_alive(self) -> None:
        """DemoFailed if the process has ended."""
        if not self.running:
            raise DemoFailed(f"{self.name} has ended with status {self.exit_status}")

    def terminate(self) -> None:
        """SIGTERM: leave the ring and end."""
        if self._process is not None:
            self._process.terminate()

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """End it, gently if it lets us."""
        if self._process is None:
            return
        self.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def log_tail(self) -> str:
        """The end of what the daemon wrote."""
        try:
            lines = self._log.read_text(errors="replace").splitlines()
        except OSError:
            lines = []
        state = "running" if self.running else f"ended with status {self.exit_status}"
        return "\n".join([f"--- {self.name} ({state}), end of its log:", *lines[-LOG_TAIL_LINES:]])


class Cluster:
    """The daemons and their directory; a context manager that leaves neither process nor file."""

    def __init__(self) -> None:
        self.daemons: list[Daemon] = []
        self.where = ""
        self._directory: Path | None = None

    def __enter__(self) -> Self:
        try:
            # Short, because the path of a Unix socket may have 107 bytes.
            self._directory = Path(tempfile.mkdtemp(prefix="totemd-demo-"))
            self.daemons = [Daemon(name, number, self._directory) for number, name in enumerate(NAMES, 1)]
            port = _free_port([daemon.address for daemon in self.daemons])
            group = f"239.255.{random.randrange(1, 255)}.{random.randrange(1, 255)}"
            self.where = f"multicast {group}, port {port}, on loopback"
            (self._directory / "corosync.conf").write_text(configuration(self.daemons, group, port))
        except OSError as error:
            self.clean_up()
            raise DemoFailed(f"cannot prepare: {error}") from None
        except BaseException:
            self.clean_up()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clean_up()

    def log_tails(self) -> str:
        """The ends of all logs."""
        # A daemon that dies loses its sockets, which is what one notices, a moment before it has ended.
        time.sleep(0.2)
        return "\n".join(daemon.log_tail() for daemon in self.daemons)

    def clean_up(self) -> None:
        """End every process and remove every file."""
        for daemon in self.daemons:
            daemon.terminate()
        for daemon in self.daemons:
            daemon.stop()
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)


def configuration(daemons: list[Daemon], group: str, port: int) -> str:
    """One corosync.conf for all; a short token timeout, so that a crash is noticed within seconds."""
    nodes = "".join(
        f"    node {{\n        ring0_addr: {daemon.address}\n        name: {daemon.name}\n"
        f"        nodeid: {daemon.nodeid}\n    }}\n"
        for daemon in daemons
    )
    return f"""\
totem {{
    version: 2
    cluster_name: demo
    transport: udp
    token: 1000
    token_coefficient: 0
    interface {{
        linknumber: 0
        mcastaddr: {group}
        mcastport: {port}
    }}
}}
nodelist {{
{nodes}}}
quorum {{
    provider: corosync_votequorum
}}
logging {{
    to_stderr: yes
    to_syslog: no
}}
system {{
    sched_rr: no
    qb_ipc: no
}}
"""


def _free_port(addresses: list[str]) -> int:
    """A port that is free on all `addresses` together with the one below it. DemoFailed if none is found."""
    for _ in range(100):
        port = random.choice(_PORTS) + 1
        if all(_is_free(address, number) for address in addresses for number in (port, port - 1)):
            return port
    raise DemoFailed("found no two free UDP ports on 127.0.0.1, .2 and .3")


def _is_free(address: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True
