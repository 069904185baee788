"""The network between simulated hosts: loses, doubles, delays and cuts, by the seed."""

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Final

from totemd.ids import NodeId
from totemd.sim.schedule import Link

LATE_MAX_S: Final = 2.0
"""No packet is older than this when it arrives: far beyond every timeout of a simulated ring."""

_HEADERS_MIN_S: Final = 0.00005


class Network:
    """Decides about each packet. Every sender has random numbers of its own, so that a change of what one sends does
    not change the fate of the others' packets: that makes schedules shrink better."""

    def __init__(self, seed: int, nodes: int, link: Link) -> None:
        self.link = link
        self._usual = link
        self.blocked: frozenset[tuple[NodeId, NodeId]] = frozenset()
        """Pairs of source and target between which nothing passes."""
        self._random: Final = [Random(f"{seed} packets of {source}") for source in range(nodes + 1)]
        self._last: dict[tuple[NodeId, NodeId], float] = {}

    def arrivals(self, source: NodeId, target: NodeId, now: float) -> tuple[float, ...]:
        """When a packet that is sent now arrives: never, once or twice."""
        link = self.link
        random = self._random[source].random
        if (source, target) in self.blocked or (link.loss and random() < link.loss):
            return ()
        if link.duplication and random() < link.duplication:
            return self._arrival(source, target, now, random), self._arrival(source, target, now, random)
        return (self._arrival(source, target, now, random),)

    def _arrival(self, source: NodeId, target: NodeId, now: float, random: Callable[[], float]) -> float:
        link = self.link
        delay = link.delay_s * (1.0 + link.jitter * (2.0 * random() - 1.0))
        if link.late and random() < link.late:
            # Heavy tail: with x uniform, 1/x - 1 has the median 1 and exceeds 9 in one of ten cases.
            delay += min(link.late_s * (1.0 / (1.0 - random()) - 1.0), LATE_MAX_S)
        at = now + max(delay, _HEADERS_MIN_S)
        if not link.reordering:
            at = max(at, self._last.get((source, target), 0.0))
            self._last[source, target] = at
        return at

    def lose(self, share: float) -> None:
        """From here on this share of packets is lost; 0: as usual."""
        self.link = replace(self.link, loss=share or self._usual.loss)

    def calm(self) -> None:
        """All links are whole and nothing is lost, doubled or late any more."""
        self.blocked = frozenset()
        self._last.clear()  # nothing has to wait behind a packet that is late
        self.link = replace(self._usual, loss=0.0, duplication=0.0, late=0.0)

    def split(self, parts: str) -> None:
        """`1,2|3`: nothing passes between the parts; a node in no part is alone."""
        side = {nodeid: index for index, part in enumerate(_parts(parts)) for nodeid in part}
        nodes = range(1, len(self._random))
        self.blocked = frozenset((a, b) for a in nodes for b in nodes if a != b and side.get(a, -a) != side.get(b, -b))

    def bridge(self, parts: str) -> None:
        """`1|2|3`: nothing passes between the first part and the last; all others hear everybody."""
        first, *_, last = [*_parts(parts), []] if "|" not in parts else _parts(parts)
        self.blocked = frozenset(pair for a in first for b in last if a != b for pair in ((a, b), (b, a)))

    def cut(self, pairs: str) -> None:
        """`1>2,3>2`: nothing passes from 1 to 2 and from 3 to 2, besides what is cut already."""
        words = (pair.split(">") for pair in pairs.split(","))
        self.blocked |= {(int(source), int(target)) for source, target in words}

    def heal(self) -> None:
        """All links are whole."""
        self.blocked = frozenset()


def _parts(text: str) -> list[list[NodeId]]:
    return [[int(word) for word in part.split(",") if word] for part in text.split("|")]
