"""The client's side of the native socket without any IO (protocol/, chapter "native socket").

    caller -> request() -> bytes for the socket
    bytes from the socket -> append() -> take() -> Welcome | Reply | Pushed | Ready | None (no whole frame yet)
    the socket ended -> ended() -> the exception that says why

One `ClientProtocol` serves one connection; both faces of the client, trio and blocking, drive the same class.
"""

import os
from typing import Any, Final, TypeAlias

from totemd.client.errors import ConnectionLost, CutOff, ProtocolError, Refused, refusal
from totemd.client.records import Event, Welcome, decode_event, decode_welcome
from totemd.client.requests import Request
from totemd.errors import BadFrame
from totemd.ipc.frames import REPLY_BOUNDS, FrameDecoder, encode_frame
from totemd.limits import CLIENT_BACKLOG_BYTES_MAX
from totemd.record import record

PROTOCOL_VERSION: Final = 1

POST: Final = 0
"""The id of all requests that have no reply."""

QUIET: Final = "quiet"
"""The daemon's word for multicasts without a reply."""

DEFAULT_SOCKET: Final = "/run/totemd/totemd.sock"
SOCKET_VARIABLE: Final = "TOTEMD_SOCKET"

QUEUED_BYTES_PAUSE: Final = 8 * 1024 * 1024
"""Events waiting in the client past which it stops reading the socket, unless a reply is awaited."""

QUEUED_BYTES_MAX: Final = CLIENT_BACKLOG_BYTES_MAX
"""Events waiting in the client past which it gives up: it awaits replies but does not take its events."""

EVENT_COST_BYTES: Final = 256
"""What a queued event occupies besides its frame's bytes, roughly."""


@record
class Reply:
    """The answer to the request `id`: its value, or the refusal."""

    id: int
    value: object
    error: Refused | None


@record
class Pushed:
    """An event of the subscription that request `of` made; `cost_bytes` is what it occupies while it waits."""

    of: int
    event: Event
    cost_bytes: int


@record
class Ready:
    """What was answered with try_again may be asked again."""


Incoming: TypeAlias = Welcome | Reply | Pushed | Ready


def socket_path(path: str | os.PathLike[str] | None) -> str:
    """`path` if given, else what TOTEMD_SOCKET says, else the default."""
    return os.fspath(path) if path is not None else os.environ.get(SOCKET_VARIABLE) or DEFAULT_SOCKET


class ClientProtocol:
    """One connection, from its hello to its end."""

    def __init__(self, client_name: str) -> None:
        self._name = client_name
        self._decoder = FrameDecoder(REPLY_BOUNDS)
        self._next_id = 1
        self._closing_reason: str | None = None
        self.welcome: Welcome | None = None

    def hello(self) -> bytes:
        """The bytes that open the connection."""
        return encode_frame({"hello": {"protocol": PROTOCOL_VERSION, "client": self._name}})

    def request(self, request: Request[Any]) -> tuple[int, bytes]:
        """A new id and the bytes to send; Refused (too_big) if the request exceeds a frame."""
        request_id = self._next_id
        self._next_id += 1
        return request_id, _encode(request_id, request)

    def post(self, request: Request[None]) -> bytes:
        """The bytes of a request that has no reply but a refusal, which comes with the id POST; else as `request`."""
        return _encode(POST, request)

    @property
    def may_post(self) -> bool:
        """Whether the daemon knows quiet multicasts."""
        return self.welcome is not None and QUIET in self.welcome.features

    def append(self, data: bytes) -> None:
        """Take bytes that came from the socket."""
        self._decoder.append(data)

    def take(self) -> Incoming | None:
        """The next thing that came, None if there is none. Raises ProtocolError, Refused or CutOff: all final."""
        while True:
            before = self._decoder.buffered_bytes
            try:
                frame = self._decoder.take()
            except BadFrame as error:
                raise ProtocolError(f"the daemon sent no valid frame: {error}") from None
            if frame is None:
                return None
            incoming = self._read(frame, before - self._decoder.buffered_bytes)
            if incoming is not None:
                return incoming

    def ended(self, detail: str = "") -> ConnectionLost:
        """The connection has ended, by the daemon's word or without one."""
        if self._closing_reason is not None:
            return CutOff(self._closing_reason)
        return ConnectionLost(f"the daemon closed the connection{': ' + detail if detail else ''}")

    def _read(self, frame: dict[str, Any], size_bytes: int) -> Incoming | None:
        if self.welcome is None:
            return self._read_welcome(frame)
        if "event" in frame:
            return self._read_event(frame, size_bytes)
        if isinstance(frame.get("id"), int):
            error = _error(frame["error"]) if "error" in frame else None
            return Reply(frame["id"], frame.get("ok"), error)
        if "error" in frame:
            raise CutOff(str(_error(frame["error"])))
        raise ProtocolError(f"a frame of an unknown kind: {', '.join(sorted(frame)) or 'empty'}")

    def _read_welcome(self, frame: dict[str, Any]) -> Welcome:
        if "error" in frame:
            error = _error(frame["error"])
            if error.code == "protocol":
                raise ProtocolError(f"the daemon does not speak protocol {PROTOCOL_VERSION}: {error.message}")
            raise error
        if "hello" not in frame:
            raise ProtocolError("the other end of the socket is not totemd: it did not answer our hello")
        self.welcome = decode_welcome(frame["hello"])
        return self.welcome

    def _read_event(self, frame: dict[str, Any], size_bytes: int) -> Incoming | None:
        name, data = frame["event"], frame.get("data")
        if name == "ready":
            return Ready()
        if name == "closing":
            reason = data.get("reason") if isinstance(data, dict) else None
            self._closing_reason = str(reason or "no reason given")
            return None
        event = decode_event(str(name), data)
        if event is None:
            return None
        of = frame.get("of")
        if not isinstance(of, int):
            raise ProtocolError(f"event {name!r} does not say which subscription it is of")
        return Pushed(of, event, size_bytes + EVENT_COST_BYTES)


def _encode(request_id: int, request: Request[Any]) -> bytes:
    try:
        return encode_frame({"id": request_id, "do": request.do, "with": request.arguments})
    except BadFrame as error:
        raise Refused("too_big", str(error)) from None
    except (OverflowError, ValueError, TypeError) as error:
        raise Refused("bad_request", f"{request.do}: {error}") from None


def _error(value: object) -> Refused:
    if not isinstance(value, dict):
        raise ProtocolError("an error of an unknown form")
    return refusal(str(value.get("code", "unknown")), str(value.get("message", "")))


def too_many_events() -> ConnectionLost:
    """The failure of a client that lets events pile up while it awaits replies."""
    return ConnectionLost(f"events were not taken: more than {QUEUED_BYTES_MAX} bytes waited in this client")


def why_not_connected(path: str, error: OSError) -> str:
    """One line for the person at the terminal: which socket, what is wrong, what to do."""
    if isinstance(error, FileNotFoundError):
        return (
            f"no daemon at {path}: there is no such socket. "
            f"Start totemd, or name its socket with --socket or {SOCKET_VARIABLE}"
        )
    if isinstance(error, ConnectionRefusedError):
        return f"no daemon at {path}: nobody listens there (it may have been killed). Start totemd again"
    if isinstance(error, PermissionError):
        return (
            f"permission denied on {path}: only root and the daemon's own user may use it, "
            "and whoever a uidgid section of corosync.conf names"
        )
    if isinstance(error, TimeoutError):
        return f"the daemon at {path} does not answer. Look at its log; if it hangs, restart it"
    return f"cannot use {path}: {error.strerror or error}"
