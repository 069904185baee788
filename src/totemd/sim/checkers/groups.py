"""Process groups: the views are the same for all, and at the same places among the messages."""

from collections import defaultdict
from collections.abc import Iterator
from typing import TypeAlias

from totemd.ids import NodeId, RingId
from totemd.sim.checkers.checker import Finding
from totemd.sim.checkers.chronicle import Chronicle, Span, Story
from totemd.sim.history import Configured, Delivered, GroupChanged, Limits, MessageId, Process, Synchronized
from totemd.totem.api import ConfigurationKind

View: TypeAlias = frozenset[Process]

_Point: TypeAlias = MessageId | str
"""A place in a ring's order: a message's, that of the end of synchronization, or the next ring's."""


def views_follow(chronicle: Chronicle, limits: Limits) -> Iterator[Finding]:
    """Each view is the one before it with `joined` and without `left`; who joins was not in it, who leaves was. The
    process itself is in each view until it leaves. In a ring that is synchronized the sender of each message is in the
    view at its place."""
    for story in chronicle.stories.values():
        yield from _follow(story)


def _follow(story: Story) -> Iterator[Finding]:
    view: View | None = None
    synchronized = True
    for event in story.events:
        where = f"life {story.life} of node {story.node}"
        if isinstance(event, GroupChanged):
            now = frozenset(event.members)
            joined = {(nodeid, pid) for nodeid, pid, _ in event.joined}
            left = {(nodeid, pid) for nodeid, pid, _ in event.left}
            if view is not None and (now != view - left | joined or joined & view or not left <= view):
                text = f"{where}: {sorted(view)} with {event.joined} and without {event.left} is not {sorted(now)}"
                yield text, event.time
            elif not joined <= now or left & now:
                yield f"{where}: {sorted(now)} after {event.joined} joined and {event.left} left", event.time
            # Who has left hears of no further changes until it is back.
            view = None if story.process in left and story.process not in now else now
            if view is not None and story.process is not None and story.process not in view:
                yield f"{where}: its own process {story.process} is not in {sorted(view)}", event.time
        elif isinstance(event, Configured) and event.kind is ConfigurationKind.REGULAR:
            synchronized = False
        elif isinstance(event, Synchronized):
            synchronized = True
        elif isinstance(event, Delivered) and synchronized and view is not None and event.sender not in view:
            yield f"{where}: {event.message} is from {event.sender}, who is not in {sorted(view)}", event.time


def reasons(chronicle: Chronicle, limits: Limits) -> Iterator[Finding]:
    """Between a regular configuration and the end of its synchronization processes are gone "nodedown" of nodes that
    were missing from a transitional configuration since the groups were last synchronized, "procdown" of others, and
    new ones are there "nodeup". At all other places they come and go by themselves. A process that hears the group is
    never gone against its will."""
    for story in chronicle.stories.values():
        stayed: set[NodeId] | None = None
        changing = renewed = False
        members: tuple[NodeId, ...] = ()
        for event in story.events:
            if isinstance(event, Configured):
                if renewed:
                    # The groups came so far in that ring, though not all services did.
                    stayed = set(members)
                changing, renewed, members = event.kind is ConfigurationKind.REGULAR, False, event.members
                if not changing and stayed is not None:
                    stayed &= set(members)
            elif isinstance(event, Synchronized):
                changing, renewed, stayed = False, False, set(members)
            elif isinstance(event, GroupChanged) and stayed is not None:
                yield from _wrong_reasons(story, event, stayed if changing else None)
                renewed = changing


def _wrong_reasons(story: Story, event: GroupChanged, stayed: set[NodeId] | None) -> Iterator[Finding]:
    """`stayed`: who did, while synchronization is going on; None at other times."""
    where = f"life {story.life} of node {story.node}"
    for nodeid, pid, word in event.left:
        lost = stayed is not None and nodeid not in stayed
        if word == ("procdown" if lost else "nodedown") or (word != "leave" and (nodeid, pid) == story.process):
            yield f"{where}: {(nodeid, pid)} is gone: {word}", event.time
    for nodeid, pid, word in event.joined:
        if (word == "nodeup") is (stayed is None):
            yield f"{where}: {(nodeid, pid)} is there: {word}", event.time


def same_views(chronicle: Chronicle, limits: Limits) -> Iterator[Finding]:
    """Members of a ring that are in the group have the same view when synchronization is complete, of processes of the
    ring's members only. From then on they see the same changes, each between the same two messages: all of them in the
    regular configuration, and those that go together to the next ring up to there."""
    for ring, spans in chronicle.by_ring.items():
        regular = _SameViews(ring, whole=False)
        together: defaultdict[RingId, list[Span]] = defaultdict(list)
        for span in spans:
            yield from regular.check(span)
            if span.following is not None:
                together[span.following.ring].append(span)
        for companions in together.values():
            whole = _SameViews(ring, whole=True)
            for span in companions if len(companions) > 1 else ():
                yield from whole.check(span)


class _SameViews:
    """What is known of one ring's views."""

    def __init__(self, ring: RingId, *, whole: bool) -> None:
        self.ring = ring
        self.whole = whole
        """Up to the next ring, or only as long as the regular configuration lasts."""
        self.at: dict[_Point, tuple[View, Story]] = {}
        self.between: dict[tuple[_Point, _Point], tuple[list[GroupChanged], Story]] = {}

    def check(self, span: Span) -> Iterator[Finding]:
        """A further member's span, held against those before it."""
        story = span.story
        view = span.view
        previous: _Point | None = None
        changes: list[GroupChanged] = []
        synchronized = False
        for event in span.events:
            here: _Point
            if isinstance(event, GroupChanged):
                if any(process[:2] == story.process for process in (*event.joined, *event.left)):
                    # What it has not heard before its join, or will not after its leave, cannot be compared.
                    previous = None
                in_group = story.process is None or story.process in event.members
                view = frozenset(event.members) if in_group else None
                changes.append(event)
                continue
            if isinstance(event, Synchronized):
                synchronized = True
                here = "synchronization"
                yield from self._only_members(span, view, event)
            elif isinstance(event, Delivered):
                here = event.message
            elif isinstance(event, Configured):
                if not self.whole:
                    return
                if event is not span.following:
                    continue
                here = f"ring {event.ring}"
            else:
                continue
            if synchronized and view is not None:
                yield from self._compare_view(here, view, story, event.time)
                if previous is not None:
                    yield from self._compare_changes((previous, here), changes, story, event.time)
            previous, changes = here if synchronized else None, []

    def _compare_view(self, here: _Point, view: View, story: Story, time: float) -> Iterator[Finding]:
        known, other = self.at.setdefault(here, (view, story))
        if known != view:
            text = f"ring {self.ring} at {here}: view {sorted(view)} at life {story.life}, {sorted(known)} at "
            yield f"{text}life {other.life}", time

    def _compare_changes(
        self, place: tuple[_Point, _Point], changes: list[GroupChanged], story: Story, time: float
    ) -> Iterator[Finding]:
        known, other = self.between.setdefault(place, (changes, story))
        if [_content(change) for change in known] != [_content(change) for change in changes]:
            text = f"ring {self.ring} between {place[0]} and {place[1]}: {len(changes)} changes of the view at life "
            yield f"{text}{story.life}, {len(known)} or others at life {other.life}", time

    def _only_members(self, span: Span, view: View | None, event: Synchronized) -> Iterator[Finding]:
        assert span.configured is not None
        strangers = sorted(process for process in view or () if process[0] not in span.configured.members)
        if strangers:
            text = f"ring {self.ring} is synchronized at life {span.story.life} with {strangers} in view, of no member"
            yield text, event.time


def _content(change: GroupChanged) -> object:
    return sorted(change.members), sorted(change.joined), sorted(change.left)
