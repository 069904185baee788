"""Real daemons of one managed, sealed cluster on loopback, each with its own files, as on machines of their own."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from totemd.client import blocking
from totemd.client.errors import TotemdClientError
from totemd.cluster.identity import Identity, new_identity
from totemd.cluster.nodelist_text import ListedNode, add_node, new_cluster
from totemd.seal.keys import KeyRing, new_key
from totemd_lab.ring import free_udp_port

WAIT_S = 40.0
NAMES = ("hake", "ling", "tope", "pike", "rudd")


class ManagedNode:
    """One daemon and its directory."""

    def __init__(self, nodeid: int, directory: Path, address: str) -> None:
        self.nodeid = nodeid
        self.name = NAMES[nodeid - 1]
        self.address = address
        self.directory = directory / self.name
        self.config = self.directory / "corosync.conf"
        self.keyfile = self.directory / "authkey"
        self.state = self.directory / "state"
        self.socket = self.directory / "run" / "totemd.sock"
        self.log = self.directory / "log"
        self.identity: Identity = new_identity(os.urandom)
        self.process: subprocess.Popen[bytes] | None = None
        for part in ("state", "run"):
            (self.directory / part).mkdir(parents=True)
        (self.state / "identity").write_bytes(self.identity.to_bytes())

    def listed(self) -> ListedNode:
        """As it stands in the nodelist."""
        return ListedNode(self.nodeid, self.name, self.address, self.identity.uuid, self.identity.public_key)

    def install(self, text: str, keys: bytes) -> None:
        """Write configuration and key, as joining does."""
        self.config.write_text(text)
        self.keyfile.write_bytes(keys)
        self.keyfile.chmod(0o600)

    def start(self, crash_at: str = "") -> None:
        """Start the daemon; `crash_at`: a step of crashing_daemon.py at which it is to end."""
        program = [str(Path(__file__).with_name("crashing_daemon.py"))] if crash_at else ["-m", "totemd.cli.daemon"]
        command = [sys.executable, *program, "-c", str(self.config), "--node", self.name]
        command += ["--state-dir", str(self.state), "--run-dir", str(self.socket.parent)]
        command += ["--keyfile", str(self.keyfile)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, "CRASH_AT": crash_at}
            )

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> int:
        """SIGTERM, and its exit status."""
        assert self.process is not None
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            return self.process.wait(10)
        self.kill()
        return -signal.SIGKILL

    def pause(self) -> None:
        """SIGSTOP; `go_on` ends it."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def text(self) -> str:
        return self.config.read_text()

    def logged(self) -> str:
        return self.log.read_text(errors="replace")

    def client(self) -> blocking.BlockingClient:
        """A connection to the daemon."""
        return blocking.connect(self.socket)

    def ctl(self, *words: str, check: int | None = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run `totemctl` with the daemon's socket; unless `check` is None it must end with that status."""
        command = [sys.executable, "-m", "totemd.cli.ctl", "--socket", str(self.socket), *words]
        ended = subprocess.run(
            command, capture_output=True, text=True, timeout=120, check=False, env={**os.environ, **environment}
        )
        assert check is None or ended.returncode == check, f"{words}: {ended.returncode}\n{ended.stdout}{ended.stderr}"
        return ended

    def json(self, *words: str, check: int | None = 0) -> Any:
        """What a command prints with --json."""
        return json.loads(self.ctl("--json", *words, check=check).stdout)


class ManagedCluster:
    """Nodes 1 to `count`; a context manager that ends every daemon."""

    def __init__(self, directory: Path, count: int = 3, token_ms: int = 400) -> None:
        net = f"127.{random.randrange(2, 250)}.{random.randrange(1, 250)}"
        self.nodes = [ManagedNode(nodeid, directory, f"{net}.{nodeid}") for nodeid in range(1, count + 1)]
        self.keys = KeyRing(new_key(os.urandom)).to_bytes()
        self.cluster_text = self._text(token_ms)
        for node in self.nodes:
            node.install(self.cluster_text, self.keys)

    def _text(self, token_ms: int) -> str:
        text = new_cluster(
            name="sea",
            cluster_id=os.urandom(16),
            node=self.nodes[0].listed(),
            transport="udpu",
            mcast_port=free_udp_port(),
            token_ms=token_ms,
        )
        for node in self.nodes[1:]:
            text = add_node(text, node.listed())
        text = text.replace("    to_syslog: yes\n", "    to_stderr: yes\n    to_syslog: no\n")
        text += "\nsystem {\n    sched_rr: no\n    qb_ipc: no\n}\n"
        return text.replace("    version: 2\n", "    version: 2\n    token_coefficient: 0\n", 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for node in self.nodes:
            node.kill()
        if error is not None:
            for node in self.nodes:
                print(f"--- {node.name}\n{node.logged()[-6000:]}")

    def start(self, nodes: Iterable[ManagedNode] | None = None) -> None:
        """Start these nodes (all), and wait until they are one quorate ring."""
        started = list(self.nodes if nodes is None else nodes)
        for node in started:
            node.start()
        self.wait_quorate(started)

    def wait_quorate(self, nodes: Iterable[ManagedNode] | None = None) -> None:
        """Wait until exactly these nodes are a ring with quorum."""
        wanted = list(self.nodes if nodes is None else nodes)
        ids = {node.nodeid for node in wanted}
        for node in wanted:
            wait(lambda node=node: self._is_quorate(node, ids), f"{node.name} in a quorate ring of {ids}")  # type: ignore[misc]

    @staticmethod
    def _is_quorate(node: ManagedNode, ids: set[int]) -> bool:
        with node.client() as client:
            status = client.status()
        return status.quorate and not status.syncing and {member.nodeid for member in status.members} == ids

    def wait_version(self, version: int, nodes: Iterable[ManagedNode] | None = None) -> None:
        """Wait until these nodes have that version in force, confirmed and in their files."""
        for node in self.nodes if nodes is None else nodes:
            wait(lambda node=node: _has(node, version), f"{node.name} with version {version}")  # type: ignore[misc]


def _has(node: ManagedNode, version: int) -> bool:
    with node.client() as client:
        shown = client.config_show()
    return shown.version == version and shown.confirmed and node.text() == shown.text


def wait(done: Callable[[], bool], what: str, seconds: float = WAIT_S) -> None:
    """Wait until `done()`; an AssertionError says for what in vain."""
    end = time.monotonic() + seconds
    while True:
        with suppress(TotemdClientError, OSError):
            if done():
                return
        assert time.monotonic() < end, f"in vain for {what}"
        time.sleep(0.05)
