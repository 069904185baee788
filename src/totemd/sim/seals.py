"""Sealed rings in the virtual world: keys and sessions by the seed, somebody on the wire, and what must stay true.

Whatever is on the wire, a node lets in only what a node has sealed, as it was, once, and nothing of a life of that node
that it knows to be over.
"""

from collections.abc import Callable
from hashlib import blake2b
from random import Random
from typing import TYPE_CHECKING, Final

from totemd.config.model import SealSettings
from totemd.ids import NodeId
from totemd.node.arrival import Datagram
from totemd.seal.keys import Key, KeyRing
from totemd.seal.messages import Credentials
from totemd.seal.seal import Seal
from totemd.seal.verdict import ADMITTED, Verdict
from totemd.sim.attacks import Attacker

if TYPE_CHECKING:
    from totemd.sim.life import Life
    from totemd.sim.world import World

ATTACK_INTERVAL_S: Final = 0.001


class Seals:
    """The seals of one run."""

    def __init__(self, world: "World") -> None:
        self._world = world
        seed = world.schedule.seed
        self._keys = KeyRing(Key.of(Random(f"{seed} cluster key").randbytes(32)))
        self._sealed: dict[bytes, tuple[NodeId, int, bytes]] = {}
        """By the tag: who sealed what, in which life."""
        self._opened: dict[int, set[bytes]] = {}
        """Tags that each life has let in."""
        self._met: dict[tuple[int, NodeId], int] = {}
        """Which life of a node a life has let in last."""
        stranger = self._make(1, bytes(16), "stranger", _nobody, lambda shown: ADMITTED, lambda level, text: None)
        self._attacker = Attacker(seed, stranger.seal(b"\x00" * 90))

    def maker(self, life: "Life") -> "Maker":
        """What makes the seal of that life."""
        return Maker(self, life)

    def make(
        self,
        life: "Life",
        cluster_id: bytes,
        credentials: Callable[[], Credentials],
        judge: Callable[[Credentials], Verdict],
        log: Callable[[str, str], None],
    ) -> Seal:
        """The seal of that life."""
        return self._make(life.nodeid, cluster_id, f"life {life.number}", credentials, judge, log)

    def _make(
        self,
        nodeid: NodeId,
        cluster_id: bytes,
        name: str,
        credentials: Callable[[], Credentials],
        judge: Callable[[Credentials], Verdict],
        log: Callable[[str, str], None],
    ) -> Seal:
        random = Random(f"{self._world.schedule.seed} seal of {name}")
        settings = self._world.configuration(1).seal
        assert isinstance(settings, SealSettings)
        return Seal(
            keys=self._keys,
            suite=settings.suite,
            cluster_id=cluster_id,
            nodeid=nodeid,
            session=random.randbytes(16),
            credentials=credentials,
            judge=judge,
            random_bytes=random.randbytes,
            log=log,
        )

    # What is on the wire

    def overhear(self, life: "Life", target: NodeId, data: bytes) -> None:
        """A life sends something."""
        self._attacker.hear(life.nodeid, target, life.number, data)

    def life_is_over(self, life: "Life") -> None:
        """What it has sent is a recording from here on."""
        self._attacker.life_is_over(life.number)

    def attack(self, target: NodeId, kind: str, count: int) -> None:
        """Send `target` so many datagrams of that kind."""
        world = self._world
        for number in range(count):
            forged = self._attacker.forge(kind, target, len(world.hosts))
            if forged is not None:
                world.at(world.now + number * ATTACK_INTERVAL_S, self._strike, target, *forged, number % 2 == 0)

    def _strike(self, target: NodeId, data: bytes, source: NodeId, unicast: bool) -> None:
        self._world.attack(target, data, source, unicast=unicast)

    # What must stay true

    def sealed(self, life: "Life", data: bytes, plain: bytes) -> None:
        """A life has sealed a packet of the ring."""
        self._sealed[_tag(data)] = life.nodeid, life.number, _digest(plain)

    def opened(self, life: "Life", data: bytes, opened: Datagram) -> None:
        """A life has let a datagram in."""
        plain, source = opened
        known = self._sealed.get(_tag(data))
        if known is None or known[2] != _digest(plain):
            self._violated(life, "what nobody has sealed")
            return
        nodeid, sender, _ = known
        if self._world.node_at(source) != nodeid:
            self._violated(life, f"a packet of node {nodeid} as one of {source}")
        seen = self._opened.setdefault(life.number, set())
        if _tag(data) in seen:
            self._violated(life, f"a packet of life {sender} of node {nodeid} twice")
        seen.add(_tag(data))
        latest = self._met.get((life.number, nodeid), 0)
        if sender < latest:
            self._violated(life, f"a packet of life {sender} of node {nodeid}, after one of life {latest}")
        self._met[life.number, nodeid] = sender

    def _violated(self, life: "Life", text: str) -> None:
        self._world.violated(
            "only what is sealed", "SEAL-10", f"life {life.number} of node {life.nodeid} lets in {text}"
        )


class Maker:
    """Makes the seal of one life, as the daemon's shell does of its own."""

    def __init__(self, seals: Seals, life: "Life") -> None:
        self._seals = seals
        self._life = life

    def __call__(
        self,
        *,
        cluster_id: bytes,
        nodeid: NodeId,
        credentials: Callable[[], Credentials],
        judge: Callable[[Credentials], Verdict],
        log: Callable[[str, str], None],
    ) -> Seal:
        return self._seals.make(self._life, cluster_id, credentials, judge, log)


def _nobody() -> Credentials:
    raise AssertionError("nobody asks the other cluster")


def _tag(data: bytes) -> bytes:
    return data[-16:]


def _digest(plain: bytes) -> bytes:
    return blake2b(plain, digest_size=8).digest()
