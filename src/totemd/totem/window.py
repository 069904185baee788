"""The live messages of one ring, by sequence number (protocol/, chapter "Ordering").

A message stays from its arrival until every member is known to have it. The window never spans more than
SEQUENCE_WINDOW numbers above what has been released: real nodes stop (assert) beyond that.
"""

from collections.abc import Iterator

from totemd.limits import SEQUENCE_WINDOW
from totemd.wire.packets import Mcast


class Window:
    """Messages with numbers in (released, released + SEQUENCE_WINDOW)."""

    __slots__ = ("items", "released")

    def __init__(self) -> None:
        self.items: dict[int, Mcast] = {}
        """Who adds here makes sure of `in_range` and that the number is new."""
        self.released = 0

    def __len__(self) -> int:
        return len(self.items)

    def __contains__(self, seq: int) -> bool:
        return seq in self.items

    def in_range(self, seq: int) -> bool:
        """Whether `seq` may be stored."""
        return self.released < seq < self.released + SEQUENCE_WINDOW

    def get(self, seq: int) -> Mcast | None:
        """The message with number `seq`, if it is held."""
        return self.items.get(seq)

    def add(self, seq: int, message: Mcast) -> bool:
        """Store a message; False if it is out of range or already there."""
        if seq in self.items or not self.released < seq < self.released + SEQUENCE_WINDOW:
            return False
        self.items[seq] = message
        return True

    def contiguous_from(self, seq: int) -> int:
        """The highest number reached from `seq` (which counts as held) without a hole."""
        items = self.items
        seq += 1
        while seq in items:
            seq += 1
        return seq - 1

    def missing(self, above: int, up_to: int) -> Iterator[int]:
        """Numbers in (above, up_to] that are not held, as far as the window reaches."""
        items = self.items
        for seq in range(above + 1, min(up_to, self.released + SEQUENCE_WINDOW - 1) + 1):
            if seq not in items:
                yield seq

    def held(self, above: int, up_to: int) -> Iterator[tuple[int, Mcast]]:
        """Held messages with numbers in (above, up_to], ascending."""
        for seq in range(max(above, self.released) + 1, min(up_to, self.released + SEQUENCE_WINDOW - 1) + 1):
            message = self.items.get(seq)
            if message is not None:
                yield seq, message

    def release(self, up_to: int) -> int:
        """Forget messages up to `up_to`; gives how many numbers the window moved."""
        moved = up_to - self.released
        if moved <= 0:
            return 0
        if moved > len(self.items):
            for seq in [seq for seq in self.items if seq <= up_to]:
                del self.items[seq]
        else:
            for seq in range(self.released + 1, up_to + 1):
                self.items.pop(seq, None)
        self.released = up_to
        return moved
