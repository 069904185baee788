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
    def ring(self) -> RingId | None:
        """None before the first known configuration."""
        return None if self.configured is None else self.configured.ring

    @property
    def heard_all(self) -> bool:
        """Whether the process was in the group from the span's begin to now or to its end."""
        return len(self.pieces) == 1 and self.pieces[0].from_start and self.pieces[0].to_end

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
                story.last.pieces.append(Piece(from_start=True))
    elif isinstance(event, GroupChanged):
        _change_group(story, span, event)
    elif isinstance(event, Started):
        story.started = event
    elif isinstance(event, Ended):
        story.ended = event
    else:
        assert isinstance(event, Synchronized | QuorumChanged | Measured)


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
    elif not story.hears and (story.process is None or story.process in event.members):
        story.hears = True
        span.pieces.append(Piece(from_start=False))
