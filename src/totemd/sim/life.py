"""One run of a node's daemon on a simulated host: what `shell` does for a real one, in virtual time.

Datagrams wait in bounded socket buffers; a turn reads what has arrived, as `shell/transport.py` does; a ring number is
durable only after the disk has answered, and what the node wants done after it waits until then.
"""

from collections import deque
from collections.abc import Callable
from math import inf
from random import Random
from typing import TYPE_CHECKING, Final

from totemd.cluster.change import Change
from totemd.errors import ServiceError
from totemd.ids import NodeId
from totemd.node import Node
from totemd.node.catching_up import CatchingUp
from totemd.node.effects import (
    ConfigureLogs,
    Exit,
    NodeEffect,
    PersistFile,
    ReadConfiguration,
    ReopenLogs,
    SendNow,
    WriteConfiguration,
)
from totemd.services.changes.ledger import COMMITTED_FILE
from totemd.services.votequorum.service import EV_TRACKING_FILE
from totemd.sim.history import End, Ended, Event
from totemd.sim.host import CLOCK_GRAIN_S, Host
from totemd.sim.process import Process
from totemd.sim.render import datagram_line, state_line
from totemd.sim.replicated import CONFIGURATION_EFFECTS, Replicated, stored_on
from totemd.totem.core import State
from totemd.totem.effects import Broadcast, Log, PersistRingSeq, Unicast
from totemd.wire.packets import PacketType

if TYPE_CHECKING:
    from totemd.sim.world import World

BATCH_MAX: Final = 256
DATA_BUFFER_BYTES: Final = 1024 * 1024
TOKEN_BUFFER_PACKETS: Final = 1000
"""What the two sockets hold while nobody reads; more is lost."""

PENDING_EFFECTS_MAX: Final = 100_000
TURN_MIN_S: Final = 0.00002
TURN_SPREAD_S: Final = 0.00008
RELOAD_S: Final = 0.005
TAKEN_OUT: Final = "was taken out of the cluster"

_PHASES: Final = {"gather": State.GATHER, "commit": State.COMMIT, "recovery": State.RECOVERY}


class Life:
    """A daemon from its start to its end. `number` is unique in the world."""

    def __init__(self, world: "World", host: Host, number: int) -> None:
        self.world = world
        self.host = host
        self.nodeid = host.nodeid
        self.number = number
        self.alive = True
        self.leaving = False
        self.dies_in: tuple[str, int] | None = None
        """The phase in which this life ends, and after how many effects in it."""
        self._tokens: deque[tuple[bytes, str]] = deque()
        self._inbox: deque[tuple[bytes, str]] = deque()
        self._inbox_bytes = 0
        self._drained = True
        self._turn_at = inf
        self._persisting = False
        self._ring_seq_in_flight: int | None = None
        self._files_in_flight: dict[str, bytes] = {}
        self._pending: deque[NodeEffect] = deque()
        tracked = host.files.get(EV_TRACKING_FILE)
        self.process = Process(self)
        stored: dict[str, bytes] = {}
        configuration = world.configuration(self.nodeid)
        if world.schedule.managed:
            stored = stored_on(host, world.text(self.nodeid))
            configuration = world.load(Change.decode(stored[COMMITTED_FILE]).text, self.nodeid)
        self.replicated = Replicated(self) if stored else None
        self.node = Node(
            configuration,
            stored_ring_seq=host.ring_seq or 0,
            tracked_expected_votes=int.from_bytes(tracked, "little") if tracked and len(tracked) == 4 else None,
            incarnation=str(number),
            own_uid=0,
            random=Random(f"{world.schedule.seed} life {number}").random,
            emit=self._emit,
            now=host.clock(world.now),
            seal=world.seals.maker(self) if world.seals is not None else None,
            stored_changes=stored,
        )
        if stored and self.node.sealing is not None:
            CatchingUp(self.node, None, Random(f"{world.schedule.seed} catching up {number}").randbytes)
        self.process.connect()

    def start(self) -> None:
        """Begin."""
        if self.replicated is not None:
            self.replicated.notice()
        self.call(lambda: self.node.start(self.host.clock(self.world.now)))
        self.process.join()

    @property
    def expects_by_force(self) -> bool:
        """Whether the node's expected votes are forced."""
        votequorum = self.node.votequorum
        return votequorum is not None and votequorum.forced.now is not None

    @property
    def held_effects(self) -> int:
        """Effects that wait for the disk."""
        return len(self._pending)

    # Inputs

    def call(self, action: Callable[[], object]) -> None:
        """Have the node do something now. ServiceErrors are the caller's; nothing else may come out of a node."""
        if not self.alive:
            return
        self.node.now = self.host.clock(self.world.now)
        try:
            action()
        except ServiceError:
            self._use_token()
            self._wake()
            raise
        except Exception as error:
            self.world.defect(self, error)
        self._use_token()
        self._wake()

    def _use_token(self) -> None:
        try:
            self.node.use_token(self.host.clock(self.world.now))
        except Exception as error:
            self.world.defect(self, error)

    def arrive(self, data: bytes, source: str, *, unicast: bool) -> None:
        """A datagram is at this host."""
        if not self.alive or not self.host.link_up:
            return
        if unicast and not self.world.schedule.one_socket:
            if len(self._tokens) < TOKEN_BUFFER_PACKETS:
                self._tokens.append((data, source))
        elif self._inbox_bytes + len(data) <= DATA_BUFFER_BYTES:
            self._inbox.append((data, source))
            self._inbox_bytes += len(data)
        if self.host.busy_until <= self.world.now:
            self._turn()
        else:
            self._plan(self.host.busy_until)

    def _plan(self, at: float) -> None:
        """Have a turn at world time `at`, if none comes sooner. One that comes too soon plans the next."""
        if at < self._turn_at:
            self._turn_at = at
            self.world.at(at, self._planned, at)

    def _planned(self, at: float) -> None:
        if at != self._turn_at or not self.alive:
            return
        self._turn_at = inf
        if self.world.now < self.host.busy_until:
            self._plan(self.host.busy_until)
        elif self._inbox or self._tokens or self.host.moment(self.node.next_deadline()) <= self.world.now:
            self._turn()
        else:
            self._wake()

    def _turn(self) -> None:
        """Handle what has arrived and what is due."""
        world, host, node = self.world, self.host, self.node
        now = host.clock(world.now)
        if world.trace is not None:
            waiting = len(self._tokens) + len(self._inbox)
            world.trace.line(world.now, self.nodeid, f"turn, {waiting} waiting, {state_line(node.ring.core)}")
        world.steps += 1
        try:
            datagrams, exhausted = self._receive()
            if datagrams:
                if world.trace is not None:
                    for data, source in datagrams:
                        world.trace.line(world.now, self.nodeid, f"from {source}: {datagram_line(data)}")
                node.receive_datagrams(datagrams, now, exhausted=exhausted)
            if node.next_deadline() <= now:
                if world.trace is not None:
                    world.trace.line(world.now, self.nodeid, "timer")
                node.handle_timer(now)
            node.use_token(now)
        except Exception as error:
            world.defect(self, error)
        took_s = (TURN_MIN_S + TURN_SPREAD_S * host.random.random()) * host.slowness
        host.busy_until = max(host.busy_until, world.now + took_s)
        self._die_if_due()
        self._wake()

    def _receive(self) -> tuple[list[tuple[bytes, str]], bool]:
        """As the daemon's transport does it."""
        datagrams: list[tuple[bytes, str]] = []
        while self._tokens and not datagrams:
            self._open(*self._tokens.popleft(), datagrams)
        if datagrams:
            data = datagrams[0][0]
            counts = int.from_bytes(data[13:17], "little")
            is_token = len(data) >= 17 and data[3] == PacketType.ORF_TOKEN
            if is_token and self._drained and self.node.has_all_up_to(counts):
                self._drained = False
                return datagrams, False
        self._drained = True
        for _ in range(min(BATCH_MAX, len(self._inbox))):
            data, source = self._inbox.popleft()
            self._inbox_bytes -= len(data)
            self._open(data, source, datagrams)
        return datagrams, not self._inbox

    def _open(self, data: bytes, source: str, into: list[tuple[bytes, str]]) -> None:
        """What a sealed datagram holds for the ring."""
        sealing = self.node.sealing
        if sealing is None:
            into.append((data, source))
            return
        opened = sealing.open(data, source, self.host.clock(self.world.now))
        if opened is not None:
            assert self.world.seals is not None
            self.world.seals.opened(self, data, opened)
            into.append(opened)

    def _wake(self) -> None:
        """Plan the next turn."""
        if not self.alive:
            return
        now = self.world.now
        at = now if self._inbox or self._tokens else self.host.moment(self.node.next_deadline())
        if at == inf:
            return
        busy_until = self.host.busy_until
        if at <= now and busy_until <= now:
            # Never twice in the same instant: a node without end would stop the world.
            at = now + CLOCK_GRAIN_S
        self._plan(max(at, busy_until))

    # Effects

    def _emit(self, effect: NodeEffect) -> bool:
        if not self.alive:
            return False
        if self.world.trace is not None:
            self.world.trace.effect(self.world.now, self.nodeid, effect)
        if isinstance(effect, WriteConfiguration) and self.replicated is not None:
            self.replicated.notice()
        if self._persisting and not isinstance(effect, SendNow):
            self._pending.append(effect)
            if len(self._pending) > PENDING_EFFECTS_MAX:
                self.end(End.EXIT, "the disk does not answer")
        else:
            self._perform(effect)
        self._die_if_due()
        return self._persisting

    def _perform(self, effect: NodeEffect) -> None:
        world, host = self.world, self.host
        if isinstance(effect, Unicast):
            world.transmit(host, effect.nodeid, self._sealed(effect.data, effect.nodeid), unicast=True)
        elif isinstance(effect, Broadcast):
            self._send_to_all(self._sealed(effect.data, None))
        elif isinstance(effect, SendNow):
            if effect.address is None:
                self._send_to_all(effect.data)
            elif (target := world.node_at(effect.address)) is not None:
                world.transmit(host, target, effect.data, unicast=True)
        elif isinstance(effect, PersistRingSeq):
            self._persisting = True
            self._ring_seq_in_flight = effect.seq
            world.at(world.now + host.disk_answers_after(), self._persisted, effect.seq)
        elif isinstance(effect, PersistFile):
            self._files_in_flight[effect.name] = effect.data
            world.at(world.now + host.disk_answers_after(), self._file_written, effect.name)
        elif isinstance(effect, ReadConfiguration):
            world.at(world.now + RELOAD_S, self._configuration_read)
        elif isinstance(effect, CONFIGURATION_EFFECTS) and self.replicated is not None:
            self.replicated.perform(effect)
        elif isinstance(effect, Exit):
            goes = self.leaving or TAKEN_OUT in effect.reason
            self.end(End.LEAVE if goes else End.EXIT, effect.reason)
        else:
            assert isinstance(effect, Log | ReopenLogs | ConfigureLogs)

    def _sealed(self, data: bytes, to: NodeId | None) -> bytes:
        sealing = self.node.sealing
        if sealing is None:
            return data
        sealed = sealing.seal_datagram(data, to)
        assert self.world.seals is not None
        self.world.seals.sealed(self, sealed, data)
        return sealed

    def _send_to_all(self, data: bytes) -> None:
        for nodeid in self.world.hosts:
            if nodeid != self.nodeid:
                self.world.transmit(self.host, nodeid, data, unicast=False)

    def _persisted(self, seq: int) -> None:
        host = self.host
        if not self.alive:
            return
        if host.busy_until > self.world.now:
            self.world.at(host.free_at(self.world.now), self._persisted, seq)
            return
        self._ring_seq_in_flight = None
        if host.disk_refuses:
            host.disk_refuses = False
            # As the daemon does it: what claims a number that is not durable must not go out, all else must.
            claims = (Unicast, Broadcast, PersistRingSeq)
            self._pending = deque(effect for effect in self._pending if not isinstance(effect, claims))
            self.call(lambda: self.node.persist_failed("no space left on device", host.clock(self.world.now)))
            self._resume()
            return
        host.ring_seq = seq
        self._resume()

    def _resume(self) -> None:
        self._persisting = False
        while self._pending and not self._persisting and self.alive:
            self._perform(self._pending.popleft())
        if not self._persisting:
            self.call(lambda: self.node.effects_performed(self.host.clock(self.world.now)))

    def _file_written(self, name: str) -> None:
        # The latest content: a write that follows an unfinished one replaces it.
        if self.alive and name in self._files_in_flight:
            self.host.files[name] = self._files_in_flight.pop(name)

    def _configuration_read(self) -> None:
        if self.host.busy_until > self.world.now:
            self.world.at(self.host.free_at(self.world.now), self._configuration_read)
            return
        configuration = self.world.configuration(self.nodeid)
        self.call(lambda: self.node.configuration_read(configuration, self.host.clock(self.world.now)))

    # The end

    def _die_if_due(self) -> None:
        if self.dies_in is None or not self.alive:
            return
        phase, effects = self.dies_in
        state = self.node.ring.state
        within = state is State.OPERATIONAL and self.node.synchronizing if phase == "sync" else state is _PHASES[phase]
        if within and effects <= 0:
            self.host.in_flight_survives = self.host.random.random() < 0.5
            self.end(End.CRASH, f"in phase {phase}")
        elif within:
            self.dies_in = phase, effects - 1

    def end(self, how: End, reason: str) -> None:
        """Nothing of this life follows."""
        if self.alive:
            self.note(Ended(self.world.now, self.nodeid, self.number, how, reason))
            self.alive = False
            if self.world.seals is not None:
                self.world.seals.life_is_over(self)
            if self.host.in_flight_survives:
                if self._ring_seq_in_flight is not None:
                    self.host.ring_seq = self._ring_seq_in_flight
                self.host.files.update(self._files_in_flight)
            if self.replicated is not None:
                self.replicated.crashed(survives=self.host.in_flight_survives)

    def note(self, event: Event) -> None:
        """An event for the history."""
        if self.alive:
            self.world.note(event)
