"""What may go wrong in a simulated cluster, as one record of how much and how often, and presets with names.

A record says what a seed may draw; what really happens in a run, and when, is in its schedule (`schedule.py`). Verbs
that a schedule knows and this record has a weight for:

    split, oneway, bridge, heal   total partitions, links that work one way only, A-B and B-C without A-C, and merges
    crash, leave                  the daemon ends, with or without a word; the disk keeps what it had (see `host.py`)
    pause                         the process is not scheduled; its clock goes on (SIGSTOP, a stalled machine)
    stall                         the machine stands still and its monotonic clock with it (a virtual machine stopped)
    jump                          its monotonic clock is suddenly later. It never steps back: CLOCK_MONOTONIC does not,
                                  whatever is done to the time of day, which nothing in a node reads
    drift                         its clock runs faster or slower from here on
    slow                          everything it does takes longer for a while
    slowdisk, baddisk             the disk answers late; the disk refuses once, and the node has to end
    down                          the interface is down for a while: nothing is sent or received, and the node is told
    choke                         full send buffers: what it sends in a while is lost, or a part of it
    loss                          the share of packets that the network loses, from here on
    attack                        what somebody does who hears the wire and can send: see `attacks.py`
    dislike                       the host refuses every new configuration for a while
    ghost                         a node that dies as soon as it is in a given phase of forming a ring
"""

from dataclasses import replace
from typing import Final

from totemd.errors import OperatorError
from totemd.record import record

PHASES: Final = ("gather", "commit", "recovery", "sync")
"""Where a ghost may die."""


@record
class Faults:
    """How much may go wrong. Shares are of packets, weights are relative to each other, times are seconds."""

    loss_max: float = 0.0
    """The network loses at most this share all the time."""
    duplication_max: float = 0.0
    late_max: float = 0.0
    """Share of packets that are late, with a long tail."""
    late_s: float = 0.01
    """Median of the lateness; a tenth of the late ones are ten times as late."""
    reordering: bool = True
    """Whether a packet may overtake another one on the same link."""
    counts: tuple[int, int] = (0, 0)
    """How many faults a schedule has: least and most."""
    partitions: int = 0
    """Weights of the verbs, from here on. Partitions are total, one-way and bridge ones, and merges."""
    crashes: int = 0
    leaves: int = 0
    pauses: int = 0
    clocks: int = 0
    slow: int = 0
    disks: int = 0
    interfaces: int = 0
    chokes: int = 0
    losses: int = 0
    ghosts: int = 0
    attacks: int = 0
    dislikes: int = 0
    managed: bool = False
    """The configuration is replicated, and changed all the time."""
    sealed: bool = False
    """The ring is sealed."""


_ALL: Final = Faults(
    loss_max=0.03,
    duplication_max=0.02,
    late_max=0.1,
    counts=(2, 8),
    partitions=6,
    crashes=4,
    leaves=2,
    pauses=2,
    clocks=2,
    slow=1,
    disks=1,
    interfaces=2,
    chokes=1,
    losses=2,
    ghosts=3,
)

PRESETS: Final[dict[str, Faults]] = {
    "none": Faults(),
    "loss": Faults(loss_max=0.1, duplication_max=0.05, late_max=0.1, counts=(1, 5), losses=1, chokes=1),
    "partitions": Faults(loss_max=0.01, late_max=0.02, counts=(2, 8), partitions=1),
    "crashes": Faults(loss_max=0.01, late_max=0.02, counts=(2, 8), crashes=3, leaves=2, ghosts=2, disks=1),
    "pauses": Faults(loss_max=0.01, counts=(2, 8), pauses=4, clocks=2, slow=2),
    "interfaces": Faults(loss_max=0.01, counts=(2, 8), interfaces=3, chokes=2),
    "all": _ALL,
    "sealed": replace(_ALL, counts=(3, 12), attacks=10, sealed=True),
    "managed": replace(_ALL, counts=(3, 12), disks=4, pauses=4, dislikes=2, managed=True),
    "cluster": replace(_ALL, counts=(3, 12), disks=4, pauses=4, dislikes=2, attacks=6, managed=True, sealed=True),
}
"""By name, for `totemctl simulate --faults`."""


def preset(name: str) -> Faults:
    """The faults of that name. OperatorError names those that exist."""
    if name not in PRESETS:
        raise OperatorError(f"there are no faults called {name!r}; there are {', '.join(PRESETS)}")
    return PRESETS[name]
