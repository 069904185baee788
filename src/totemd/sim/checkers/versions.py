"""The replicated configuration: one history of versions, and one version in a component."""

from collections.abc import Iterator

from totemd.ids import RingId
from totemd.sim.checkers.checker import Finding
from totemd.sim.checkers.chronicle import Chronicle, Span, Story
from totemd.sim.history import (
    ChangeAnswered,
    Configured,
    Delivered,
    GroupChanged,
    Limits,
    QuorumChanged,
    Synchronized,
    VersionInForce,
)
from totemd.totem.api import ConfigurationKind


def one_history(chronicle: Chronicle, limits: Limits) -> Iterator[Finding]:
    """A committed version has one content for all lives, each was made from the one before it, and a life's never
    goes back: the version rises once with every commit, and no commit is without one.

    With a quorum option that gives this up (`limits.quorum_gives_up`) only the last is checked.
    """
    contents: dict[int, tuple[bytes, int]] = {}
    for story in chronicle.stories.values():
        highest = 0
        for event in story.events:
            if not isinstance(event, VersionInForce):
                continue
            if event.committed < highest:
                text = f"life {story.life} goes back from version {highest} to {event.committed}"
                yield text, event.time
            highest = max(highest, event.committed)
            known = contents.setdefault(event.committed, (event.committed_ident, event.committed_base))
            if known[0] != event.committed_ident and not limits.quorum_gives_up:
                text = f"version {event.committed} is {event.committed_ident.hex()[:8]} at life {story.life}"
                yield f"{text}, and {known[0].hex()[:8]} at another", event.time
    if limits.quorum_gives_up:
        return
    before: int | None = None
    for version, (_, base) in sorted(contents.items()):
        if before is not None and base != before:
            yield f"version {version} was made from {base}, and {before} was committed before it", _end(chronicle)
        before = version


def one_version(chronicle: Chronicle, limits: Limits) -> Iterator[Finding]:
    """Members of a ring, once it is synchronized, have the same versions in force one after the other, each change at
    the same place among the messages delivered; whatever one of them is doing meanwhile."""
    for ring, spans in chronicle.by_ring.items():
        paths = [path for span in spans if (path := _path(span)) is not None]
        model = max(paths, key=lambda path: len(path.versions), default=None)
        for path in paths:
            if model is not None and path is not model:
                yield from _compare(ring, model, path)


class _Path:
    """What was in force in a span, with the last message of the group before each change that this life made."""

    def __init__(self, span: Span) -> None:
        self.story: Story = span.story
        self.versions: list[tuple[int, bytes]] = []
        self.places: list[tuple[int, int] | None] = []
        self.times: list[float] = []


def _path(span: Span) -> _Path | None:
    """None: it was never synchronized, or nothing is known of versions."""
    before = _before(span)
    path = _Path(span)
    last: tuple[int, int] | None = None
    synchronized = False
    for event in span.events:
        if isinstance(event, Synchronized):
            synchronized = True
            if before is None:
                return None
            path.versions, path.places, path.times = [before], [None], [event.time]
        elif isinstance(event, VersionInForce):
            before = (event.version, event.ident)
            if synchronized:
                path.versions.append(before)
                path.places.append(last)
                path.times.append(event.time)
        elif isinstance(event, Delivered):
            last = event.message
        elif isinstance(event, GroupChanged) and any(left[0] == span.story.node for left in event.left):
            last = None
        elif isinstance(event, Configured) and event.kind is ConfigurationKind.TRANSITIONAL:
            break
    return path if synchronized else None


def _before(span: Span) -> tuple[int, bytes] | None:
    found: tuple[int, bytes] | None = None
    for earlier in span.story.spans[: span.index]:
        for event in earlier.events:
            if isinstance(event, VersionInForce):
                found = event.version, event.ident
    return found


def _compare(ring: RingId, one: _Path, two: _Path) -> Iterator[Finding]:
    for index, (mine, other) in enumerate(zip(one.versions, two.versions, strict=False)):
        where = f"in ring {ring} life {one.story.life} has version {mine[0]} ({mine[1].hex()[:8]}) in force"
        time = max(one.times[index], two.times[index])
        if mine != other:
            yield f"{where}, and life {two.story.life} has {other[0]} ({other[1].hex()[:8]})", time
            return
        places = one.places[index], two.places[index]
        if None not in places and places[0] != places[1]:
            text = f"{where} after message {places[0]}, and life {two.story.life} after {places[1]}"
            yield text, time


def answers_hold(chronicle: Chronicle, limits: Limits) -> Iterator[Finding]:
    """A change whose client was told "refused" is never in force anywhere; one that was told "accepted" is, and in the
    end everybody who has quorum has it or something later."""
    in_force: dict[bytes, float] = {}
    for event in chronicle.history:
        if isinstance(event, VersionInForce):
            in_force.setdefault(event.committed_ident, event.time)
    latest = max((story.events[-1].time for story in chronicle.stories.values() if story.events), default=0.0)
    for event in chronicle.history:
        if not isinstance(event, ChangeAnswered):
            continue
        name = f"change {event.ident.hex()[:8]}"
        if event.word == "refused" and event.ident in in_force:
            yield f"{name} was refused, and is in force at {in_force[event.ident]:.3f} s", event.time
        elif event.word == "accepted" and event.ident not in in_force:
            yield f"{name} was accepted, and is in force nowhere", latest
        elif event.word == "accepted" and not limits.quorum_gives_up:
            yield from _kept(chronicle, event)


def _kept(chronicle: Chronicle, answer: ChangeAnswered) -> Iterator[Finding]:
    calm = chronicle.calm
    for nodeid in calm.nodes if calm is not None else ():
        story = chronicle.by_node[nodeid][-1] if nodeid in chronicle.by_node else None
        if story is None or story.ended is not None:
            continue
        verdicts = [event.quorate for event in story.events if isinstance(event, QuorumChanged)]
        if not (verdicts and verdicts[-1]):
            # Nobody who has it may be here.
            continue
        known = [event.committed for event in story.events if isinstance(event, VersionInForce)]
        if known and known[-1] < answer.version:
            text = (
                f"life {story.life} of node {nodeid} ends with version {known[-1]}, and {answer.version} was accepted"
            )
            yield text, _end(chronicle)


def _end(chronicle: Chronicle) -> float:
    return chronicle.history[-1].time if chronicle.history else 0.0
