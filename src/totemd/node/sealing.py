"""The seal of one node, in its place: between the sockets and everything else.

    socket -> open -> receive_datagrams ...      ... Broadcast, Unicast -> seal -> socket

Datagrams are opened as they are read and sealed as they are sent, for their counters must leave in order; effects that
wait for the disk wait unsealed. What belongs to the seal itself (handshakes, refusals) is dealt with here and never
waits. What is dropped is counted, and told of now and then in one line.
"""

from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from typing import TYPE_CHECKING, Final, Protocol

from totemd.config.model import Configuration
from totemd.ids import NodeId
from totemd.node.admission import Admission
from totemd.node.arrival import Datagram
from totemd.node.effects import SendNow
from totemd.seal.datagram import MAGIC, OVERHEAD_BYTES
from totemd.seal.messages import Credentials
from totemd.seal.seal import Seal
from totemd.seal.verdict import Verdict

if TYPE_CHECKING:
    from totemd.node.node import Node

FIRST_LOOK_S: Final = 5.0
LOOK_S: Final = 60.0
"""How long after the first dropped datagram they are told of, and how often at most after that."""

REFUSALS_MAX: Final = 64
STRANGERS_MAX: Final = 64
"""Addresses that are remembered of nodes that are not in the nodelist, to answer them."""

UNLISTED: Final = "sealed by a node that is not in the nodelist"

UNKNOWN_KEY: Final = "unknown key"
NOT_SEALED: Final = "not sealed"
NOT_DROPPED: Final = frozenset(("own packet", "unknown session"))
"""Counters that are part of a healthy ring's life; refusals have lines of their own."""

_TIMER: Final = "seal"


class SealMaker(Protocol):
    """Makes the seal of a node: with keys, a suite and a session of the shell's choice."""

    def __call__(
        self,
        *,
        cluster_id: bytes,
        nodeid: NodeId,
        credentials: Callable[[], Credentials],
        judge: Callable[[Credentials], Verdict],
        log: Callable[[str, str], None],
    ) -> Seal: ...


def cluster_id_of(configuration: Configuration) -> bytes:
    """What keeps apart rings that have the same key: the cluster's id, or one made of its name."""
    if configuration.cluster_id is not None:
        return configuration.cluster_id
    return sha256(b"totemd cluster " + configuration.cluster_name.encode()).digest()[:16]


class Sealing:
    """Opens, seals, and speaks for the seal."""

    overhead_bytes = OVERHEAD_BYTES
    """By which a sealed datagram is longer."""

    def __init__(self, node: "Node", make: SealMaker) -> None:
        self._node = node
        configuration = node.configuration
        self.admission = Admission(configuration, cluster_id_of(configuration))
        self.seal = make(
            cluster_id=self.admission.cluster_id,
            nodeid=node.nodeid,
            credentials=self.admission.credentials,
            judge=self.admission.judge,
            log=lambda level, text: node.log(level, "SEAL", text),
        )
        self.seal_datagram = self.seal.seal
        """Bytes as they go on the wire."""
        self.next_deadline = self.seal.next_deadline
        self.dropped: Counter[str] = Counter()
        self.on_stranger: Callable[[bytes, str], object] = _ignore
        """Given what has no seal at all, with its source; true: it was meant so, and is not counted as dropped."""
        self.refusals: dict[NodeId, Verdict] = {}
        """What nodes have said that do not admit this one, the last of each; at most REFUSALS_MAX."""
        self.seal.on_refused = self._was_refused
        self._strangers: dict[NodeId, str] = {}
        self._told: Counter[str] = Counter()
        self._watching = False
        self._configure(configuration)

    def start(self, now: float) -> None:
        """Say that this node is there."""
        self.seal.start(now)
        self._send(None)

    def open(self, data: bytes, source: str, now: float) -> Datagram | None:
        """The datagram that was sealed, with the address of the node that sealed it; None if there is nothing for the
        ring: it is dropped and counted, or the seal's own.

        Who sealed it is proved, so where it comes from is not asked. A copy that arrives first, from elsewhere, is as
        good: were it dropped, then the original, too, as a repetition.
        """
        opened = self.seal.open(data, now)
        if opened is not None:
            nodeid, plain = opened
            address = self._addresses.get(nodeid)
            if address is not None:
                return plain, address
            self.dropped[UNLISTED] += 1
        self._not_for_ring(data, source, now)
        return None

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        if self.next_deadline() <= now:
            self.seal.handle_timer(now)
            self._send(None)

    def configure(self, configuration: Configuration) -> None:
        """Take the new nodelist, and judge by it who was admitted by the old one."""
        self._configure(configuration)
        # In a managed cluster those who are together took it together; who is elsewhere has to show what it has.
        self.seal.recheck(self._node.together)
        self._send(None)

    def left(self, nodeid: NodeId) -> None:
        """The node has taken its leave: when it starts again, no sign of life of the former session is waited for."""
        self.seal.forget(nodeid)

    def send_control(self, nodeid: NodeId, body: bytes) -> bool:
        """Say something to a node outside of the ring, if it listens: it is admitted, or may catch up."""
        said = self.seal.send_control(nodeid, body)
        self._send(None)
        return said

    def statistics(self) -> dict[str, int]:
        """What was opened, dropped and refused, by kind."""
        return {**self.seal.counters, **self.dropped}

    def _was_refused(self, nodeid: NodeId, verdict: Verdict) -> None:
        if nodeid in self.refusals or len(self.refusals) < REFUSALS_MAX:
            self.refusals[nodeid] = verdict

    def _configure(self, configuration: Configuration) -> None:
        self.admission.configuration = configuration
        self._addresses = {node.nodeid: node.address for node in configuration.nodes}

    def _not_for_ring(self, data: bytes, source: str, now: float) -> None:
        if self.seal.outbox:
            self._send(source)
        if data[: len(MAGIC)] != MAGIC and self.on_stranger(data, source):
            self.seal.counters[NOT_SEALED] -= 1
            return
        if not self._watching:
            self._watching = True
            self._node.timers.set(_TIMER, now + FIRST_LOOK_S, self._look)

    def _send(self, source: str | None) -> None:
        """Send what the seal has to say; `source` is where that came from which it answers."""
        outbox = self.seal.outbox
        emit = self._node.emit
        while outbox:
            nodeid, data = outbox.pop(0)
            if nodeid is None:
                emit(SendNow(None, data))
                continue
            address = self._addresses.get(nodeid)
            if address is not None:
                emit(SendNow(address, data))
            if source is not None and source != address:
                # It is not in the nodelist, or not where the nodelist has it: it is to learn why it is not heard.
                self._remember(nodeid, source)
                emit(SendNow(source, data))
            elif address is None and nodeid in self._strangers:
                emit(SendNow(self._strangers[nodeid], data))

    def _remember(self, nodeid: NodeId, source: str) -> None:
        self._strangers.pop(nodeid, None)
        self._strangers[nodeid] = source
        if len(self._strangers) > STRANGERS_MAX:
            del self._strangers[next(iter(self._strangers))]

    # What people are told

    def _look(self) -> None:
        """Tell of what was dropped since the last look, in one line, and look again if there was anything."""
        now = self._dropped()
        news = now - self._told
        self._told = now
        self._watching = bool(news)
        if not news:
            return
        self._node.timers.set(_TIMER, self._node.now + LOOK_S, self._look)
        self._node.log("warning", "SEAL", self._news(news))

    def _dropped(self) -> Counter[str]:
        return Counter(
            {
                word: count
                for word, count in self.statistics().items()
                if word not in NOT_DROPPED and not word.startswith("refused: ")
            }
        )

    def _news(self, news: Counter[str]) -> str:
        others = [node for node in self._addresses if node != self._node.nodeid]
        if not any(map(self.seal.admitted, others)):
            if count := news[UNKNOWN_KEY]:
                settings = self._node.configuration.seal
                file = "the key file" if settings is None else settings.keyfile
                return (
                    f"no ring here: {count} datagrams under a key that this node does not have, none under its own; "
                    f"copy {file} from a node of the ring, and restart"
                )
            if count := news[NOT_SEALED]:
                return (
                    f"no ring here: {count} datagrams that are not sealed, as this node's are; write the same secauth "
                    "or crypto_cipher in the corosync.conf of all nodes"
                )
        words = ", ".join(f"{count} {word}" for word, count in sorted(news.items()))
        return f"datagrams dropped: {words}"


def _ignore(data: bytes, source: str) -> None:
    """Nobody wants to know."""
