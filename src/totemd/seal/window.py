"""The replay window: each counter counts once (chapter "Sealed datagrams", section "Replay")."""

from array import array
from typing import Final

WINDOW_SIZE: Final = 4096
"""Datagrams by which one may be late. A receiver's socket holds some thousand of them, while a token of the same
sender overtakes them in another socket."""
_MASK: Final = WINDOW_SIZE - 1


class Window:
    """Which counters of a session were seen. Each place remembers the last counter that belongs there, so taking one
    costs the same whatever was lost or late."""

    __slots__ = ("_highest", "_places")

    def __init__(self, start: int) -> None:
        """Counters up to `start` count as seen."""
        # 32 KiB, whatever arrives; a list of as many integers would take five times that.
        self._places = array("Q", (start,)) * WINDOW_SIZE
        self._highest = start

    def take(self, counter: int) -> bool:
        """Whether `counter` is new and not older than the window; it is not new again."""
        places = self._places
        place = counter & _MASK
        if places[place] >= counter:
            return False
        highest = self._highest
        if counter > highest:
            self._highest = counter
        elif counter + WINDOW_SIZE <= highest:
            return False
        places[place] = counter
        return True
