"""Which fault comes when: drawn from a seed, before anything runs, and printed.

A fault begins, lasts, and ends; faults overlap. What the ring's nodes suffer is a function of the seed alone, what they
do with it is not: real processes, real time.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum


class Fault(Enum):
    """What is done to nodes or to the network between them."""

    KILL = "kill -9, start again"
    LEAVE = "SIGTERM, start again"
    PAUSE = "SIGSTOP, SIGCONT"
    SPLIT = "partition"
    BRIDGE = "two nodes cannot hear each other"
    DEAF = "a node does not hear another"
    LOSS = "loss"
    INTERFACE = "interface down, up"
    CABLE = "cable out, in"
    GUEST = "another process joins the group, is gone"
    STORM = "the same node killed and started again and again"


WEIGHTS = {
    Fault.KILL: 4,
    Fault.LEAVE: 2,
    Fault.PAUSE: 3,
    Fault.SPLIT: 4,
    Fault.BRIDGE: 2,
    Fault.DEAF: 2,
    Fault.LOSS: 3,
    Fault.INTERFACE: 2,
    Fault.CABLE: 2,
    Fault.GUEST: 2,
    Fault.STORM: 2,
}

STORM_PERIOD_S = 2.0
"""In a storm, from one start of the node to the next."""


@dataclass(frozen=True)
class Action:
    """A fault that begins at `at_s` after the start of the round and lasts."""

    at_s: float
    lasts_s: float
    fault: Fault
    nodes: tuple[int, ...]
    """Victims; for SPLIT one side, for BRIDGE both ends, for DEAF who does not hear and whom."""
    percent: int = 0
    """For LOSS."""

    def __str__(self) -> str:
        share = f" {self.percent} %" if self.fault is Fault.LOSS else ""
        nodes = ", ".join(map(str, self.nodes))
        return f"{self.at_s:6.2f} s  {self.fault.value}{share}: {nodes} ({self.lasts_s:.2f} s)"


@dataclass(frozen=True)
class Terrain:
    """What faults may be done to."""

    kinds: str
    """A letter for each node, as the laboratory has them."""
    token_s: float
    """The token timeout."""
    anchor: int
    """A node whose daemon is never ended, so that its memory can be followed over the whole run."""

    @property
    def nodes(self) -> range:
        return range(1, len(self.kinds) + 1)


def draw_schedule(seed: str, seconds: float, terrain: Terrain) -> list[Action]:
    """The faults of one round, by time of their beginning; all have ended by `seconds`."""
    source = random.Random(seed)
    return sorted(_draw(source, seconds, terrain), key=lambda action: action.at_s)


def _draw(source: random.Random, seconds: float, terrain: Terrain) -> Iterator[Action]:
    at_s = 0.0
    while True:
        # Often one fault at a time, sometimes the next before the ring has got over the last.
        at_s += source.choice((source.uniform(0.05, 0.5), source.uniform(0.3, 1.5), source.uniform(1.0, 3.0)))
        fault = source.choices(tuple(WEIGHTS), tuple(WEIGHTS.values()))[0]
        lasts_s = _duration(source, fault, terrain.token_s)
        nodes = _victims(source, fault, terrain)
        percent = source.choice((1, 5, 20, 50))
        if at_s + 0.5 > seconds:
            return
        if nodes:
            yield Action(at_s, min(lasts_s, seconds - at_s), fault, nodes, percent)


def _duration(source: random.Random, fault: Fault, token_s: float) -> float:
    if fault in (Fault.KILL, Fault.LEAVE):
        return source.choice((0.0, source.uniform(0.0, token_s), source.uniform(1.0, 3.0) * token_s))
    if fault is Fault.PAUSE:
        return source.choice((source.uniform(0.2, 1.0), source.uniform(1.1, 4.0))) * token_s
    if fault is Fault.STORM:
        return source.randint(3, 6) * STORM_PERIOD_S
    return source.choice((source.uniform(0.1, 1.0), source.uniform(1.0, 5.0))) * token_s


def _victims(source: random.Random, fault: Fault, terrain: Terrain) -> tuple[int, ...]:
    nodes = list(terrain.nodes)
    mortal = [node for node in nodes if node != terrain.anchor]
    ours = [node for node in nodes if terrain.kinds[node - 1] == "T"]
    match fault:
        case Fault.SPLIT:
            return tuple(sorted(source.sample(nodes, source.randint(1, len(nodes) // 2))))
        case Fault.BRIDGE | Fault.DEAF:
            return tuple(source.sample(nodes, 2))
        case Fault.LOSS:
            return tuple(sorted(source.sample(nodes, source.randint(1, len(nodes)))))
        case Fault.KILL:
            return tuple(sorted(source.sample(mortal, source.choice((1, 1, 1, 2, len(mortal))))))
        case Fault.LEAVE | Fault.STORM:
            return (source.choice(mortal),)
        case Fault.GUEST:
            return (source.choice(ours),) if ours else ()
        case Fault.INTERFACE:
            # A real node whose interface goes down moves to 127.0.0.1, and is at home in several rings then.
            return (source.choice(ours),) if ours else ()
        case _:
            return (source.choice(nodes),)
