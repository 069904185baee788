"""Joining, both sides, without IO (protocol/, chapter "Joining").

    joiner                              member (the one that gave the ticket)
    Hello (ticket's secret) ----------> ticket, quorum, duplicates
    probes  <-------------------------- ProbeOrder
    Report ---------------------------> change "join": listed with no votes
    key, configuration on disk <------- Reservation
    Stored ---------------------------> Welcome: start the daemon

Then the node comes into the ring, and `completing` has its votes counted. Whatever is lost or dies on the way, nothing
but a node without votes is listed, which `completing` takes out again; the joiner may begin again with its ticket, and
is told once more what it was told before.
"""

from collections.abc import Callable
from enum import Enum
from typing import Final, Protocol, TypeAlias

from totemd.cluster.duplicates import Candidate, free_nodeid, objections
from totemd.cluster.identity import Identity
from totemd.cluster.join_messages import (
    VERSION,
    Hello,
    Message,
    Refused,
    Report,
    Reservation,
    Stored,
    Welcome,
)
from totemd.cluster.nodelist_text import (
    ListedNode,
    add_node,
    check_node_name,
    drop_node,
)
from totemd.cluster.probe import ProbeOrder
from totemd.cluster.standing import joining_votes
from totemd.cluster.ticket import Ticket, secret_digest
from totemd.cluster.tickets import ABORTED_MAX, IssuedTicket, Tickets
from totemd.config.model import Configuration, NodeEntry
from totemd.errors import OperatorError
from totemd.ids import NodeId
from totemd.record import record

PATIENCE_S: Final = 300
"""For how long a joining node's place is kept while it is not seen in the ring."""


@record
class Send:
    """Send the message."""

    message: Message


@record
class Close:
    """Nothing more is to be said; end the connection when all is sent."""


@record
class Propose:
    """Propose the change that `Sponsor.compose` makes, and report with `committed` or `rejected`."""

    kind: str


@record
class Probe:
    """Probe as ordered, and report with `probed`."""

    order: ProbeOrder


@record
class Store:
    """Write key and configuration, durably, the configuration last; report with `stored`."""

    reservation: Reservation


@record
class Finish:
    """Start the daemon; the place is kept for `patience_s`."""

    nodeid: NodeId
    patience_s: int


@record
class Fail:
    """It came to nothing. With `again` it is worth another try in a moment."""

    code: str
    reasons: tuple[str, ...]
    again: bool = False


SponsorAction: TypeAlias = Send | Propose | Close
JoinerAction: TypeAlias = Send | Probe | Store | Finish | Fail


class ClusterView(Protocol):
    """What a sponsor must know of its node."""

    @property
    def configuration(self) -> Configuration:
        """The committed one."""

    @property
    def text(self) -> str:
        """Its text."""

    @property
    def quorate(self) -> bool: ...

    def record(self) -> bytes:
        """The committed change, encoded."""

    def key_ring(self) -> bytes:
        """What goes into the joiner's key file."""

    def probe_order(self) -> ProbeOrder:
        """A fresh order to probe the members that are present."""


class _SponsorState(Enum):
    HELLO = "waits for the hello"
    REPORT = "waits for the report"
    RESERVING = "waits for the change"
    STORED = "waits for the joiner's disk"
    DONE = "has nothing more to do"


class Sponsor:
    """The member's side of one connection. After each input perform the actions in order."""

    def __init__(self, cluster: ClusterView, tickets: Tickets, unix_now: Callable[[], int]) -> None:
        self._cluster = cluster
        self._tickets = tickets
        self._unix_now = unix_now
        self._state = _SponsorState.HELLO
        self._hello: Hello | None = None
        self._nodeid: NodeId = 0
        self._claimed = False
        """Whether the ticket is the joiner's for a change that is not decided yet."""

    @property
    def authenticated(self) -> bool:
        """Whether the other end has shown a valid ticket."""
        return self._hello is not None

    @property
    def ticket_digest(self) -> bytes | None:
        """Which valid ticket the other end has shown."""
        return None if self._hello is None else secret_digest(self._hello.secret)

    @property
    def nodeid(self) -> NodeId:
        """As which node the joiner is listed, 0 before it is."""
        return self._nodeid

    @property
    def who(self) -> str:
        """The joiner, for a log."""
        return "" if self._hello is None else f"{self._hello.name} ({self._hello.address})"

    def receive(self, message: Message) -> list[SponsorAction]:
        """A message came."""
        if self._state is _SponsorState.HELLO and isinstance(message, Hello):
            return self._greet(message)
        if self._state is _SponsorState.REPORT and isinstance(message, Report):
            if message.problems:
                return self._refuse("unreachable", *message.problems)
            return self._claim()
        if self._state is _SponsorState.STORED and isinstance(message, Stored):
            self._state = _SponsorState.DONE
            return [Send(Welcome()), Close()]
        return self._refuse("protocol", f"{type(message).__name__} is not what was to come")

    def compose(self) -> str:
        """The text of the change, from the configuration as it is now. OperatorError if it cannot be made any more."""
        if self._state is _SponsorState.DONE:
            return drop_node(self._cluster.text, self._nodeid)
        assert self._hello is not None
        hello, configuration = self._hello, self._cluster.configuration
        found = objections(configuration, _candidate(hello))
        if found:
            raise OperatorError("; ".join(found))
        self._nodeid = hello.nodeid or free_nodeid(configuration)
        node = ListedNode(self._nodeid, hello.name, hello.address, hello.uuid, hello.public_key, 0, hello.votes)
        return add_node(self._cluster.text, node)

    @property
    def what(self) -> str:
        """The change in words, for the history."""
        if self._state is _SponsorState.DONE:
            return f"node {self._nodeid}, {self.who}, did not complete its join"
        return f"node {self._nodeid}, {self.who}, joins"

    def committed(self) -> list[SponsorAction]:
        """The change is in force."""
        assert self._hello is not None
        self._claimed = False
        if self._state is _SponsorState.DONE:
            self._tickets.release(self._hello.uuid, aborted=True)
            self.forget()
            return []
        return self._reserve()

    def rejected(self, reasons: tuple[str, ...]) -> list[SponsorAction]:
        """The change was not made, and nothing has changed."""
        if self._claimed and self._hello is not None:
            self._tickets.release(self._hello.uuid)
            self._claimed = False
        if self._state is _SponsorState.DONE:
            self.forget()
            return []
        return self._refuse("rejected", *reasons)

    def disconnected(self) -> list[SponsorAction]:
        """The connection is gone. A joiner that had its place and did not say that it has it on disk loses it."""
        gave_up = self._state is _SponsorState.STORED and self._pending() is not None
        self._state = _SponsorState.DONE
        if gave_up:
            return [Propose("abort-join")]
        self.forget()
        return []

    def forget(self) -> None:
        """This is over, whatever has become of it: the node may come again."""
        if self._hello is not None:
            self._tickets.busy.discard(self._hello.uuid)

    def undecided(self, reason: str) -> list[SponsorAction]:
        """The change may yet be made: the joiner keeps its ticket and its identity, and comes again."""
        self._claimed = False
        if self._state is _SponsorState.DONE:
            self.forget()
            return []
        return self._refuse("busy", reason)

    def _claim(self) -> list[SponsorAction]:
        """The ticket is this joiner's before the change is proposed: of several that bring it, one gets in."""
        assert self._hello is not None
        found = self._ticket_for(self._hello)
        if isinstance(found, Refused):
            return self._refuse(found.code, *found.reasons)
        self._tickets.use(found.digest, self._hello.uuid)
        self._claimed = True
        self._state = _SponsorState.RESERVING
        return [Propose("join")]

    def _ticket_for(self, hello: Hello) -> IssuedTicket | Refused:
        """The ticket that the joiner has brought, if it lets this one in at this moment."""
        ticket = self._tickets.find(secret_digest(hello.secret))
        if ticket is None:
            return Refused("ticket", ("this ticket is not known here; ask for a new one (totemctl cluster invite)",))
        if ticket.expires <= self._unix_now():
            return Refused("expired", ("this ticket has expired; ask for a new one (totemctl cluster invite)",))
        if ticket.used_by is not None and ticket.used_by != hello.uuid:
            return Refused("used", ("this ticket has been used; ask for a new one (totemctl cluster invite)",))
        if ticket.aborted >= ABORTED_MAX and ticket.used_by is None:
            text = (
                f"{ticket.aborted} joins with this ticket were broken off; ask for a new one (totemctl cluster invite)"
            )
            return Refused("void", (text,))
        return ticket

    def _greet(self, hello: Hello) -> list[SponsorAction]:
        ticket = self._ticket_for(hello)
        if isinstance(ticket, Refused):
            return self._refuse(ticket.code, *ticket.reasons)
        if hello.version != VERSION:
            return self._refuse("version", f"this member speaks version {VERSION} of joining, not {hello.version}")
        if ticket.node_name is not None and ticket.node_name.lower() != hello.name.lower():
            return self._refuse("name", f'this ticket is for the node "{ticket.node_name}", not for "{hello.name}"')
        if hello.votes > ticket.votes:
            text = f"this ticket is for a node with {ticket.votes} vote{'' if ticket.votes == 1 else 's'} at most"
            return self._refuse("votes", f"{text}, not {hello.votes}; invite --votes {hello.votes} makes another")
        configuration = self._cluster.configuration
        if hello.cluster != configuration.cluster_name:
            return self._refuse("cluster", f'this is the cluster "{configuration.cluster_name}"')
        if hello.uuid in self._tickets.busy:
            return self._refuse("busy", "an earlier try of this node is still being dealt with")
        self._tickets.busy.add(hello.uuid)
        self._hello = hello
        if not self._cluster.quorate:
            return self._refuse("no_quorum", "the cluster has no quorum, so nothing can be changed; try again later")
        try:
            check_node_name(hello.name)
        except OperatorError as error:
            return self._refuse("name", str(error))
        if self._pending() is not None:
            # It was here before, and one of us lost the rest. Who is counted has all it needs: what it knows of itself
            # is in a file that everybody may read, and no proof.
            self._tickets.use(ticket.digest, hello.uuid)
            return self._reserve()
        found = objections(configuration, _candidate(hello))
        if found:
            return self._refuse("duplicate", *found)
        self._state = _SponsorState.REPORT
        return [Send(self._cluster.probe_order())]

    def _listed(self) -> NodeEntry | None:
        """The joiner's own entry, if it has one that is all its."""
        hello = self._hello
        assert hello is not None
        for node in self._cluster.configuration.nodes:
            if node.uuid == hello.uuid.hex() and node.public_key == hello.public_key and node.address == hello.address:
                return node
        return None

    def _pending(self) -> NodeEntry | None:
        """The same, if it is not counted yet."""
        node = None if self._hello is None else self._listed()
        return node if node is not None and joining_votes(self._cluster.configuration, node) is not None else None

    def _reserve(self) -> list[SponsorAction]:
        node = self._listed()
        if node is None:
            return self._refuse("busy", "the configuration has changed again meanwhile")
        self._nodeid = node.nodeid
        self._state = _SponsorState.STORED
        return [Send(Reservation(node.nodeid, self._cluster.record(), self._cluster.key_ring(), PATIENCE_S))]

    def _refuse(self, code: str, *reasons: str) -> list[SponsorAction]:
        self._state = _SponsorState.DONE
        return [Send(Refused(code, reasons)), Close()]


def _candidate(hello: Hello) -> Candidate:
    return Candidate(hello.name, hello.address, hello.uuid, hello.public_key, hello.nodeid)


class Joiner:
    """The new node's side of one connection. After each input perform the actions in order."""

    def __init__(
        self, ticket: Ticket, identity: Identity, *, name: str, address: str, votes: int, nodeid: NodeId | None
    ) -> None:
        self._hello = Hello(
            VERSION,
            ticket.secret,
            ticket.cluster,
            name,
            identity.uuid,
            identity.public_key,
            address,
            votes,
            nodeid,
        )
        self._waiting_for: tuple[type, ...] = (ProbeOrder, Reservation)
        self._reservation: Reservation | None = None

    def connected(self) -> list[JoinerAction]:
        """The connection stands, and the other end's certificate is the ticket's."""
        return [Send(self._hello)]

    def receive(self, message: Message) -> list[JoinerAction]:
        """A message came."""
        if isinstance(message, Refused):
            return [Fail(message.code, message.reasons, again=message.code == "busy")]
        if not isinstance(message, self._waiting_for):
            return [Fail("protocol", (f"the member sent {type(message).__name__}, which was not to come",))]
        self._waiting_for = ()
        if isinstance(message, ProbeOrder):
            return [Probe(message)]
        if isinstance(message, Reservation):
            self._reservation = message
            return [Store(message)]
        assert self._reservation is not None
        return [Finish(self._reservation.nodeid, self._reservation.patience_s)]

    def probed(self, problems: tuple[str, ...]) -> list[JoinerAction]:
        """The probes are done. With problems it ends here: the other end is told, for its log."""
        if problems:
            return [Send(Report(problems)), Fail("unreachable", problems)]
        self._waiting_for = (Reservation,)
        return [Send(Report(()))]

    def stored(self) -> list[JoinerAction]:
        """Key and configuration are on the disk."""
        self._waiting_for = (Welcome,)
        return [Send(Stored())]
