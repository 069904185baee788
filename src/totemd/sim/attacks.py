"""Somebody on the wire of a sealed ring: hears everything, sends what he likes, and does not have the key.

What he sends is made of what he heard. With `attack N KIND COUNT` he sends node N so many datagrams of a kind:

    replay      what was sent to N before, in this life of its sender, by the source it came from
    old         what a life of a node sent that is over
    swap        what was sent to somebody, as if from another node
    reflect     what N itself has sent
    flip        what was sent to N, with a bit changed
    truncate    the beginning of it
    forge       a header like all others, and noise
    other       what a cluster sends that has the same key and another id
"""

from collections import deque
from random import Random
from typing import Final

from totemd.ids import NodeId
from totemd.record import record

ATTACKS: Final = ("replay", "old", "swap", "reflect", "flip", "truncate", "forge", "other")
"""Kinds of attacks."""

HEARD_MAX: Final = 3000
"""Datagrams that he remembers, besides as many of lives that are over."""


@record
class Heard:
    """A datagram, who sent it and to whom."""

    source: NodeId
    target: NodeId
    life: int
    data: bytes


class Attacker:
    """Remembers and forges, by the seed of a run."""

    def __init__(self, seed: int, other_cluster: bytes) -> None:
        """`other_cluster`: what another cluster has sealed."""
        self._random: Final = Random(f"{seed} attacker")
        self._other_cluster: Final = other_cluster
        self._heard: deque[Heard] = deque(maxlen=HEARD_MAX)
        self._old: deque[Heard] = deque(maxlen=HEARD_MAX)

    def hear(self, source: NodeId, target: NodeId, life: int, data: bytes) -> None:
        """A datagram is on the wire."""
        self._heard.append(Heard(source, target, life, data))

    def life_is_over(self, life: int) -> None:
        """What that life sent is a recording from here on."""
        self._old.extend(heard for heard in self._heard if heard.life == life)

    def forge(self, kind: str, target: NodeId, nodes: int) -> tuple[bytes, NodeId] | None:
        """A datagram of that kind for `target`, and the node whose address it comes from; None if nothing fits."""
        random = self._random
        known = self._old if kind == "old" else self._heard
        mine = {
            "reflect": [heard for heard in known if heard.source == target],
            "swap": [heard for heard in known if heard.target != target],
            "forge": list(known),
            "other": list(known),
        }.get(kind, [heard for heard in known if heard.target == target])
        if not mine:
            return None
        heard = random.choice(mine)
        data, source = heard.data, heard.source
        match kind:
            case "swap":
                source = random.randint(1, nodes)
            case "flip":
                bit = random.randrange(8 * len(data))
                data = data[: bit // 8] + bytes((data[bit // 8] ^ 1 << bit % 8,)) + data[bit // 8 + 1 :]
            case "truncate":
                data = data[: random.randrange(len(data))]
            case "forge":
                data = data[:37] + random.randbytes(random.choice((0, 16, 86, 1400)))
            case "other":
                data = self._other_cluster
        return data, source
