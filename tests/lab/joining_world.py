"""A cluster without daemons for joins: its configuration's text, its tickets, a joiner with its disk, and a connection
between the two that can be cut at every step."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from totemd.cluster.change import Change
from totemd.cluster.identity import Identity
from totemd.cluster.join_messages import Reservation, decode, encode
from totemd.cluster.joining import (
    Close,
    Fail,
    Finish,
    Joiner,
    JoinerAction,
    Probe,
    Propose,
    Send,
    Sponsor,
    SponsorAction,
    Store,
)
from totemd.cluster.nodelist_text import ListedNode, new_cluster
from totemd.cluster.probe import ProbeOrder, targets
from totemd.cluster.standing import joining_votes
from totemd.cluster.text import with_version
from totemd.cluster.ticket import Ticket, secret_digest
from totemd.cluster.tickets import IssuedTicket, Tickets
from totemd.config import Configuration, load
from totemd.errors import OperatorError

NOW = 1_000_000
CLUSTER_ID = bytes(range(16))
KEYS = b"a key ring"


def identity(number: int) -> Identity:
    """A node's, always the same."""
    seed = hashlib.sha256(b"node %d" % number).digest()
    return Identity(seed[:16], hashlib.sha256(seed).digest())


def listed(number: int, *, votes: int = 1, joining: int | None = None) -> ListedNode:
    """Node `number` as the nodelist has it."""
    owner = identity(number)
    return ListedNode(number, f"n{number}", f"192.0.2.{number}", owner.uuid, owner.public_key, votes, joining)


@lru_cache(maxsize=64)
def loaded(text: str, local: str = "192.0.2.1") -> Configuration:
    """What a text means."""
    return load(text, file="corosync.conf", resolve=lambda name, version: [], local_addresses=[local])


def new_text() -> str:
    """A cluster of node 1."""
    return new_cluster(name="sea", cluster_id=CLUSTER_ID, node=listed(1))


class Cut(Exception):
    """The connection was cut, or one of its ends has died."""


@dataclass
class World:
    """The member's durable state: text and tickets. `changes` are the kinds of all that was committed."""

    text: str = field(default_factory=new_text)
    tickets: Tickets = field(default_factory=Tickets)
    quorate: bool = True
    changes: list[str] = field(default_factory=list)
    refuses: str = ""

    @property
    def configuration(self) -> Configuration:
        return loaded(self.text)

    def record(self) -> bytes:
        version = self.configuration.config_version
        return Change(bytes(16), "join", version - 1, version, self.text).encode()

    def key_ring(self) -> bytes:
        return KEYS

    def probe_order(self) -> ProbeOrder:
        members = [(node.nodeid, node.name, node.address) for node in self.configuration.nodes]
        return ProbeOrder(bytes(16), bytes(32), 5405, "239.192.1.1", 1, 1452, targets(members))

    def issue(self, number: int = 1, *, ttl_s: int = 600, node_name: str | None = None, votes: int = 1) -> Ticket:
        """A ticket; `number` makes its secret."""
        secret = hashlib.sha256(b"ticket %d" % number).digest()
        ticket = Ticket((("192.0.2.1", 5406),), bytes(32), secret, "sea", NOW + ttl_s, votes)
        self.tickets.add(IssuedTicket(secret_digest(secret), ticket.expires, node_name, votes=votes), NOW)
        return ticket

    def restart(self) -> None:
        """What was in memory is lost."""
        self.tickets = Tickets.parse(self.tickets.to_bytes())

    def commit(self, kind: str, text: str) -> None:
        """A change is in force."""
        self.text = with_version(text, self.configuration.config_version + 1)
        self.changes.append(kind)
        self.check()

    def check(self) -> None:
        """Expected votes are those of the nodelist; a node that has not been a member has none of them."""
        for node in self.configuration.nodes:
            if joining_votes(self.configuration, node) is not None and self.changes[-1] == "join":
                assert node.quorum_votes == 0
        assert self.configuration.quorum.expected_votes == sum(node.quorum_votes for node in self.configuration.nodes)

    def carry(self, sponsor: Sponsor, kind: str) -> list[SponsorAction]:
        """Propose what a sponsor asks for."""
        if self.refuses:
            return sponsor.rejected((self.refuses,))
        try:
            text = sponsor.compose()
        except OperatorError as error:
            return sponsor.rejected((str(error),))
        self.commit(kind, text)
        return sponsor.committed()


@dataclass
class Disk:
    """The joiner's."""

    reservation: Reservation | None = None


class Conversation:
    """One connection. `step` is called before each thing that happens, and may raise Cut."""

    def __init__(self, world: World, joiner: Joiner, disk: Disk, problems: tuple[str, ...] = ()) -> None:
        self.world = world
        self.joiner = joiner
        self.disk = disk
        self.sponsor = Sponsor(world, world.tickets, lambda: NOW)
        self._problems = problems
        self.steps = 0
        self.cut_at = -1

    def run(self) -> Finish | Fail:
        """To its end; Cut if it was."""
        todo: list[tuple[str, JoinerAction | SponsorAction]] = [("joiner", a) for a in self.joiner.connected()]
        while todo:
            side, action = todo.pop(0)
            self._step()
            if isinstance(action, Finish | Fail):
                assert self.sponsor.disconnected() == [], "nothing is to be undone"
                return action
            for more_side, more in self._perform(side, action):
                todo.append((more_side, more))
        raise AssertionError("the conversation stopped without an end")

    def _perform(
        self, side: str, action: JoinerAction | SponsorAction
    ) -> Iterator[tuple[str, JoinerAction | SponsorAction]]:
        if isinstance(action, Send):
            message = decode(encode(action.message)[4:])
            if side == "joiner":
                yield from (("sponsor", more) for more in self.sponsor.receive(message))
            else:
                yield from (("joiner", more) for more in self.joiner.receive(message))
        elif isinstance(action, Propose):
            yield from (("sponsor", more) for more in self.world.carry(self.sponsor, action.kind))
        elif isinstance(action, Probe):
            yield from (("joiner", more) for more in self.joiner.probed(self._problems))
        elif isinstance(action, Store):
            self.disk.reservation = action.reservation
            yield from (("joiner", more) for more in self.joiner.stored())
        else:
            assert isinstance(action, Close)

    def _step(self) -> None:
        if self.steps == self.cut_at:
            raise Cut
        self.steps += 1
