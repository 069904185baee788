"""One node, whole, without IO: datagrams, clients' bytes, configuration and time in; ordered effects out.

    datagrams -> gate -> ring -> groups -+-> sync -> services (cmap, cfg, cpg, quorum, votequorum)
                                         +-> services -> sessions of local clients

The shell and every simulator drive it alike: hand in what is there, write what sessions have for their clients, sleep
until something is readable or `next_deadline()`. Effects are given to `emit` one by one, in the order in which they
must be performed; that may be done at once, so that the token is on its way before its messages are delivered here, or
after the input has been handled, as long as the order is kept. `emit` returns True for a ring number that is not
durable yet; once it is, and all effects behind it are performed, the node is told by `effects_performed`.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING

from totemd import __version__
from totemd.config.model import Configuration, TotemParameters
from totemd.errors import BadPacket
from totemd.groups.api import QueueLevel
from totemd.groups.layer import Groups
from totemd.ids import NodeId, RingId
from totemd.ipc.access import AccessPolicy
from totemd.ipc.ports import Credentials, Synchronized
from totemd.ipc.services import Services
from totemd.ipc.session import Session
from totemd.node import status
from totemd.node.arrival import Datagram, arrange
from totemd.node.effects import NodeEffect
from totemd.node.ending import Ending
from totemd.node.gate import Gate
from totemd.node.host import ServiceHost
from totemd.node.keys import Traffic, publish_knet_defaults, publish_services
from totemd.node.patience import SyncPatience
from totemd.node.reload import ReloadDone, Reloads
from totemd.node.settings import LiveSettings
from totemd.node.statistics import add_sources
from totemd.node.timers import Timers
from totemd.node.upcalls import Upcalls
from totemd.qb.sessions import QbSessions
from totemd.services.base import Listener, Service, ServiceId
from totemd.services.cfg import Cfg
from totemd.services.cmap import Cmap
from totemd.services.cpg import Cpg
from totemd.services.quorum import Quorum
from totemd.services.votequorum.service import VoteQuorum
from totemd.sync.engine import SyncEngine
from totemd.totem.api import ConfigurationChanged, ConfigurationKind
from totemd.totem.core import Random
from totemd.totem.effects import Log
from totemd.totem.ring import Ring
from totemd.wire.cpg import CpgFunction
from totemd.wire.groups import SYNC_GROUP
from totemd.wire.packets import Join
from totemd.wire.service import decode_service_header

if TYPE_CHECKING:
    from totemd.node.replication import OpenBox
    from totemd.node.sealing import Sealing, SealMaker
    from totemd.services.changes.service import Changes

_NOTHING_STORED: Mapping[str, bytes] = {}


class Node:
    """All of one node's state. `now` is always the caller's clock: seconds, never going back."""

    def __init__(
        self,
        configuration: Configuration,
        *,
        stored_ring_seq: int,
        tracked_expected_votes: int | None,
        incarnation: str,
        own_uid: int,
        random: Random,
        emit: Callable[[NodeEffect], bool | None],
        now: float,
        seal: "SealMaker | None" = None,
        stored_changes: Mapping[str, bytes] = _NOTHING_STORED,
        open_box: "OpenBox | None" = None,
    ) -> None:
        """`stored_ring_seq` and `tracked_expected_votes` are what the last life persisted; `incarnation` is a word that
        no other life has; `own_uid` is the daemon's user, who may use its socket. `emit` must not call the node. With
        a `seal`, who drives the node hands each datagram that it reads to `sealing.open`, and sends what
        `sealing.seal_datagram` makes of the data of each Broadcast and Unicast. In a managed cluster `stored_changes`
        has the files of the replicated configuration's state, "committed" at least, whose text `configuration` is
        (BadPacket: they are damaged); `open_box` gives the key ring in this node's box of a change."""
        self.configuration = configuration
        self.nodeid: NodeId = configuration.local.nodeid
        self.now = now
        self.started_at = now
        self.incarnation = incarnation
        self.emit = emit
        self.timers = Timers()
        self.gate = Gate(self.nodeid, configuration)
        self.synchronizing = True
        self.served = False
        """From the first synchronization to the end: before and behind there is nothing to tell clients."""
        self.refused = False
        """Whether a service has found the send queue full since its last chance to try again."""
        self.membership: ConfigurationChanged | None = None
        self.together: tuple[NodeId, ...] = ()
        """Who delivers the same as this node: the members of the last configuration, transitional or regular."""
        self.membership_at = now
        self._membership_listeners: list[Listener] = []
        self.sessions: dict[Session, None] = {}
        self._ending = Ending(self)
        self._asked_for = inf
        self._stale_joins = False
        self._patience = SyncPatience(self)
        self._reloads = Reloads(self)

        self.sealing: Sealing | None = None
        if seal is not None:
            # Imported here: an open ring has no use for it.
            from totemd.node import sealing

            self.sealing = sealing.Sealing(self, seal)
        upcalls = Upcalls()
        parameters = self.ring_parameters(configuration.totem)
        self.ring = Ring(self.nodeid, parameters, stored_ring_seq, upcalls, random, emit)
        self.groups = Groups(self.ring, self, self.ring.payload_size)
        upcalls.connect(self.groups)
        self.cmap = Cmap(ServiceHost(self, "CMAP"), self.address_of)
        self.cfg = Cfg(ServiceHost(self, "CFG"), self.cmap, self)
        self.cpg = Cpg(ServiceHost(self, "CPG"))
        self.quorum = Quorum(ServiceHost(self, "QUORUM"), has_provider=configuration.quorum.provider is not None)
        self.votequorum: VoteQuorum | None = None
        self.services: dict[int, Service] = {0: self.cmap, 1: self.cfg, 2: self.cpg, 3: self.quorum}
        if configuration.quorum.provider is not None:
            self.votequorum = VoteQuorum(
                ServiceHost(self, "VOTEQ"),
                configuration.quorum,
                tracked_expected=tracked_expected_votes,
                quorum_changed=self.quorum.provider_changed,
                keys_changed=self._publish_runtime_keys,
                listed=configuration.votes if configuration.cluster_id is not None and stored_changes else None,
            )
            self.services[5] = self.votequorum
        self.changes: Changes | None = None
        """The replicated configuration of a managed cluster."""
        if configuration.cluster_id is not None and stored_changes:
            from totemd.node.replication import Replication

            self.changes = Replication(self, stored_changes, open_box).changes
            self.services[ServiceId.CHANGES] = self.changes
        self.traffic = Traffic(self.services)
        self._voters = () if self.votequorum is None else (self.votequorum,)
        with_state = [service for ident, service in sorted(self.services.items()) if ident != 1]
        self.sync = SyncEngine(
            with_state,
            self.nodeid,
            lambda body: self.groups.multicast(SYNC_GROUP, body),
            self.ring.request_token,
            self._synchronized,
            lambda level, text: self.log(level, "SYNC", text),
        )
        self.access = AccessPolicy(own_uid, configuration.access, self._reloads.is_granted)
        self.front = Services(
            node=self,
            access=self.access,
            cpg=self.cpg,
            cmap=self.cmap,
            cfg=self.cfg,
            quorum=self.quorum,
            votequorum=self.votequorum,
        )
        self.qb = QbSessions(self.front, self)
        publish_services(self.cmap, self.services, self.traffic)
        publish_knet_defaults(self.cmap, round(configuration.totem.token_timeout_s * 1000))
        self.settings = LiveSettings(self)
        self._reloads.publish(configuration)
        self._publish_runtime_keys()
        self.machine_statistics: Callable[[], Mapping[str, object]] = dict
        """What the shell counts and nobody else sees, for `stats`."""
        self.clock_ahead_s = 0.0
        """What the time of day has more than the clock of the inputs, where somebody knows: for statistics alone."""
        self._pauses = add_sources(self)

    # Inputs

    def start(self, now: float) -> None:
        """Begin: look for other nodes."""
        self.now = now
        local = self.configuration.local
        self.log("notice", "MAIN", f"totemd {__version__} is node {self.nodeid} ({local.name or local.address})")
        for warning in self.configuration.warnings:
            self.log("warning", "CONFIG", str(warning))
        if self.votequorum is not None:
            self.votequorum.start()
        if self.sealing is not None:
            self.sealing.start(now)
        self.ring.start(now)

    def receive_datagrams(self, datagrams: list[Datagram], now: float, *, exhausted: bool = True) -> None:
        """Datagrams (opened ones) that were waiting together; `exhausted`: no more are waiting."""
        if now - self._asked_for > self.configuration.totem.token_timeout_s / 2 and not self._stale_joins:
            self._stale_joins = True
            late = now - self._asked_for
            self.log(
                "warning", "MAIN", f"this process was not scheduled for {late:.1f} s; joins from before are ignored"
            )
            self._pauses.add(int((now + self.clock_ahead_s) * 1000), late * 1000)
        self.now = now
        if len(datagrams) == 1 and self.pass_plain_token(*datagrams[0], now):
            return
        datagrams, at, node_at = arrange(datagrams), 0, self.gate.node_at
        while at < len(datagrams):
            taken = self.ring.receive_plain_messages(datagrams, at, node_at, now)
            if taken:
                at += taken
                continue
            data, source = datagrams[at]
            at += 1
            try:
                packet = self.gate.admit(data, source)
            except BadPacket as error:
                self.gate.dropped[error.reason] += 1
                self.log("warning", "TOTEM", f"datagram from {source} dropped: {error.reason}")
                self.log("debug", "TOTEM", f"datagram from {source} dropped: {error}")
                continue
            if packet is None:
                continue
            if isinstance(packet, Join):
                if self._stale_joins:
                    self.gate.dropped["join from before a pause"] += 1
                    continue
                if packet.is_leave and self.sealing is not None:
                    self.sealing.left(packet.system_from)
            self.ring.receive(packet, now)
        if exhausted:
            self._stale_joins = False

    def pass_plain_token(self, data: bytes, source: str, now: float) -> bool:
        """Take a single datagram if it is a token that needs no more than to be passed on: nothing else happens then,
        and no deadline comes nearer unless the ring's core says `wanted`. False, and nothing has changed, if it is
        anything else."""
        sender = self.gate.node_at(source)
        if sender is None or not self.ring.receive_plain_token(data, sender, now):
            return False
        self.now = now
        return True

    def use_token(self, now: float) -> None:
        """To be called when a batch of inputs has been handled: what waits for the token is sent, if the token rests
        here, or the token is asked for."""
        if self.ring.core.wanted:
            self.now = now
            self.ring.use_token(now)

    @property
    def sends_more(self) -> bool:
        """Whether a multicast that is being emitted may not be the last of this visit of the token."""
        return self.ring.has_queued

    def next_deadline(self) -> float:
        """When `handle_timer` wants to be called; -inf for at once, inf for never."""
        deadline = self.ring.next_deadline()
        if self.timers.next_deadline < deadline:
            deadline = self.timers.next_deadline
        if self.sealing is not None:
            deadline = min(deadline, self.sealing.next_deadline())
        self._asked_for = deadline if deadline > self.now else self.now
        return deadline

    def has_all_up_to(self, seq: int) -> bool:
        """Whether no message up to `seq` can still be on its way here: then a token needs not wait for the others."""
        return seq <= self.ring.core.aru

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        self.now = now
        self.ring.handle_timer(now)
        self.timers.run(now)
        if self.sealing is not None:
            self.sealing.handle_timer(now)

    def set_time(self, now: float) -> None:
        """What follows is handled now: clients of the front `qb` speak to its sessions directly."""
        self.now = now

    def open_session(self, credentials: Credentials, now: float) -> Session:
        """A client connected to the native socket."""
        self.now = now
        session = Session(credentials, self.front)
        self.sessions[session] = None
        if self._ending.ended:
            # It would be told of a ring that this node has left.
            session.close("the daemon stops")
        return session

    def session_receive(self, session: Session, data: bytes, now: float) -> None:
        """A client sent `data`; empty: handle more of what it sent before."""
        self.now = now
        if data:
            session.receive(data)
        else:
            session.resume()

    def session_closed(self, session: Session, now: float) -> None:
        """A client's connection is gone."""
        self.now = now
        self.sessions.pop(session, None)
        session.closed()

    def configuration_read(self, configuration: Configuration | str, now: float) -> None:
        """The configuration file as it is now, or why it cannot be used: nothing changes then."""
        self.now = now
        self._reloads.read(configuration)

    def request_reload(self, done: ReloadDone) -> None:
        """Have the configuration file read; `done` gets None, or why nothing changed."""
        self._reloads.request(done)

    def configuration_checked(self, ident: bytes, configuration: Configuration | str | None, now: float) -> None:
        """What a CheckConfiguration's text means here, why it cannot be used, or None: this node is not listed."""
        self.now = now
        if self.changes is not None:
            self.changes.configuration_checked(ident, configuration)

    def change_stored(self, ident: bytes, error: str | None, now: float) -> None:
        """A StoreChange is durable, or why it is not."""
        self.now = now
        if self.changes is not None:
            self.changes.change_stored(ident, error)

    def put_in_force(self, configuration: Configuration) -> str | None:
        """Have `configuration` in force from here on; or why nothing changed."""
        return self._reloads.apply(configuration)

    def interface_changed(self, *, up: bool, now: float) -> None:
        """Our address has come or gone. The ring stays what it is; a lone node finds the others again faster."""
        self.now = now
        address = self.configuration.local.address
        if up:
            self.log("notice", "TOTEM", f"the address {address} is up again")
            self.ring.gather_again(f"the address {address} is up again", now)
        else:
            self.log(
                "err", "TOTEM", f"the address {address} is gone: its interface is down or lost it; alone until then"
            )

    def effects_performed(self, now: float) -> None:
        """The disk has answered, and no effect waits for it any more."""
        self.now = now
        self.ring.effects_performed(now)

    def persist_failed(self, reason: str, now: float) -> None:
        """The ring number could not be made durable: leave rather than risk to use it twice."""
        self.now = now
        self._ending.end(f"the ring number cannot be stored: {reason}", 1, leave=True)

    def leave(self, now: float, reason: str = "asked to stop") -> None:
        """Begin a clean shutdown; an Exit effect follows."""
        self.now = now
        self.shut_down(reason)

    # What services and sessions ask of the node

    def log(self, level: str, subsystem: str, text: str) -> None:
        """Queue a log line."""
        self.emit(Log(level, subsystem, text))

    def address_of(self, nodeid: NodeId) -> str | None:
        """A listed node's numeric address."""
        node = self.configuration.node(nodeid)
        return None if node is None else node.address

    def in_ring(self, nodeid: NodeId) -> bool:
        """Whether a node is in the last regular configuration."""
        return self.membership is not None and nodeid in self.membership.members

    @property
    def nodelist(self) -> tuple[NodeId, ...]:
        """The listed nodes in the file's order."""
        return tuple(node.nodeid for node in self.configuration.nodes)

    @property
    def netmtu_bytes(self) -> int:
        """What a packet of the ring may have: less than the file's netmtu if it is sealed."""
        return self.ring.core.parameters.netmtu_bytes

    def ring_parameters(self, totem: TotemParameters) -> TotemParameters:
        """What the file says, as the ring is to have it: the seal needs some room in each datagram."""
        if self.sealing is None:
            return totem
        return replace(totem, netmtu_bytes=totem.netmtu_bytes - self.sealing.overhead_bytes)

    @property
    def sync_in_progress(self) -> bool:
        """True from a configuration change until the services of all members agree."""
        return self.synchronizing

    @property
    def cluster_name(self) -> str:
        return self.configuration.cluster_name

    @property
    def version(self) -> str:
        return __version__

    @property
    def queue_critical(self) -> bool:
        """Whether the send queue is nearly full."""
        return self.groups.queue_level is QueueLevel.CRITICAL

    @property
    def queue_ready(self) -> bool:
        """False while clients' multicasts are refused."""
        return not self.synchronizing and self.groups.queue_level is not QueueLevel.CRITICAL

    def status(self) -> dict[str, object]:
        return status.status(self)

    def nodes(self) -> list[dict[str, object]]:
        return status.nodes(self)

    def stats(self) -> dict[str, object]:
        return status.stats(self)

    def current_membership(self) -> ConfigurationChanged | None:
        return self.membership

    def subscribe_membership(self, listener: Listener) -> None:
        self._membership_listeners.append(listener)

    def unsubscribe_membership(self, listener: Listener) -> None:
        self._membership_listeners = [known for known in self._membership_listeners if known is not listener]

    @property
    def ended(self) -> bool:
        """Whether this node has taken leave of its ring and its clients."""
        return self._ending.ended

    @property
    def client_count(self) -> int:
        """Open sessions."""
        return len(self.sessions)

    def shut_down(self, reason: str, *, status: int = 0, at_once: bool = False) -> None:
        """End: cleanly, with a leave, or `at_once` without a word to the ring."""
        self._ending.shut_down(reason, status=status, at_once=at_once)

    # What the groups layer calls

    def message_delivered(self, group: bytes, sender: NodeId, body: bytes) -> None:
        if group == SYNC_GROUP:
            self.sync.message_received(sender, body)
            return
        header = decode_service_header(body)
        self.traffic.received(header.service, header.function)
        service = self.services.get(header.service)
        if service is not None:
            service.receive(header.function, sender, body)

    def messages_delivered(self, sender: NodeId, bodies: list[bytes]) -> bool:
        if not self.cpg.receive_mcasts(sender, bodies):
            return False
        self.traffic.received(ServiceId.CPG, CpgFunction.MCAST, len(bodies))
        return True

    def configuration_changed(self, change: ConfigurationChanged) -> None:
        self.synchronizing = True
        self.together = change.members
        if change.kind is ConfigurationKind.REGULAR:
            self.membership = change
            self.gate.ring_formed()
            self.membership_at = self.now
        for service in self.services.values():
            service.configuration_changed(change)
        for listener in self._membership_listeners:
            listener.push(change)
        self.sync.configuration_changed(change)
        self._patience.watch()

    def token_sent(self) -> None:
        self.sync.token_sent()
        if (self.refused or self.front.waiting) and not self.synchronizing:
            self._retry()

    def waits_for_token(self) -> bool:
        return self.synchronizing or self.refused or bool(self.front.waiting) or self.sync.in_progress

    def _retry(self) -> None:
        """Room in the queue, perhaps: what services could not send, and clients that were told to try again."""
        self.refused = False
        for service in (self.cpg, self.cfg, self.cmap, *self._voters):
            service.retry_pending()
        if self.changes is not None:
            self.changes.retry_pending()
        if self.front.waiting and self.queue_ready:
            self.front.queue_became_ready()

    def _synchronized(self, ring: RingId) -> None:
        self.groups.synchronization_completed()
        self.synchronizing = False
        self.served = True
        self._patience.end()
        for listener in self._membership_listeners:
            listener.push(Synchronized(ring))
        self._retry()

    def _publish_runtime_keys(self) -> None:
        if self.votequorum is None:
            return
        for key, entry in self.votequorum.runtime_keys().items():
            self.cmap.publish(key, entry)
