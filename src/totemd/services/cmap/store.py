"""The key/value map itself: typed entries in the order of their keys, and the news of every change."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator

from totemd.config.model import CmapEntry
from totemd.services.cmap.rules import size_of
from totemd.services.cmap.tracking import CmapChanged, TrackKind


class Store:
    """Knows no rules: names and values have been checked."""

    def __init__(self) -> None:
        self._entries: dict[str, CmapEntry] = {}
        self._keys: list[str] = []
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, key: str) -> CmapEntry | None:
        """The key's entry, if it has one."""
        return self._entries.get(key)

    def put(self, key: str, entry: CmapEntry) -> CmapChanged | None:
        """Add or modify; None if nothing changes."""
        old = self._entries.get(key)
        if old == entry:
            return None
        if old is None:
            insort(self._keys, key)
        else:
            self.bytes -= size_of(key, old)
        self.bytes += size_of(key, entry)
        self._entries[key] = entry
        return CmapChanged(TrackKind.ADD if old is None else TrackKind.MODIFY, key, entry, old)

    def drop(self, key: str) -> CmapChanged | None:
        """Delete; None if there is no such key."""
        old = self._entries.pop(key, None)
        if old is None:
            return None
        del self._keys[bisect_left(self._keys, key)]
        self.bytes -= size_of(key, old)
        return CmapChanged(TrackKind.DELETE, key, None, old)

    def with_prefix(self, prefix: str) -> list[tuple[str, CmapEntry]]:
        """All entries whose keys begin with the prefix, in ASCII order of the keys."""
        found = []
        for index in range(bisect_left(self._keys, prefix), len(self._keys)):
            key = self._keys[index]
            if not key.startswith(prefix):
                break
            found.append((key, self._entries[key]))
        return found

    def walk(self, prefix: str) -> Iterator[tuple[str, CmapEntry]]:
        """As `with_prefix`, one by one: it goes on behind the last key, whatever has come and gone meanwhile."""
        index = bisect_left(self._keys, prefix)
        while index < len(self._keys) and self._keys[index].startswith(prefix):
            key = self._keys[index]
            yield key, self._entries[key]
            index = bisect_right(self._keys, key)
