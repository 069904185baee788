"""Configurations and ring ids."""

from collections.abc import Iterator

from totemd.ids import NodeId, RingId
from totemd.sim.checkers.checker import Finding
from totemd.sim.checkers.chronicle import Chronicle, Story
from totemd.sim.history import Configured, Limits
from totemd.totem.api import ConfigurationKind

REGULAR = ConfigurationKind.REGULAR
TRANSITIONAL = ConfigurationKind.TRANSITIONAL


def transitional_first(chronicle: Chronicle, limits: Limits) -> Iterator[Finding]:
    """A membership change is a transitional configuration, of members of the last regular one, and then the regular
    one of the same ring: nobody is in it who was not said to stay or to join. A node is a member of what it installs.

    What is recorded of a daemon that was there before may begin with a regular configuration.
    """
    for story in chronicle.stories.values():
        yield from _in_turn(story)


def _in_turn(story: Story) -> Iterator[Finding]:
    regular: Configured | None = None
    transitional: Configured | None = None
    first = True
    for event in story.events:
        if not isinstance(event, Configured):
            continue
        where = f"life {story.life} of node {story.node}, ring {event.ring}"
        if event.kind is TRANSITIONAL:
            if transitional is not None:
                yield f"{where}: two transitional configurations in a row", event.time
            yield from ((f"{where}, transitional: {text}", event.time) for text in _wrong_transition(event, regular))
            transitional = event
        else:
            if transitional is None and not first:
                yield f"{where}: no transitional configuration before the regular one", event.time
            yield from ((f"{where}: {text}", event.time) for text in _wrong_regular(event, transitional))
            regular, transitional = event, None
        first = False


def _wrong_transition(event: Configured, regular: Configured | None) -> Iterator[str]:
    if event.joined:
        yield f"{event.joined} joined"
    if regular is not None:
        if not set(event.members) <= set(regular.members):
            yield f"members {event.members} are not of {regular.members}"
        if set(event.left) != set(regular.members) - set(event.members):
            yield f"left {event.left} is not what {event.members} lack of {regular.members}"
        if event.node not in event.members:
            yield f"the node itself is not in {event.members}"


def _wrong_regular(event: Configured, transitional: Configured | None) -> Iterator[str]:
    if event.node not in event.members:
        yield f"the node itself is not in {event.members}"
    if event.members and event.ring.rep != min(event.members):
        yield f"its representative is not the smallest of {event.members}"
    if transitional is None:
        return
    if transitional.ring != event.ring:
        yield f"the transitional configuration before it is of ring {transitional.ring}"
    if not set(transitional.members) <= set(event.members):
        yield f"{transitional.members} were to stay, but the members are {event.members}"
    if event.left or set(event.joined) != set(event.members) - set(transitional.members):
        yield f"joined {event.joined}, left {event.left}: {transitional.members} became {event.members}"


def transitional_members(chronicle: Chronicle, limits: Limits) -> Iterator[Finding]:
    """The transitional configuration's members are those that come from the same ring: all of them are told the same,
    and whoever of them installs the new ring comes from that ring."""
    for spans in chronicle.by_ring.values():
        said: dict[RingId, Configured] = {}
        came: dict[RingId, dict[NodeId, RingId | None]] = {}
        for span in spans:
            transition, following = span.transition, span.following
            if transition is not None and following is not None and transition.ring == following.ring:
                other = said.setdefault(following.ring, transition)
                if other.members != transition.members:
                    text = f"from {span.ring} to {following.ring}: members {other.members} at life {other.life}, "
                    yield f"{text}{transition.members} at life {transition.life}", transition.time
        for ring, transition in said.items():
            if ring not in came:
                came[ring] = _origins(chronicle, ring)
            for nodeid in transition.members:
                origin = came[ring].get(nodeid, spans[0].ring)
                if origin != spans[0].ring:
                    text = f"from {spans[0].ring} to {ring}: node {nodeid} is said to come along, but it comes from "
                    yield f"{text}{origin}", transition.time


def _origins(chronicle: Chronicle, ring: RingId) -> dict[NodeId, RingId | None]:
    """From which ring each node came that has installed this one, as far as it was seen."""
    result: dict[NodeId, RingId | None] = {}
    for span in chronicle.by_ring.get(ring, ()):
        if span.seen_to_form:
            before = span.story.spans[span.index - 1]
            if before.ring is not None or before.story.started is not None:
                result[span.story.node] = before.ring
    return result


def ring_ids_grow(chronicle: Chronicle, limits: Limits) -> Iterator[Finding]:
    """The rings that a node installs have growing numbers, over all its lives, and what its disk holds when it starts
    is at least the last one's: so no ring id ever comes twice."""
    for nodeid, stories in chronicle.by_node.items():
        last: RingId | None = None
        for story in stories:
            stored = story.started.stored_ring_seq if story.started is not None else None
            if last is not None and stored is not None and stored < last.seq:
                text = f"node {nodeid} starts with the number {stored:x} on its disk after it was in ring {last}"
                yield text, story.begin
            for span in story.spans:
                if span.configured is None:
                    continue
                if last is not None and span.configured.ring.seq <= last.seq:
                    text = f"node {nodeid}: life {story.life} is in ring {span.configured.ring} after {last}"
                    yield text, span.configured.time
                last = span.configured.ring


def one_membership(chronicle: Chronicle, limits: Limits) -> Iterator[Finding]:
    """A ring id stands for one set of members, and one life of each node."""
    for ring, spans in chronicle.by_ring.items():
        first = spans[0].configured
        assert first is not None
        lives: dict[NodeId, int] = {}
        for span in spans:
            event = span.configured
            assert event is not None
            if event.members != first.members:
                text = f"ring {ring} has members {first.members} at life {first.life}, {event.members} at "
                yield f"{text}life {event.life}", event.time
            if lives.setdefault(event.node, event.life) != event.life:
                text = f"ring {ring}: lives {lives[event.node]} and {event.life} of node {event.node} were both in it"
                yield text, event.time
