"""A cluster in a virtual world: production `Node` objects, one clock, and a schedule of what is done to them.

Packets cross the network as bytes, so the codecs are always in the loop. Everything that happens is an entry in one
heap, ordered by time and then by when it was entered, so a schedule has one history only.
"""

import heapq
from collections.abc import Callable
from functools import lru_cache
from traceback import extract_tb
from typing import Any, Final

from totemd.config import load
from totemd.config.model import Configuration
from totemd.errors import ConfigError, ServiceError
from totemd.ids import NodeId
from totemd.limits import REASSEMBLY_SIZE_MAX
from totemd.sim.history import Calm, End, Ended, Event, History, Measured, Started, Violation
from totemd.sim.host import LOOK_AGAIN_S, Host
from totemd.sim.life import PENDING_EFFECTS_MAX, TAKEN_OUT, Life
from totemd.sim.network import Network
from totemd.sim.replicated import has_settled, taken_out
from totemd.sim.schedule import Action, Schedule
from totemd.sim.seals import Seals
from totemd.sim.trace import NETWORK, Trace
from totemd.sim.verbs import HOST_ACTIONS, LIFE_ACTIONS, NETWORK_ACTIONS, interface_up
from totemd.totem.core import State

LOOK_S: Final = 0.05
"""How often bounds are checked and the end is looked for."""

STEPS_MAX: Final = 5_000_000
"""Turns of nodes in one run; a run that needs more goes in circles."""

LINGER_S: Final = 0.3
"""How long a cluster that is whole is watched for whether it stays so."""

CLEAR_S: Final = 0.05
"""After the calm packets from before arrive within this or never."""

WORKLOAD: Final = frozenset(
    ("send", "part", "join", "expect", "force", "vote", "reload", "direct", "edit", "revote", "unlist")
)
"""Verbs that are no faults, and so may come after the calm."""


def address(nodeid: NodeId) -> str:
    """Where a node is."""
    return f"10.0.0.{nodeid}"


def configuration_text(
    votes: tuple[int, ...], totem: tuple[tuple[str, str], ...], quorum: tuple[tuple[str, str], ...]
) -> str:
    """A configuration file."""
    nodes = "".join(
        f"node {{\n ring0_addr: {address(i)}\n nodeid: {i}\n quorum_votes: {n}\n}}\n" for i, n in enumerate(votes, 1)
    )
    totem_lines = "".join(f" {key}: {value}\n" for key, value in totem)
    quorum_lines = "".join(f" {key}: {value}\n" for key, value in quorum)
    return (
        f"totem {{\n version: 2\n cluster_name: simulation\n transport: udp\n{totem_lines}}}\n"
        f"nodelist {{\n{nodes}}}\nquorum {{\n provider: corosync_votequorum\n{quorum_lines}}}\n"
    )


@lru_cache(maxsize=512)
def configuration(text: str, nodeid: NodeId) -> Configuration:
    """What a file means to node `nodeid`. ConfigError if it is wrong."""
    return load(text, file="simulation", resolve=lambda name, version: [name], local_addresses=[address(nodeid)])


class World:
    """Plays one schedule."""

    def __init__(self, schedule: Schedule, trace: Trace | None = None) -> None:
        self.schedule = schedule
        self.trace = trace
        self.now = 0.0
        self.steps = 0
        self.packets = 0
        self.history: History = []
        self.violations: list[Violation] = []
        self.settled_s: float | None = None
        """How long after the calm all was well; None if it never was."""
        self.hosts = {nodeid: Host(nodeid, schedule.seed) for nodeid in range(1, schedule.nodes + 1)}
        self.lives: dict[NodeId, Life] = {}
        self.peaks: dict[str, int] = {}
        self._addresses = {nodeid: address(nodeid) for nodeid in self.hosts}
        self._totem = {nodeid: dict(schedule.totem) for nodeid in self.hosts}
        self._network = Network(schedule.seed, schedule.nodes, schedule.link)
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._event_count = 0
        self._life_count = 0
        self._calm = False
        self.seals = Seals(self) if self.load(self.text(1), 1).seal else None
        """None: the ring is open."""
        for action in schedule.actions:
            self.at(action.at_s, self._act, action)
        self.at(schedule.calm_s, self._make_calm)

    def configuration(self, nodeid: NodeId) -> Configuration:
        """What the node's file holds now."""
        return self.load(self.text(nodeid), nodeid)

    def text(self, nodeid: NodeId) -> str:
        """The node's file, where the configuration is not replicated; else the one that all begin with."""
        schedule = self.schedule
        return configuration_text(schedule.votes, tuple(self._totem[nodeid].items()), schedule.quorum)

    def load(self, text: str, nodeid: NodeId) -> Configuration:
        """What a file means to a node. ConfigError if it is wrong."""
        return configuration(text, nodeid)

    def set_totem(self, nodeid: NodeId, key: str, value: str) -> None:
        """Change a line of section totem in the node's file."""
        self._totem[nodeid][key] = value

    # Time

    def at(self, time: float, action: Callable[..., None], *arguments: Any) -> None:
        """Have `action` done at `time`."""
        self._event_count += 1
        heapq.heappush(self._events, (time, self._event_count, action, arguments))

    def run(self, settle_s: float) -> None:
        """Play the schedule, and after its calm until all is well, at most `settle_s`, and a little longer."""
        self._run_until(
            max([self.schedule.calm_s, *(action.at_s for action in self.schedule.actions)]) + 2 * LOOK_AGAIN_S
        )
        if self._run_until(self.schedule.calm_s + settle_s, self.settled):
            self.settled_s = self.now - self.schedule.calm_s
            self._run_until(self.now + LINGER_S)

    def _run_until(self, end: float, until: Callable[[], bool] | None = None) -> bool:
        if until is not None and until():
            return True
        events = self._events
        look_at = self.now
        while events and events[0][0] <= end:
            time, _, action, arguments = heapq.heappop(events)
            if time > self.now:
                self.now = time
            action(*arguments)
            if self.now >= look_at:
                look_at = self.now + LOOK_S
                self._check_bounds()
                if self._calm:
                    self._switch_off()
                if self.steps > STEPS_MAX:
                    self.violated("bounded work", "GRP-19", f"more than {STEPS_MAX} turns in {self.now:.1f} s")
                    return False
                if until is not None and until():
                    return True
        self.now = max(self.now, end)
        return until is not None and until()

    # What nodes do to each other

    def transmit(self, host: Host, target: NodeId, data: bytes, *, unicast: bool) -> None:
        """A packet leaves `host`, or not."""
        if not host.link_up or host.chokes(self.now):
            return
        self.packets += 1
        if self.seals is not None:
            self.seals.overhear(self.lives[host.nodeid], target, data)
        for arrival in self._network.arrivals(host.nodeid, target, self.now):
            self.at(arrival, self._arrive, host.nodeid, target, data, self.now, unicast)

    def node_at(self, where: str) -> NodeId | None:
        """Whose address that is."""
        return next((nodeid for nodeid, known in self._addresses.items() if known == where), None)

    def attack(self, target: NodeId, data: bytes, source: NodeId, *, unicast: bool) -> None:
        """Somebody sends `target` something that pretends to come from the address of `source`."""
        life = self.lives.get(target)
        if life is not None:
            life.arrive(data, self._addresses[source], unicast=unicast)

    def _arrive(self, source: NodeId, target: NodeId, data: bytes, sent: float, unicast: bool) -> None:
        if self._calm and sent < self.schedule.calm_s and self.now > self.schedule.calm_s + CLEAR_S:
            # It was late, and a ring that hears of an old one rightly looks for it: that would be no calm.
            return
        life = self.lives.get(target)
        if life is not None:
            life.arrive(data, self._addresses[source], unicast=unicast)

    # What is recorded

    def note(self, event: Event) -> None:
        """Append to the history."""
        self.history.append(event)
        if self.trace is not None:
            self.trace.event(event)

    def defect(self, life: Life, error: Exception) -> None:
        """An exception came out of a node: a violation, and this life's end."""
        place = extract_tb(error.__traceback__)[-1]
        where = f"{place.filename.rpartition('/')[2]}:{place.lineno} in {place.name}"
        self.violated(
            "no exception escapes", "MEM-25", f"node {life.nodeid}: {type(error).__name__}: {error} ({where})"
        )
        life.end(End.CRASH, "an exception escaped")

    def violated(self, promise: str, anchor: str, text: str) -> None:
        """Something is wrong that a history does not show."""
        if not any(known.property == promise for known in self.violations):
            self.violations.append(Violation(promise, anchor, text, self.now))
            if self.trace is not None:
                self.trace.line(self.now, NETWORK, f"VIOLATED {promise}: {text}")

    # What the schedule does

    def _act(self, action: Action) -> None:
        if self._calm and action.verb not in WORKLOAD:
            return
        life = self.lives.get(action.node)
        if action.verb in LIFE_ACTIONS and action.verb != "crash" and self.hosts[action.node].busy_until > self.now:
            # The daemon is busy, or stopped: clients wait.
            self.at(self.hosts[action.node].free_at(self.now), self._act, action)
            return
        if self.trace is not None:
            self.trace.line(self.now, NETWORK, f"= {action}")
        if action.verb == "start":
            if life is None or not life.alive:
                self._start(self.hosts[action.node])
        elif action.verb in NETWORK_ACTIONS:
            NETWORK_ACTIONS[action.verb](self._network, *action.arguments)
        elif action.verb in HOST_ACTIONS:
            HOST_ACTIONS[action.verb](self, self.hosts[action.node], *map(float, action.arguments))
        elif action.verb == "attack":
            if self.seals is not None:
                self.seals.attack(action.node, action.arguments[0], int(float(action.arguments[1])))
        elif action.verb == "ghost":
            self._haunt(self.hosts[action.node], *action.arguments)
        elif life is not None and life.alive:
            try:
                LIFE_ACTIONS[action.verb](self, life, *map(float, action.arguments))
            except ServiceError:
                # Refused, as a client may be.
                return

    def _start(self, host: Host) -> None:
        try:
            life = Life(self, host, self._life_count + 1)
        except ConfigError:
            # It was taken out of the cluster, and knows it.
            return
        self._life_count += 1
        self.lives[host.nodeid] = life
        self.note(Started(self.now, host.nodeid, life.number, host.ring_seq))
        life.start()

    def _haunt(self, host: Host, phase: str, effects: str) -> None:
        life = self.lives.get(host.nodeid)
        if life is None or not life.alive:
            self._start(host)
        if host.nodeid in self.lives:
            self.lives[host.nodeid].dies_in = phase, int(float(effects))

    def _make_calm(self) -> None:
        self._calm = True
        self._network.calm()
        for nodeid, host in self.hosts.items():
            host.calm(self.now)
            interface_up(self, host)
            life = self.lives.get(nodeid)
            if life is not None:
                life.dies_in = None
                life.call(lambda: None)
        self.note(Calm(self.now, tuple(nodeid for nodeid, life in sorted(self.lives.items()) if life.alive)))

    def _switch_off(self) -> None:
        """Somebody who is taken out and has not heard of it would look for its ring for ever."""
        for life in taken_out(self.living):
            life.end(End.LEAVE, f"switched off: it {TAKEN_OUT}")

    # What is looked at

    @property
    def living(self) -> list[Life]:
        """The lives that go on, by node."""
        return [life for _, life in sorted(self.lives.items()) if life.alive]

    def whole(self) -> bool:
        """Whether all living nodes are in one ring that has synchronized."""
        living = self.living
        members = tuple(life.nodeid for life in living)
        return all(
            life.node.ring.state is State.OPERATIONAL
            and life.node.ring.ring == living[0].node.ring.ring
            and life.node.ring.members == members
            and not life.node.synchronizing
            for life in living
        )

    def settled(self) -> bool:
        """Whether, besides, all processes are where they want to be and have heard all that they sent, and nobody's
        expected votes are forced."""
        living = self.living
        if not self.whole() or not all(has_settled(life, living) for life in living):
            return False
        return all(life.process.settled and not life.leaving and not life.expects_by_force for life in living)

    def _check_bounds(self) -> None:
        """Measure what must not grow without bound: when it has doubled, and when it is too much."""
        for life in self.lives.values():
            if not life.alive:
                continue
            core = life.node.ring.core
            unfinished_max = 2 * len(self.hosts) * REASSEMBLY_SIZE_MAX
            for name, value, bound in (
                ("window", len(core.window), 16384),
                ("recovery window", len(core.recovery_window), 16384),
                ("recovery queue", len(core.recovery_queue), 16384),
                ("queue", len(core.queue), core.queue_max + 64),
                ("transitional queue", len(core.transitional_queue), core.queue_max),
                ("miss counts", len(core.miss_counts), 16384),
                ("consensus sets", len(core.proc) + len(core.failed), 2 * len(self.hosts)),
                ("newcomers", len(core.newcomers), len(self.hosts)),
                ("loopback", len(core.loopback), 256),
                ("unfinished messages", life.node.groups.reassembly.unfinished_bytes, unfinished_max),
                ("held effects", life.held_effects, PENDING_EFFECTS_MAX),
            ):
                if value > bound or value >= 2 * self.peaks.get(name, 8):
                    self.peaks[name] = value
                    self.note(Measured(self.now, life.nodeid, life.number, name, value, bound))

    def unfinished(self) -> str:
        """What is not as it should be in the end, for people."""
        parts = []
        for life in self.living:
            ring, process = life.node.ring, life.process
            parts.append(
                f"node {life.nodeid}: {ring.state.value} in {ring.ring.rep}/{ring.ring.seq} with "
                f"{','.join(map(str, ring.members))}, sync {life.node.sync.phase}, heard {process.own_heard} of "
                f"{process.accepted} own messages, {'in' if process.joined else 'not in'} the group"
                + ", its expected votes are forced"
                * life.expects_by_force
            )
        return "; ".join(parts)

    def ended_unasked(self) -> Ended | None:
        """The first daemon that ended by its own decision although its host let it do what it had to."""
        return next(
            (
                event
                for event in self.history
                if isinstance(event, Ended) and event.how is End.EXIT and not _host_failed(event.reason)
            ),
            None,
        )


def _host_failed(reason: str) -> bool:
    return "cannot be stored" in reason or "this host does not like it" in reason
