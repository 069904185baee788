"""The statistics map: read-only keys of which nothing is stored (cmap_keys(7), section stats).

Every part of the daemon that counts is a `Source`; a key's value is what its source says when it is read. So the map
costs nothing until somebody looks. Trackers of one key look every 1.5 s; trackers of a prefix are told of keys that
appear and vanish as a whole (a client's connection), never of values.
"""

from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import Final, Protocol

from totemd.config.model import CmapEntry
from totemd.errors import Code, ServiceError
from totemd.services.base import Host, Listener
from totemd.services.cmap import rules
from totemd.services.cmap.tracking import ALL_KINDS, CmapChanged, Trackers, TrackKind

POLL_S: Final = 1.5
"""Between two looks at the keys that have trackers of their own."""

CLEAR_PREFIX: Final = "stats.clear."
_TIMER: Final = "statistics"


class Source(Protocol):
    """Some of the keys, all with one prefix of its own."""

    def names(self) -> Iterable[str]:
        """All keys there are, in ASCII order. Made one by one: many clients may be in the midst of them."""

    def find(self, key: str) -> CmapEntry | None:
        """A key's value now; None if there is no such key."""

    def clear(self) -> None:
        """Begin to count from nothing, where that makes sense."""


class Statistics:
    """Map 1 of the cmap service: the same requests as the configuration map, with rules of its own."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._sources: dict[str, Source] = {}
        self._clears: dict[str, tuple[Source, ...]] = {}
        self._trackers = Trackers()
        self._polled: dict[int, _Polled] = {}

    def add_source(self, prefix: str, source: Source, *, cleared_by: str) -> None:
        """Have all keys under `prefix` answered by `source`. Setting stats.clear.`cleared_by` (or .all) clears it."""
        self._sources = dict(sorted([*self._sources.items(), (prefix, source)], key=itemgetter(0)))
        for word in (cleared_by, "all"):
            self._clears[word] = (*self._clears.get(word, ()), source)

    # requests of clients

    def get(self, key: str) -> CmapEntry:
        """The key's value now. ServiceError: NOT_EXIST."""
        entry = self._find(key)
        if entry is None:
            raise ServiceError(Code.NOT_EXIST, f"there is no key {key}")
        return entry

    def set(self, key: str, entry: CmapEntry) -> None:
        """Set counters back: `stats.clear.` with totem, ipc, knet, schedmiss or all behind it; the value is any.

        ServiceError: NOT_SUPPORTED (nothing of that name can be cleared), ACCESS (any other key).
        """
        for source in self._clears.get(self._cleared_by(key), ()):
            source.clear()

    def check_writable(self, key: str) -> None:
        """ServiceError as `set` raises it."""
        self._cleared_by(key)

    def _cleared_by(self, key: str) -> str:
        if not key.startswith(CLEAR_PREFIX):
            raise ServiceError(Code.ACCESS, f"{key} is read-only")
        word = key.removeprefix(CLEAR_PREFIX)
        known = next((name for name in _CLEARABLE if word.startswith(name)), None)
        if known is None:
            raise ServiceError(Code.NOT_SUPPORTED, f"{key}: write one of {', '.join(_CLEARABLE)} behind stats.clear.")
        return known

    def delete(self, key: str) -> None:
        """Always a ServiceError: NOT_SUPPORTED for what can only be set, ACCESS."""
        if key.startswith(CLEAR_PREFIX):
            raise ServiceError(Code.NOT_SUPPORTED, f"{key} is no key; setting it clears statistics")
        raise ServiceError(Code.ACCESS, f"{key} is read-only")

    def adjust(self, key: str, step: int) -> None:
        """ServiceError ACCESS: statistics are read-only."""
        raise ServiceError(Code.ACCESS, f"{key} is read-only")

    def walk(self, prefix: str = "") -> Iterator[tuple[str, CmapEntry]]:
        """All keys with the prefix, in ASCII order; those that vanish before their turn comes are left out."""
        for source in self._with(prefix):
            for key in source.names():
                entry = source.find(key) if key.startswith(prefix) else None
                if entry is not None:
                    yield key, entry

    def iterate(self, prefix: str = "") -> list[tuple[str, CmapEntry]]:
        """A snapshot of all keys with the prefix, in ASCII order."""
        return list(self.walk(prefix))

    def track(self, listener: Listener, key: str, kinds: TrackKind = ALL_KINDS, *, prefix: bool = False) -> int:
        """Have `CmapChanged` pushed: for a key's values, every 1.5 s at most; for a prefix, of keys that come and go.

        ServiceError: NOT_SUPPORTED (a prefix without both ADD and DELETE), INVALID_PARAM (there is no such kind),
        NO_RESOURCES.
        """
        if prefix and (TrackKind.ADD not in kinds or TrackKind.DELETE not in kinds):
            raise ServiceError(Code.NOT_SUPPORTED, "a prefix of the statistics is tracked for ADD and DELETE")
        handle = self._trackers.add(listener, key, kinds, prefix)
        if not prefix:
            if not self._polled:
                self._arm()
            self._polled[handle] = _Polled(key, self._find(key))
        return handle

    def untrack(self, handle: int) -> None:
        """End one tracking. ServiceError: NOT_EXIST."""
        self._trackers.remove(handle)
        self._polled.pop(handle, None)

    def disconnect(self, listener: Listener) -> None:
        """End all trackings of the listener."""
        for handle in self._trackers.handles_of(listener):
            self.untrack(handle)

    # for the daemon itself

    def came(self, keys: Iterable[str]) -> None:
        """Tell the trackers of prefixes about keys that a source has now."""
        if self._trackers:
            for key in keys:
                entry = self._find(key)
                if entry is not None:
                    self._trackers.tell_prefixes(CmapChanged(TrackKind.ADD, key, entry, None))

    def goes(self, keys: Iterable[str]) -> None:
        """Tell the trackers of prefixes about keys that a source still has, but not for long."""
        if self._trackers:
            for key in keys:
                entry = self._find(key)
                if entry is not None:
                    self._trackers.tell_prefixes(CmapChanged(TrackKind.DELETE, key, None, entry))

    def _with(self, prefix: str) -> list[Source]:
        return [
            source for known, source in self._sources.items() if known.startswith(prefix) or prefix.startswith(known)
        ]

    def _find(self, key: str) -> CmapEntry | None:
        for prefix, source in self._sources.items():
            if key.startswith(prefix):
                return source.find(key)
        return None

    def _arm(self) -> None:
        self._host.set_timer(_TIMER, POLL_S, self._poll)

    def _poll(self) -> None:
        for handle, polled in list(self._polled.items()):
            entry = self._find(polled.key)
            change = rules.change_of(polled.key, polled.entry, entry)
            polled.entry = entry
            if change is not None:
                self._trackers.tell_one(handle, change)
        if self._polled:
            self._arm()


_CLEARABLE: Final = ("knet", "ipc", "totem", "schedmiss", "all")


class _Polled:
    """A key with a tracker of its own, and its value at the last look."""

    def __init__(self, key: str, entry: CmapEntry | None) -> None:
        self.key = key
        self.entry = entry
