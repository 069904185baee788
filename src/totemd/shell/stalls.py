"""A self-check: times in which the daemon's loop should have run and did not, or took too long for what it did."""

from collections.abc import Callable
from typing import Final

import trio

QUIET_S: Final = 10.0
"""A line about a stall is not followed by another one for so long."""


class Stalls:
    """Counts stalls, and tells of them. `bound_s` is where they begin."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self.bound_s = 1.0
        self.count = 0
        self.longest_s = 0.0
        self._untold = 0
        self._quiet_until = 0.0

    def add(self, length_s: float, what: str) -> None:
        """The loop stood still for `length_s`; `what` it was doing completes "this process"."""
        self.count += 1
        self.longest_s = max(self.longest_s, length_s)
        now = trio.current_time()
        if now < self._quiet_until:
            self._untold += 1
            return
        self._quiet_until = now + QUIET_S
        more = f"; {self._untold} more since the last such line" if self._untold else ""
        self._untold = 0
        self._log(f"this process {what} for {length_s * 1000:.0f} ms: the ring had to wait{more}")

    def statistics(self) -> dict[str, object]:
        """For `stats`."""
        return {"count": self.count, "longest_ms": round(self.longest_s * 1000, 1)}
