"""A simulated machine: its clock, disk, network interface and scheduler, which outlive the daemon that runs on it."""

from math import inf
from random import Random
from typing import Final

from totemd.ids import NodeId

CLOCK_GRAIN_S: Final = 1e-6
"""How long after a deadline that rounding put a moment too early the timer is tried again."""


LOOK_AGAIN_S: Final = 0.05


class Host:
    """What a node's surroundings are like at the moment."""

    def __init__(self, nodeid: NodeId, seed: int) -> None:
        self.nodeid = nodeid
        self.random: Final = Random(f"{seed} host {nodeid}")
        self.busy_until = 0.0
        """No turn before this (world time): the daemon still works on the last one, or is not scheduled."""
        self.slowness = 1.0
        """How much longer than usual a turn takes."""
        # The disk: what is durable.
        self.ring_seq: int | None = None
        self.files: dict[str, bytes] = {}
        self.changes: dict[str, bytes] = {}
        """The state of the replicated configuration."""
        self.disk_delay_s = 0.0
        """How much later than usual the disk answers."""
        self.disk_refuses = False
        """The next ring number cannot be stored."""
        self.in_flight_survives = True
        """Whether what is being written at a crash is there after it. Files are replaced by renaming: old or new."""
        self.dislikes_until = 0.0
        """Until then no text is good enough for this host's configuration."""
        # The interface
        self.link_up = True
        self.choke_until = 0.0
        self.choke_share = 0.0
        """Until then this share of what is sent is lost: the send buffer is full."""
        # The clock: monotonic, of this machine alone.
        self._rate = 1.0
        self._offset = 0.0
        self._shown = 0.0
        self._stands_until = 0.0

    def clock(self, now: float) -> float:
        """What this machine's monotonic clock shows at world time `now`."""
        shown = now * self._rate + self._offset
        if shown > self._shown:
            self._shown = shown
        return self._shown

    def moment(self, clock: float) -> float:
        """The world time at which the clock will show `clock`; inf for never."""
        if self._rate == 1.0 and self._offset == 0.0:
            return clock
        return (clock - self._offset) / self._rate if clock not in (inf, -inf) else clock

    def set_rate(self, rate: float, now: float) -> None:
        """The clock runs at `rate` from here on; it shows the same as before."""
        shown = self.clock(now)
        self._rate = rate
        self._offset = shown - now * rate

    def jump(self, seconds: float) -> None:
        """The clock is suddenly later by so much."""
        self._offset += seconds

    def stand(self, seconds: float, now: float) -> None:
        """The machine does nothing for a while, and its clock stands."""
        self._offset -= seconds
        self._stands_until = now + seconds
        self.busy_until = max(self.busy_until, self._stands_until)

    def free_at(self, now: float) -> float:
        """When to look again whether the daemon is free; a pause may end sooner than planned."""
        return min(self.busy_until, now + LOOK_AGAIN_S)

    def chokes(self, now: float) -> bool:
        """Whether a packet that is sent now is lost for lack of buffer."""
        return now < self.choke_until and self.random.random() < self.choke_share

    def disk_answers_after(self) -> float:
        """How long a write takes, seconds."""
        random = self.random.random
        usual = 0.02 + 0.18 * random() if random() < 0.02 else 0.0001 + 0.003 * random()
        return usual + self.disk_delay_s

    def calm(self, now: float) -> None:
        """Nothing is slow, full, down or refused any more."""
        self.busy_until = min(self.busy_until, now)
        self._offset += max(0.0, self._stands_until - now)
        self._stands_until = 0.0
        self.slowness = 1.0
        self.disk_delay_s = 0.0
        self.disk_refuses = False
        self.dislikes_until = 0.0
        self.choke_until = 0.0
        self.set_rate(1.0, now)
