"""Nodes that are nothing but their seals, on a network that does what a test says."""

from collections.abc import Callable
from random import Random

from totemd.ids import NodeId
from totemd.seal import ADMITTED, Credentials, Key, KeyRing, Seal, Verdict

CLUSTER_ID = bytes(range(16))
KEY = Key.of(b"the key of the cluster, 32 bytes")


def accept_all(shown: Credentials) -> Verdict:
    """A judge."""
    return ADMITTED


class SealedNode:
    """One boot of a node. `version` is that of the configuration it shows."""

    def __init__(
        self,
        nodeid: NodeId,
        random: Random,
        *,
        keys: KeyRing | None = None,
        suite: str = "aes256",
        cluster_id: bytes = CLUSTER_ID,
        judge: Callable[[Credentials], Verdict] = accept_all,
    ) -> None:
        self.nodeid = nodeid
        self.version = 1
        self.judge = judge
        self.session = random.randbytes(16)
        self.cluster_id = cluster_id
        self.logged: list[tuple[str, str]] = []
        self.heard: list[tuple[NodeId, bytes]] = []
        """Packets of the ring, by sealed sender."""
        self.bodies: list[tuple[NodeId, bytes]] = []
        self.seal = Seal(
            keys=keys or KeyRing(KEY),
            suite=suite,
            cluster_id=cluster_id,
            nodeid=nodeid,
            session=self.session,
            credentials=self.credentials,
            judge=lambda shown: self.judge(shown),
            random_bytes=random.randbytes,
            log=lambda level, text: self.logged.append((level, text)),
        )
        self.seal.on_control = lambda nodeid, body, _: self.bodies.append((nodeid, body))

    def credentials(self) -> Credentials:
        """What it shows."""
        uuid = self.nodeid.to_bytes(16, "big")
        return Credentials(self.cluster_id, uuid, self.nodeid, f"n{self.nodeid}", self.version, bytes(16), 0)

    def receive(self, data: bytes, now: float) -> bool:
        """Whether it was a packet of the ring that counts."""
        opened = self.seal.open(data, now)
        if opened is not None:
            self.heard.append(opened)
        return opened is not None

    def take(self) -> list[tuple[NodeId | None, bytes]]:
        """What it has to send."""
        sent, self.seal.outbox = self.seal.outbox, []
        return sent

    @property
    def dropped(self) -> int:
        """Datagrams that it has counted as dropped."""
        return sum(count for reason, count in self.seal.counters.items() if not reason.startswith("refused"))


class Air:
    """All nodes hear all others at once, without loss; what was sent is remembered."""

    def __init__(self, seed: int = 0) -> None:
        self.random = Random(seed)
        self.now = 0.0
        self.nodes: list[SealedNode] = []
        self.sent: list[bytes] = []

    def add(self, node: SealedNode, *, start: bool = True) -> SealedNode:
        """Switch a node on."""
        self.nodes.append(node)
        if start:
            node.seal.start(self.now)
            self.settle()
        return node

    def node(
        self,
        nodeid: NodeId,
        *,
        keys: KeyRing | None = None,
        judge: Callable[[Credentials], Verdict] = accept_all,
        start: bool = True,
    ) -> SealedNode:
        """A new boot of a node, switched on."""
        return self.add(SealedNode(nodeid, self.random, keys=keys, judge=judge), start=start)

    def settle(self) -> None:
        """Deliver until nobody has anything to say."""
        for _ in range(100):
            if not any(node.seal.outbox for node in self.nodes):
                return
            for sender in self.nodes:
                for target, data in sender.take():
                    self.sent.append(data)
                    self.deliver(sender, target, data)
        raise AssertionError("they talk for ever")

    def deliver(self, sender: SealedNode, target: NodeId | None, data: bytes) -> None:
        """To all (None), or to whoever has that node id."""
        for node in self.nodes:
            if node is not sender and target in (None, node.nodeid):
                node.receive(data, self.now)

    def say(self, sender: SealedNode, data: bytes) -> bytes:
        """A packet of the ring to all; gives the datagram."""
        datagram = sender.seal.seal(data)
        self.sent.append(datagram)
        self.deliver(sender, None, datagram)
        self.settle()
        return datagram

    def wait(self, seconds: float) -> None:
        """Time passes; deadlines are kept."""
        until = self.now + seconds
        while True:
            at = min((node.seal.next_deadline() for node in self.nodes), default=until)
            if at > until:
                break
            self.now = max(self.now, at)
            for node in self.nodes:
                if node.seal.next_deadline() <= self.now:
                    node.seal.handle_timer(self.now)
            self.settle()
        self.now = until


def pair(seed: int = 0, *, suite: str = "aes256") -> tuple[Air, SealedNode, SealedNode]:
    """Two nodes that have admitted each other."""
    air = Air(seed)
    first = air.add(SealedNode(1, air.random, suite=suite))
    second = air.add(SealedNode(2, air.random, suite=suite))
    assert first.seal.admitted(2)
    assert second.seal.admitted(1)
    return air, first, second
