"""The network that rings of either engine use in turns, and such a ring."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

from totemd_bench.plan import Engine
from totemd_lab.configuration import Member, RingSettings, corosync_conf
from totemd_lab.faults import drop_multicasts, heal
from totemd_lab.loads import compile_client
from totemd_lab.nodes import CorosyncNode, Node, TotemdNode
from totemd_lab.places import PRIVATE_MOUNTS, Bridge, Namespace

SOURCES = Path(__file__).parent.parent
STAGGER_S = 0.3
"""Between the starts of real nodes, which abort or re-form for long when all start at once."""


class RingError(Exception):
    """A ring does not form, or a daemon has ended; the text says which."""


class Programs:
    """The compiled clients, and the words in front of them that choose their scheduling."""

    def __init__(self, directory: Path, *, client_priority: int) -> None:
        self.prefix = ["chrt", "--rr", str(client_priority)] if client_priority else []
        directory.mkdir(parents=True, exist_ok=True)
        self.libcpg = compile_client(SOURCES / "load_cpg.c", directory)
        self.native = compile_client(SOURCES / "load_native.c", directory)
        self.watch = compile_client(SOURCES / "watch_quorum.c", directory, "-lquorum")
        self.first_packets = compile_client(SOURCES / "first_packets.c", directory)


class BenchTotemd(TotemdNode):
    """totemd, run by a chosen interpreter."""

    def __init__(self, member: Member, place: Namespace, directory: Path, python: str) -> None:
        super().__init__(member, place, directory)
        # A place begins in its own root. A link must stay one: by it the interpreter finds its environment.
        self._python = str(Path(python).absolute()) if "/" in python else python

    def _argv(self) -> list[str]:
        return [self._python, *super()._argv()[1:]]


class Stage:
    """A bridge with one place for each node, and one more for listening, which is unplugged unless it is needed."""

    def __init__(self, nodes: int, settings: RingSettings) -> None:
        self.settings = settings
        self.members = [Member(nodeid, settings.network.format(nodeid)) for nodeid in range(1, nodes + 1)]
        self.places: list[Namespace] = []
        self._bridge = Bridge()
        try:
            for address in [*(member.address for member in self.members), settings.network.format(250)]:
                place = Namespace()
                self.places.append(place)
                self._bridge.attach(place, f"{address}/{settings.prefix_length}")
            self.plug_listener(up=False)
        except BaseException:
            self.close()
            raise

    @property
    def listener(self) -> Namespace:
        """The place that hears every multicast while it is plugged in."""
        return self.places[-1]

    def plug_listener(self, *, up: bool) -> None:
        """Plug the listener in or out."""
        self._bridge.set_port(len(self.places), up)

    def sweep(self) -> None:
        """Remove what killed daemons and clients leave in the places' private directories."""
        for place in self.places:
            for directory in PRIVATE_MOUNTS:
                for entry in Path(f"/proc/{place.pid}/root{directory}").iterdir():
                    if entry.is_dir() and not entry.is_symlink():
                        shutil.rmtree(entry, ignore_errors=True)
                    else:
                        entry.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove it. Idempotent."""
        for place in self.places:
            place.close()
        self._bridge.close()


class Ring:
    """Nodes of one engine on a stage. Nothing is started by the constructor."""

    def __init__(self, stage: Stage, engine: Engine, directory: Path, programs: Programs) -> None:
        self.stage = stage
        self.engine = engine
        self.directory = directory
        self.programs = programs
        self.nodes: list[Node] = []
        for member, place in zip(stage.members, stage.places, strict=False):
            home = directory / member.name
            home.mkdir(parents=True)
            self.nodes.append(
                BenchTotemd(member, place, home, engine.python) if engine.python else CorosyncNode(member, place, home)
            )
            node = self.nodes[-1]
            log = str(home / "corosync.log")
            node.conf.write_text(corosync_conf(stage.members, self._settings(), str(node.state), log))

    def _settings(self) -> RingSettings:
        """The stage's, and how the ring is sealed."""
        if not self.engine.cipher:
            return self.stage.settings
        key = self.directory / "key"
        if not key.exists():
            key.write_bytes(os.urandom(128))
            key.chmod(0o600)
        totem = {**self.stage.settings.totem, "crypto_cipher": self.engine.cipher, "keyfile": str(key)}
        return replace(self.stage.settings, totem=totem)

    def start(self, *, at_once: bool) -> int:
        """Start all daemons; real ones not all at once, unless that is wanted. Gives the first start's time, ns."""
        first_ns = time.monotonic_ns()
        for index, node in enumerate(self.nodes):
            if index and not self.engine.python and not at_once:
                time.sleep(STAGGER_S)
            self.start_node(node)
        return first_ns

    def start_node(self, node: Node) -> None:
        """Start one daemon."""
        node.start()
        pid_file(node).write_text(f"{node.pid}\n")

    def ended(self) -> str | None:
        """What to say of daemons that have ended; None: all run."""
        names = [f"{node.member.name} {last_line(node)}" for node in self.nodes if not node.running()]
        return f"ended: {'; '.join(names)}" if names else None

    def set_loss(self, percent: int) -> None:
        """Let a share of the multicasts that reach each node vanish; 0: none."""
        for node in self.nodes:
            if percent:
                drop_multicasts(node, percent)
            else:
                heal(node)

    def stop(self) -> None:
        """Kill all daemons at once."""
        for node in self.nodes:
            if node.running():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(node.pid, signal.SIGKILL)
        for node in self.nodes:
            node.close()
        self.stage.sweep()


def pid_file(node: Node) -> Path:
    """Where watching clients find the daemon's process id."""
    return node.directory / "pid"


def last_line(node: Node) -> str:
    """The end of a node's log, for a reason."""
    lines = [line for line in node.log_text(whole=True).splitlines() if line.strip()]
    return lines[-1][-160:] if lines else "(no log)"


def settings_for(nodes: int, *, real_time: bool, token_ms: int | None) -> RingSettings:
    """The configuration of both engines' rings."""
    settings = RingSettings(system={"sched_rr": "yes" if real_time else "no"})
    if nodes > 1 and token_ms is not None:
        settings = replace(settings, token_ms=token_ms, token_coefficient_ms=0)
    return settings


DESCRIBE = """
import importlib.machinery, os, sys
import totemd.cli.daemon, totemd.totem
suffixes = tuple(importlib.machinery.EXTENSION_SUFFIXES)
tree = os.walk(os.path.dirname(totemd.__file__))
print(sys.version.split()[0], sum(name.endswith(suffixes) for _, _, names in tree for name in names))
print(totemd.__file__)
"""


def describe_python(python: str) -> dict[str, str]:
    """What an interpreter says of itself and the totemd that it finds. Raises RingError if it cannot run it."""
    try:
        result = subprocess.run([python, "-c", DESCRIBE], capture_output=True, text=True, check=False)
    except OSError as error:
        raise RingError(f"{python}: {error.strerror}") from None
    if result.returncode != 0:
        raise RingError(f"{python} cannot run totemd: {(result.stderr.strip().splitlines() or ['?'])[-1]}")
    head, file = result.stdout.splitlines()
    version, compiled = head.split()
    return {"interpreter": python, "python": version, "totemd": file, "compiled_modules": compiled}
