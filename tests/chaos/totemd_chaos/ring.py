"""The ring that suffers: daemons of both kinds, a recorder beside each, and the faults that are done to them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from totemd.client.protocol import ClientProtocol
from totemd.client.requests import cpg_join
from totemd_chaos import recorder
from totemd_chaos.network import Network
from totemd_chaos.schedule import STORM_PERIOD_S, Action, Fault
from totemd_lab.configuration import RingSettings
from totemd_lab.loads import compile_client
from totemd_lab.nodes import Node, TotemdNode, View
from totemd_lab.places import LabError, Process, run
from totemd_lab.ring import STAGGER_S, Lab

TICK_S = 0.02
LIVES_PER_NODE = 100_000
SAMPLE_PERIOD_S = 2.0
LEAVE_PATIENCE_S = 20.0
"""Within this a daemon that was asked to stop has ended (not counting pauses)."""

SOURCE = Path(__file__).parent / "recorder_cpg.c"


@dataclass
class Sample:
    """What one daemon occupied at one moment."""

    time: float
    rss_bytes: int
    descriptors: int
    cpu_s: float


@dataclass
class DaemonRun:
    """One daemon from its start to its end, by CLOCK_MONOTONIC."""

    node: int
    kind: str
    pid: int
    started: float
    ended: float | None = None
    status: int | None = None
    """Its exit status; negative: killed by that signal."""
    asked: set[int] = field(default_factory=set)
    """Signals that we have sent it to end it."""
    samples: list[Sample] = field(default_factory=list)


class ChaosRing:
    """Nodes 1 to n in namespaces; nothing is started by the constructor. Use as a context, or close it."""

    def __init__(self, directory: Path, kinds: str, settings: RingSettings, *, rate_per_s: float, seed: str) -> None:
        self.kinds = kinds
        self.directory = directory
        self.lab = Lab(directory, kinds, settings)
        self.runs: list[DaemonRun] = []
        self.committed: dict[Fault, int] = {}
        self._rate_per_s = rate_per_s
        self._seed = seed
        self._network = Network(self.lab.nodes)
        self._current: dict[int, DaemonRun] = {}
        self._recorders: list[Process] = []
        self._in_force: list[Action] = []
        self._start_at: dict[int, float] = {}
        self._last_start = 0.0
        self._guests: dict[Action, object] = {}
        self._sample_at = 0.0
        self._program = compile_client_with_math(directory) if "C" in kinds else None

    # the daemons

    def start_all(self) -> None:
        """Start every node that does not run."""
        for node in self.lab.nodes:
            if not node.running():
                self._start_at.setdefault(node.nodeid, 0.0)
        self.settle_processes()

    def settle_processes(self, timeout_s: float = LEAVE_PATIENCE_S + 10.0) -> None:
        """Wait until every node that is to run has been started."""
        deadline = time.monotonic() + timeout_s
        while self._start_at and time.monotonic() < deadline:
            self.tick()
            time.sleep(TICK_S)
        if self._start_at:
            raise LabError(f"nodes {sorted(self._start_at)} did not end within {timeout_s} s")

    def tick(self) -> None:
        """What is to be done all the time: note ends, start what is due, take samples."""
        now = time.monotonic()
        for node in self.lab.nodes:
            self._note_end(node, now)
        for nodeid, due in sorted(self._start_at.items()):
            node = self.lab.node(nodeid)
            # Real nodes abort when newcomers come within the same instant.
            spaced = "C" not in self.kinds or now - self._last_start >= STAGGER_S
            if now >= due and spaced and not node.running() and not self._without_interface(nodeid):
                del self._start_at[nodeid]
                self._start(node)
        if now >= self._sample_at:
            self._sample_at = now + SAMPLE_PERIOD_S
            for nodeid, daemon in self._current.items():
                if (sample := self._sample(self.lab.node(nodeid), now)) is not None:
                    daemon.samples.append(sample)

    def _start(self, node: Node) -> None:
        node.start()
        self._last_start = time.monotonic()
        daemon = DaemonRun(node.nodeid, node.kind, node.pid, self._last_start)
        self.runs.append(daemon)
        self._current[node.nodeid] = daemon

    def _note_end(self, node: Node, now: float) -> None:
        daemon = self._current.get(node.nodeid)
        if daemon is not None and not node.running():
            daemon.ended = now
            daemon.status = node.wait_end(1.0)
            del self._current[node.nodeid]
            # Whoever ended on its own is judged later, and goes on like the others.
            self._start_at.setdefault(node.nodeid, now + 0.5)

    def _sample(self, node: Node, now: float) -> Sample | None:
        if not node.running():
            return None
        with suppress(OSError):
            descriptors = len(os.listdir(f"/proc/{node.pid}/fd"))
            return Sample(now, node.rss_bytes(), descriptors, node.cpu_s())
        return None

    def _without_interface(self, nodeid: int) -> bool:
        return any(action.fault is Fault.INTERFACE and nodeid in action.nodes for action in self._in_force)

    # the recorders

    def start_recorders(self, tag: str, first_life: int) -> list[Path]:
        """One recorder beside each node. Returns their files, by node."""
        paths = []
        for node in self.lab.nodes:
            path = node.directory / f"recording{tag}"
            if isinstance(node, TotemdNode):
                argv = [sys.executable, "-m", "totemd_chaos.recorder", str(node.socket)]
            else:
                assert self._program is not None
                argv = [str(self._program)]
            argv += [str(node.nodeid), str(node.nodeid * LIVES_PER_NODE + first_life)]
            argv += [str(self._rate_per_s), str(self._seed), str(path)]
            path.touch()
            environment = {"PYTHONPATH": os.pathsep.join(sys.path)}
            self._recorders.append(Process(node.place, argv, node.directory / "recorder.log", environment))
            paths.append(path)
        return paths

    def stop_sending(self) -> None:
        """Let the recorders only listen."""
        for process in self._recorders:
            process.signal(signal.SIGUSR1)

    def stop_recorders(self) -> list[int]:
        """End the recorders. Returns their exit statuses."""
        for process in self._recorders:
            process.signal(signal.SIGTERM)
        statuses = []
        for process in self._recorders:
            try:
                statuses.append(process.wait(10.0))
            except LabError:
                statuses.append(-1)
            process.close()
        self._recorders.clear()
        return statuses

    # the faults

    def play(self, schedule: list[Action], seconds: float, progress: Callable[[str], None]) -> None:
        """Commit the faults of one round. Returns after `seconds`, with some of their effects still in force."""
        begin = time.monotonic()
        ends: list[tuple[float, Action]] = []
        waiting = list(schedule)
        while (now := time.monotonic() - begin) < seconds:
            while waiting and waiting[0].at_s <= now:
                action = waiting.pop(0)
                progress(str(action))
                self._begin(action)
                ends.append((action.at_s + action.lasts_s, action))
            for entry in [entry for entry in ends if entry[0] <= now]:
                ends.remove(entry)
                self._end(entry[1])
            self._storm(begin)
            self.tick()
            time.sleep(TICK_S)

    def calm(self) -> None:
        """End all that is in force; returns when every daemon has been started."""
        for action in list(self._in_force):
            self._end(action)
        for node in self.lab.nodes:
            self._signal(node, signal.SIGCONT)
        self.start_all()

    def _begin(self, action: Action) -> None:
        self.committed[action.fault] = self.committed.get(action.fault, 0) + 1
        self._in_force.append(action)
        nodes = [self.lab.node(nodeid) for nodeid in action.nodes]
        match action.fault:
            case Fault.SPLIT | Fault.BRIDGE | Fault.DEAF | Fault.LOSS:
                self._network.apply(self._in_force)
            case Fault.KILL:
                for node in nodes:
                    self._kill(node, action.lasts_s)
            case Fault.LEAVE:
                self._leave(nodes[0], action.lasts_s)
            case Fault.PAUSE:
                self._signal(nodes[0], signal.SIGSTOP)
            case Fault.INTERFACE:
                run(nodes[0].place, ["ip", "link", "set", "eth0", "down"])
            case Fault.CABLE:
                self.lab.plug(nodes[0], up=False)
            case Fault.GUEST:
                self._guests[action] = join_blindly(nodes[0])
            case Fault.STORM:
                pass

    def _end(self, action: Action) -> None:
        self._in_force.remove(action)
        node = self.lab.node(action.nodes[0])
        others = [other for other in self._in_force if other.fault is action.fault and other.nodes == action.nodes]
        match action.fault:
            case Fault.SPLIT | Fault.BRIDGE | Fault.DEAF | Fault.LOSS:
                self._network.apply(self._in_force)
            case Fault.PAUSE if not others:
                self._signal(node, signal.SIGCONT)
            case Fault.INTERFACE if not others:
                run(node.place, ["ip", "link", "set", "eth0", "up"])
            case Fault.CABLE if not others:
                self.lab.plug(node, up=True)
            case Fault.GUEST:
                self._guests.pop(action, None)

    def _storm(self, begin: float) -> None:
        """The storm's node is killed as soon as it has run for a period, and started again at once."""
        for action in self._in_force:
            daemon = self._current.get(action.nodes[0])
            if action.fault is Fault.STORM and daemon and time.monotonic() - daemon.started >= STORM_PERIOD_S:
                self._kill(self.lab.node(action.nodes[0]), 0.0)

    def _kill(self, node: Node, away_s: float) -> None:
        daemon = self._current.get(node.nodeid)
        if daemon is None:
            return
        daemon.asked.add(signal.SIGKILL)
        node.kill()
        self._start_at[node.nodeid] = time.monotonic() + away_s
        self._note_end(node, time.monotonic())

    def _leave(self, node: Node, away_s: float) -> None:
        daemon = self._current.get(node.nodeid)
        if daemon is None:
            return
        daemon.asked.add(signal.SIGTERM)
        self._signal(node, signal.SIGTERM)
        self._start_at[node.nodeid] = time.monotonic() + away_s

    def _signal(self, node: Node, number: signal.Signals) -> None:
        if node.running():
            os.kill(node.pid, number)

    # what is asked of it

    def formed(self) -> bool:
        """Whether all nodes form one ring in the eyes of all."""
        views = self.views()
        return len(set(views)) == 1 and views[0] is not None and len(views[0].members) == len(self.lab.nodes)

    def views(self) -> list[View | None]:
        """What each node says of the cluster."""
        return [_view(node) for node in self.lab.nodes]

    def close(self) -> None:
        """Kill everything. Idempotent."""
        for process in self._recorders:
            process.close()
        self.lab.close()


def _view(node: Node) -> View | None:
    try:
        return node.view()
    except subprocess.TimeoutExpired:
        # A real node's own tool gets no answer.
        return None


def compile_client_with_math(directory: Path) -> Path:
    """The recorder for corosync nodes."""
    return compile_client(SOURCE, directory, "-lm")


def join_blindly(node: Node) -> object:
    """A process that joins the group and reads nothing; it is gone when this is dropped."""
    if not isinstance(node, TotemdNode):
        return None
    connection = recorder.connect(str(node.socket))
    if connection is not None:
        protocol = ClientProtocol("guest")
        with suppress(OSError):
            connection.setblocking(False)
            connection.send(protocol.hello() + protocol.request(cpg_join(recorder.GROUP.encode()))[1])
    return connection
