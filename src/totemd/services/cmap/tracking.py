"""Who wants to know of which key's changes."""

from collections.abc import Iterator
from enum import IntFlag
from itertools import count

from totemd.config.model import CmapEntry
from totemd.errors import Code, ServiceError
from totemd.limits import CMAP_TRACKERS_MAX
from totemd.record import record
from totemd.services.base import Listener


class TrackKind(IntFlag):
    """Kinds of changes, with the bits of cmap_track_add(3)."""

    DELETE = 1
    MODIFY = 2
    ADD = 4


ALL_KINDS = TrackKind.DELETE | TrackKind.MODIFY | TrackKind.ADD


@record
class CmapChanged:
    """A key was added (`old` is None), modified or deleted (`new` is None); `kind` is exactly one kind."""

    kind: TrackKind
    key: str
    new: CmapEntry | None
    old: CmapEntry | None


@record
class _Tracker:
    listener: Listener
    key: str
    kinds: TrackKind
    prefix: bool

    def wants(self, change: CmapChanged) -> bool:
        if not self.kinds & change.kind:
            return False
        return change.key.startswith(self.key) if self.prefix else change.key == self.key

    def meets(self, prefix: str) -> bool:
        """Whether it tracks a key that begins with the prefix."""
        return self.key.startswith(prefix) or (self.prefix and prefix.startswith(self.key))


class Trackers:
    """All trackers, by handle; they are told in the order in which they came."""

    def __init__(self) -> None:
        self._trackers: dict[int, _Tracker] = {}
        self._handles: Iterator[int] = count(1)

    def __bool__(self) -> bool:
        return bool(self._trackers)

    def add(self, listener: Listener, key: str, kinds: TrackKind, prefix: bool) -> int:
        """Returns the handle. NO_RESOURCES if there are too many, INVALID_PARAM for kinds that are none."""
        if int(kinds) & ~int(ALL_KINDS):
            raise ServiceError(Code.INVALID_PARAM, "a change is an add, a modify or a delete")
        if len(self._trackers) >= CMAP_TRACKERS_MAX:
            raise ServiceError(Code.NO_RESOURCES, f"there are {CMAP_TRACKERS_MAX} trackers already")
        handle = next(self._handles)
        self._trackers[handle] = _Tracker(listener, key, kinds, prefix)
        return handle

    def remove(self, handle: int) -> None:
        """NOT_EXIST if there is none of that handle."""
        if self._trackers.pop(handle, None) is None:
            raise ServiceError(Code.NOT_EXIST, f"no tracker has the handle {handle}")

    def handles_of(self, listener: Listener) -> list[int]:
        """The handles of all trackers of the listener."""
        return [handle for handle, tracker in self._trackers.items() if tracker.listener is listener]

    def forget(self, listener: Listener) -> None:
        """Remove all trackers of the listener."""
        for handle in self.handles_of(listener):
            del self._trackers[handle]

    def want_any_of(self, prefix: str) -> bool:
        """Whether somebody tracks a key that begins with the prefix, or may."""
        return any(tracker.meets(prefix) for tracker in self._trackers.values())

    def tell(self, change: CmapChanged) -> None:
        """Push the change to everybody who wants it."""
        for tracker in list(self._trackers.values()):
            if tracker.wants(change):
                tracker.listener.push(change)

    def tell_prefixes(self, change: CmapChanged) -> None:
        """Push the change to everybody who wants it because of a prefix."""
        for tracker in list(self._trackers.values()):
            if tracker.prefix and tracker.wants(change):
                tracker.listener.push(change)

    def tell_one(self, handle: int, change: CmapChanged) -> None:
        """Push the change to one tracker, if it is there and wants it."""
        tracker = self._trackers.get(handle)
        if tracker is not None and tracker.wants(change):
            tracker.listener.push(change)
