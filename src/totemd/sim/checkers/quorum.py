"""Quorum: one component at a time."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from totemd.ids import NodeId, RingId
from totemd.sim.checkers.checker import Finding
from totemd.sim.checkers.chronicle import Chronicle
from totemd.sim.history import Ended, LifeId, Limits, QuorumChanged, Synchronized


def one_quorate(chronicle: Chronicle, limits: Limits) -> Iterator[Finding]:
    """Two verdicts "quorate" that hold at the same instant are of the same ring, or of one ring and an earlier one:
    then the node in the earlier ring has not heard yet. Earlier is what a node installed before, over all its lives,
    directly or by way of other rings. (A verdict of a ring whose installation nobody recorded proves nothing.)

    With a quorum option that gives this up (`limits.quorum_gives_up`) nothing is checked here.
    """
    if limits.quorum_gives_up:
        return
    ancestry = _Ancestry(chronicle)
    claims: dict[LifeId, QuorumChanged] = {}
    for event in chronicle.history:
        if isinstance(event, Ended):
            claims.pop(event.life, None)
        elif isinstance(event, QuorumChanged):
            claims.pop(event.life, None)
            if not event.quorate:
                continue
            for other in claims.values():
                if not ancestry.related(other.ring, event.ring):
                    text = f"ring {event.ring} of {event.members} is quorate at life {event.life} while ring "
                    yield f"{text}{other.ring} of {other.members} is at life {other.life}", event.time
                    break
            claims[event.life] = event


class _Ancestry:
    """Which rings came before which."""

    def __init__(self, chronicle: Chronicle) -> None:
        self._next: defaultdict[RingId, set[RingId]] = defaultdict(set)
        self._rings = chronicle.by_ring.keys()
        self._known: dict[tuple[RingId, RingId], bool] = {}
        for stories in chronicle.by_node.values():
            rings = [span.ring for story in stories for span in story.spans if span.ring is not None]
            for one, two in pairwise(rings):
                self._next[one].add(two)

    def related(self, one: RingId, two: RingId) -> bool:
        """Whether they are the same, or one of them is earlier than the other."""
        if one == two or not (one in self._rings and two in self._rings):
            return True
        earlier, later = (one, two) if one.seq <= two.seq else (two, one)
        key = earlier, later
        if key not in self._known:
            self._known[key] = self._leads_to(earlier, later)
        return self._known[key]

    def _leads_to(self, earlier: RingId, later: RingId) -> bool:
        seen = {earlier}
        waiting = [earlier]
        while waiting:
            for ring in self._next[waiting.pop()]:
                if ring == later:
                    return True
                if ring not in seen and ring.seq < later.seq:
                    seen.add(ring)
                    waiting.append(ring)
        return False


def verdict_in_ring(chronicle: Chronicle, limits: Limits) -> Iterator[Finding]:
    """When a ring is synchronized its members have a verdict of that ring, about its members. (Not in a history
    without any verdict: there is no quorum provider, or nobody asked.)"""
    voting = any(isinstance(event, QuorumChanged) for event in chronicle.history)
    for story in chronicle.stories.values() if voting else ():
        for span in story.spans:
            if span.configured is None or not span.seen_to_form:
                continue
            ring: RingId | None = None
            for event in span.events:
                if isinstance(event, QuorumChanged):
                    where = f"life {story.life} of node {story.node}: a verdict of ring {event.ring}"
                    ring = event.ring
                    if event.ring != span.ring:
                        yield f"{where} in ring {span.ring}", event.time
                    elif _sorted(event.members) != span.configured.members:
                        text = f"{where} of {span.configured.members} about {event.members}"
                        yield text, event.time
                elif isinstance(event, Synchronized) and ring is None:
                    text = f"life {story.life} of node {story.node} has no verdict in ring {span.ring}, though it is "
                    yield f"{text}synchronized", event.time


def _sorted(members: tuple[NodeId, ...]) -> tuple[NodeId, ...]:
    return tuple(sorted(members))
