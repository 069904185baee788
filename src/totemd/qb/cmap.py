"""The library cmap: the configuration map and the statistics, for corosync's own clients (chapter "Library messages").

A connection looks at one of the two maps at a time. Its iterators and trackers are of the map that it looked at when
it made them, and it may look at the other one only while it has none of either.
"""

from collections.abc import Callable, Iterator
from struct import Struct
from typing import Final, Protocol

from totemd.config.model import CmapEntry
from totemd.errors import Code, ServiceError
from totemd.ipc.services import Services
from totemd.limits import QB_ITERATORS_MAX, QB_REPLY_VALUE_MAX, QB_TRACKERS_MAX
from totemd.qb.api import Port, QbService
from totemd.qb.cmap_values import NAME, decode_name, decode_value, encode_name, encode_value, value_size
from totemd.qb.codec import REQUEST_HEADER, response
from totemd.qb.handling import demand_size
from totemd.record import record
from totemd.services.base import Listener, ServiceId
from totemd.services.cmap import CmapChanged, TrackKind

TRACK_PREFIX: Final = 8
"""The bit of a track request that makes its key a prefix; the others are those of `TrackKind`."""

NOTIFY: Final = 9
"""The id of the one event."""

_NAME_AT: Final = REQUEST_HEADER.size
_FIELDS_AT: Final = _NAME_AT + NAME.size
_HANDLE: Final = Struct("=Q")
_SET: Final = Struct("=QB7x")
_SIZE: Final = Struct("=Q")
_STEP: Final = Struct("=i4x")
_TRACK: Final = Struct("=i4xQ")
_MAP: Final = Struct("=i4x")
_GOT: Final = Struct("=QB7x")
_NOTIFIED: Final = Struct("=i4xB7xB7xQQ")


class Map(Protocol):
    """What both maps can do; see `services.cmap.Cmap` and `services.cmap.Statistics`."""

    def get(self, key: str) -> CmapEntry: ...

    def check_writable(self, key: str) -> None: ...

    def set(self, key: str, entry: CmapEntry) -> None: ...

    def delete(self, key: str) -> None: ...

    def adjust(self, key: str, step: int) -> None: ...

    def walk(self, prefix: str = "") -> Iterator[tuple[str, CmapEntry]]: ...

    def track(self, listener: Listener, key: str, kinds: TrackKind = ..., *, prefix: bool = False) -> int: ...

    def untrack(self, handle: int) -> None: ...


class _Tracker:
    """One tracking of a client: it tells the client its own handle with every change."""

    def __init__(self, port: Port, client_handle: int) -> None:
        self._port = port
        self.client_handle = client_handle

    def push(self, event: object) -> None:
        """Send a change of a key."""
        if type(event) is CmapChanged:
            self._port.send_event(encode_notification(self.client_handle, event))


def encode_notification(client_handle: int, change: CmapChanged) -> bytes:
    """The event of a changed key; a side that there is not has type 0 and length 0."""
    new = b"" if change.new is None else encode_value(change.new)
    old = b"" if change.old is None else encode_value(change.old)
    new_type = 0 if change.new is None else change.new.type.value
    old_type = 0 if change.old is None else change.old.type.value
    fields = _NOTIFIED.pack(change.kind, new_type, old_type, len(new), len(old))
    return response(NOTIFY, Code.OK, _HANDLE.pack(client_handle) + encode_name(change.key) + fields + new + old)


class CmapFront:
    """One connection to the service cmap."""

    def __init__(self, services: Services, port: Port) -> None:
        self._port = port
        self._maps: tuple[Map, ...] = (services.cmap, services.cmap.statistics)
        self._map = self._maps[0]
        self._handles = 0
        self._iterators: dict[int, Iterator[tuple[str, CmapEntry]]] = {}
        self._trackers: dict[int, tuple[int, _Tracker]] = {}
        """The map's handle of each, by the client's."""

    def handle(self, function: int, message: bytes) -> bytes | None:
        """Serve a request; every one has exactly one response, of its full size also when it is refused."""
        request = _REQUESTS[function]
        try:
            demand_size(message, request.size_min)
            body = request.serve(self, message)
        except ServiceError as error:
            return response(request.response_id, error.code, bytes(request.body_size))
        return response(request.response_id, Code.OK, body)

    def close(self) -> None:
        """Forget the client's iterators and trackers."""
        self._iterators.clear()
        for there, _ in self._trackers.values():
            self._map.untrack(there)
        self._trackers.clear()

    def _set(self, message: bytes) -> bytes:
        size, kind = _SET.unpack_from(message, _FIELDS_AT)
        start = _FIELDS_AT + _SET.size
        if size > len(message) - start:
            raise ServiceError(Code.INVALID_PARAM, "the request ends before its value")
        key = decode_name(message, _NAME_AT)
        self._map.check_writable(key)  # before the value is looked at: this is what a client is told first
        self._map.set(key, decode_value(kind, message[start : start + size]))
        return b""

    def _delete(self, message: bytes) -> bytes:
        self._map.delete(decode_name(message, _NAME_AT))
        return b""

    def _get(self, message: bytes) -> bytes:
        (room,) = _SIZE.unpack_from(message, _FIELDS_AT)
        entry = self._map.get(decode_name(message, _NAME_AT))
        value = encode_value(entry)
        if room == 0:  # only type and length are wanted
            return _GOT.pack(len(value), entry.type.value)
        if room < len(value):
            raise ServiceError(Code.INVALID_PARAM, f"the value has {len(value)} bytes")
        return _GOT.pack(len(value), entry.type.value) + value.ljust(min(room, QB_REPLY_VALUE_MAX), b"\0")

    def _adjust(self, message: bytes) -> bytes:
        (step,) = _STEP.unpack_from(message, _FIELDS_AT)
        self._map.adjust(decode_name(message, _NAME_AT), step)
        return b""

    def _iterator_init(self, message: bytes) -> bytes:
        if len(self._iterators) >= QB_ITERATORS_MAX:
            raise ServiceError(Code.NO_SECTIONS, f"there are {QB_ITERATORS_MAX} iterators already")
        iterator = self._map.walk(decode_name(message, _NAME_AT))
        handle = self._new_handle()
        self._iterators[handle] = iterator
        return _HANDLE.pack(handle)

    def _iterator_next(self, message: bytes) -> bytes:
        key, entry = next(self._iterator(message), (None, None))
        if key is None or entry is None:
            raise ServiceError(Code.NO_SECTIONS, "there are no more keys")
        return encode_name(key) + _GOT.pack(value_size(entry), entry.type.value)

    def _iterator_finalize(self, message: bytes) -> bytes:
        self._iterator(message)
        del self._iterators[_handle_of(message)]
        return b""

    def _iterator(self, message: bytes) -> Iterator[tuple[str, CmapEntry]]:
        iterator = self._iterators.get(_handle_of(message))
        if iterator is None:
            raise ServiceError(Code.BAD_HANDLE, "there is no such iterator")
        return iterator

    def _track_add(self, message: bytes) -> bytes:
        bits, client_handle = _TRACK.unpack_from(message, _FIELDS_AT)
        if bits & ~(TRACK_PREFIX | 7):
            raise ServiceError(Code.INVALID_PARAM, f"track type {bits} has bits that mean nothing")
        if len(self._trackers) >= QB_TRACKERS_MAX:
            raise ServiceError(Code.NO_RESOURCES, f"there are {QB_TRACKERS_MAX} trackers already")
        key = decode_name(message, _NAME_AT)
        tracker = _Tracker(self._port, client_handle)
        kinds = TrackKind(bits & ~TRACK_PREFIX)
        there = self._map.track(tracker, key, kinds, prefix=bool(bits & TRACK_PREFIX))
        handle = self._new_handle()
        self._trackers[handle] = there, tracker
        return _HANDLE.pack(handle)

    def _track_delete(self, message: bytes) -> bytes:
        handle = _handle_of(message)
        if handle not in self._trackers:
            raise ServiceError(Code.BAD_HANDLE, "there is no such tracker")
        there, tracker = self._trackers.pop(handle)
        self._map.untrack(there)
        return _HANDLE.pack(tracker.client_handle)

    def _set_current_map(self, message: bytes) -> bytes:
        if self._iterators or self._trackers:
            raise ServiceError(Code.BUSY, "iterators or trackers are open")
        (number,) = _MAP.unpack_from(message, _NAME_AT)
        if not 0 <= number < len(self._maps):
            raise ServiceError(Code.NOT_EXIST, f"there is no map {number}")
        self._map = self._maps[number]
        return b""

    def _new_handle(self) -> int:
        self._handles += 1
        return self._handles


def _handle_of(message: bytes) -> int:
    handle: int = _HANDLE.unpack_from(message, _NAME_AT)[0]
    return handle


@record
class _Request:
    size_min: int
    response_id: int
    body_size: int
    """Of the response, header aside, when the request is refused."""
    serve: Callable[[CmapFront, bytes], bytes]


_BY_HANDLE: Final = REQUEST_HEADER.size + _HANDLE.size
_REQUESTS: Final = (
    _Request(_FIELDS_AT + _SET.size, 0, 0, CmapFront._set),
    _Request(_FIELDS_AT, 1, 0, CmapFront._delete),
    _Request(_FIELDS_AT + _SIZE.size, 2, _GOT.size, CmapFront._get),
    _Request(_FIELDS_AT + _STEP.size, 3, 0, CmapFront._adjust),
    _Request(_FIELDS_AT, 4, _HANDLE.size, CmapFront._iterator_init),
    _Request(_BY_HANDLE, 5, NAME.size + _GOT.size, CmapFront._iterator_next),
    _Request(_BY_HANDLE, 6, 0, CmapFront._iterator_finalize),
    _Request(_FIELDS_AT + _TRACK.size, 7, _HANDLE.size, CmapFront._track_add),
    _Request(_BY_HANDLE, 8, _HANDLE.size, CmapFront._track_delete),
    _Request(REQUEST_HEADER.size + _MAP.size, 10, 0, CmapFront._set_current_map),
)

SERVICE: Final[QbService] = QbService(
    name="cmap",
    service_id=ServiceId.CMAP,
    functions=len(_REQUESTS),
    flow_controlled=frozenset(),
    unanswered=frozenset(),
    make=CmapFront,
)
