"""A history sorted by life: what all checkers read.

One pass over the events gives each life a `Story`, cut into `Span`s at its regular configurations. The deliveries of a
span are in `Piece`s: without a break in hearing the group there is one; a process that joins or leaves in the middle
of a span has heard a part of it only, and is held to that part.

What is recorded of real daemons may begin late: a client connects to a daemon that has been in a ring for a while. The
first span of a story has no ring then (`ring` is None), and its first piece is not `from_start`.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from totemd.ids import NodeId, RingId
from totemd.sim.history import (
    Accepted,
    Calm,
    ChangeAnswered,
    Configured,
    Delivered,
    Ended,
    Event,
    GroupChanged,
    History,
    LifeId,
    Measured,
    Process,
    QuorumChanged,
    Started,
    Synchronized,
    VersionInForce,
)
from totemd.totem.api import ConfigurationKind


@dataclass(slots=True, eq=False)
class Piece:
    """What a process delivered in a span without a break."""

    from_start: bool
    """It was in the group when the span began."""
    to_end: bool = True
    """It was still in the group when the span ended, or is."""
    regular: list[Delivered] = field(default_factory=list)
    transitional: list[Delivered] = field(default_factory=list)
    process: Process | None = None
    ordinal: int = 0
    """It began with the process's so manieth join in this ring."""
    joins: dict[tuple[Process, int], int] = field(default_factory=dict)
    """After how many deliveries a process joined the group, by how often it had done so."""
    parted: set[Process] = field(default_factory=set)
    """Processes that left in this ring."""

    def heard_from(self, other: "Piece") -> int | None:
        """From which delivery on the process of `other` was in the group, if this one has heard it join for that.
        Without having heard the ring from the start, it cannot tell one join of a process from the next."""
        if other.process is None or other.from_start or (not self.from_start and other.process in self.parted):
            return None
        return self.joins.get((other.process, other.ordinal))

    def all(self) -> list[Delivered]:
        """Both parts, in order."""
        return self.regular + self.transitional


@dataclass(slots=True, eq=False)
class Span:
    """What a life saw from one regular configuration to the next."""

    story: "Story"
    index: int
    """Its place among the spans of its story."""
    configured: Configured | None
    """The regular configuration that began it."""
    view: frozenset[Process] | None = None
    """The group's view when the span began; None: not in the group, or not known."""
    seen_to_form: bool = False
    """The transitional configuration before it was recorded too: the recorder did not come into a ring that was."""
    events: list[Event] = field(default_factory=list)
    """All that followed, up to the next regular configuration: that one is the last."""
    pieces: list[Piece] = field(default_factory=list)
    transition: Configured | None = None
    following: Configured | None = None
    """The regular configuration that ended it."""

    @property
    def last_piece(self) -> Piece | None:
        """What the process heard to the span's end, if it was in the group then."""
        return self.pieces[-1] if self.pieces and self.pieces[-1].to_end else None

    @property
    def ring(self) -> RingId | None:
        """None before the first known configuration."""
        return None if self.configured is None else self.configured.ring

    def delivered(self) -> Iterator[Delivered]:
        """All deliveries, in order."""
        for piece in self.pieces:
            yield from piece.regular
            yield from piece.transitional


@dataclass(slots=True, eq=False)
class Story:
    """One life. `process` is its member of the group, once it has joined."""

    life: LifeId
    node: NodeId
    begin: float
    started: Started | None = None
    ended: Ended | None = None
    process: Process | None = None
    hears: bool = False
    view: frozenset[Process] | None = None
    """The group's view at the end, while it is in the group."""
    spans: list[Span] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    accepted: list[Accepted] = field(default_factory=list)

    @property
    def last(self) -> Span:
        """The span in which the life ended, or is."""
        return self.spans[-1]

    def delivered(self) -> Iterator[Delivered]:
        """All deliveries, in order."""
        for span in self.spans:
            yield from span.delivered()


@dataclass(slots=True, eq=False)
class Chronicle:
    """A whole history. `by_node` has the lives of each node in the order of their begin."""

    history: History
    stories: dict[LifeId, Story]
    by_node: dict[NodeId, list[Story]]
    by_ring: dict[RingId, list[Span]]
    """The spans of each ring, in the order of their begin."""
    calm: Calm | None
    """The last one."""


def common_begin(one: Piece, two: Piece) -> tuple[int, int] | None:
    """How many deliveries of either piece are from before the other process was in the group; None: not known."""
    if one is two or (one.from_start and two.from_start):
        return 0, 0
    if one.process == two.process:
        return None
    joined = two.heard_from(one)
    if joined is not None:
        return 0, joined
    joined = one.heard_from(two)
    return None if joined is None else (joined, 0)


def read(history: History) -> Chronicle:
    """Sort a history."""
    stories: dict[LifeId, Story] = {}
    calm: Calm | None = None
    for event in history:
        if isinstance(event, Calm):
            calm = event
            continue
        story = stories.get(event.life)
        if story is None:
            story = stories[event.life] = Story(event.life, event.node, event.time)
            story.spans.append(Span(story, 0, None))
        story.events.append(event)
        _note(story, event)
    by_node: defaultdict[NodeId, list[Story]] = defaultdict(list)
    by_ring: defaultdict[RingId, list[Span]] = defaultdict(list)
    for story in stories.values():
        by_node[story.node].append(story)
        for span in story.spans:
            if span.ring is not None:
                by_ring[span.ring].append(span)
    for spans in by_ring.values():
        parted = {
            (nodeid, pid)
            for span in spans
            for event in span.events
            if isinstance(event, GroupChanged)
            for nodeid, pid, word in event.left
            if word != "nodedown"
        }
        for span in spans:
            for piece in span.pieces:
                piece.parted = parted
    return Chronicle(history, stories, dict(by_node), dict(by_ring), calm)


def _note(story: Story, event: Event) -> None:
    span = story.spans[-1]
    span.events.append(event)
    if isinstance(event, Delivered):
        _deliver(story, span, event)
    elif isinstance(event, Accepted):
        story.accepted.append(event)
    elif isinstance(event, Configured):
        if event.kind is ConfigurationKind.TRANSITIONAL:
            span.transition = event
        else:
            span.following = event
            formed = span.transition is not None
            story.spans.append(Span(story, len(story.spans), event, story.view, formed))
            if story.hears:
                story.last.pieces.append(Piece(from_start=True, process=story.process))
    elif isinstance(event, GroupChanged):
        _change_group(story, span, event)
    elif isinstance(event, Started):
        story.started = event
    elif isinstance(event, Ended):
        story.ended = event
    else:
        assert isinstance(event, Synchronized | QuorumChanged | Measured | VersionInForce | ChangeAnswered)


def _deliver(story: Story, span: Span, event: Delivered) -> None:
    if not story.hears:
        # Its join was not recorded: the recorder came later.
        story.hears = True
        span.pieces.append(Piece(from_start=False))
    piece = span.pieces[-1]
    (piece.regular if span.transition is None else piece.transitional).append(event)


def _change_group(story: Story, span: Span, event: GroupChanged) -> None:
    story.view = frozenset(event.members)
    if story.process is None:
        own = [(nodeid, pid) for nodeid, pid, _ in event.joined if nodeid == story.node]
        story.process = own[0] if own else None
    if story.hears and any(process[:2] == story.process for process in event.left):
        story.hears = False
        story.view = None
        span.pieces[-1].to_end = False
        return
    if not story.hears and (story.process is None or story.process in event.members):
        story.hears = True
        ordinal = 1 + sum(not piece.from_start for piece in span.pieces)
        span.pieces.append(Piece(from_start=False, process=story.process, ordinal=ordinal))
    if story.hears:
        piece = span.pieces[-1]
        place = len(piece.regular) + len(piece.transitional)
        for nodeid, pid, word in event.joined:
            if word == "join":
                count = 1
                while ((nodeid, pid), count) in piece.joins:
                    count += 1
                piece.joins[(nodeid, pid), count] = place
