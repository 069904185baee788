"""Service "cfg": links, kills, shutdown with the clients' consent, reload (protocol/, "Library messages")."""

from collections.abc import Callable
from enum import IntEnum
from struct import Struct
from typing import Final

from totemd.errors import Code, ServiceError
from totemd.ipc.services import Services
from totemd.qb.api import Port, QbService
from totemd.qb.codec import response
from totemd.qb.handling import Later, fields
from totemd.services.base import ServiceId
from totemd.services.cfg import RELOAD_REFUSED, ShutdownKind, ShutdownTested
from totemd.services.links import NodeStatus, packed_address


class Request(IntEnum):
    """Ids of the requests."""

    RINGSTATUSGET = 0
    RINGREENABLE = 1
    KILLNODE = 2
    TRYSHUTDOWN = 3
    REPLYTOSHUTDOWN = 4
    GET_NODE_ADDRS = 5
    LOCAL_GET = 6
    RELOAD_CONFIG = 7
    REOPEN_LOG_FILES = 8
    NODESTATUSGET = 9
    TRACKSTART = 10
    TRACKSTOP = 11


class Reply(IntEnum):
    """Ids of responses, and of the one event."""

    RINGSTATUSGET = 0
    RINGREENABLE = 1
    TRACKSTART = 2
    TRACKSTOP = 3
    KILLNODE = 8
    TRYSHUTDOWN = 9
    TESTSHUTDOWN = 10
    GET_NODE_ADDRS = 11
    LOCAL_GET = 12
    REPLYTOSHUTDOWN = 13
    RELOAD_CONFIG = 14
    REOPEN_LOG_FILES = 15
    NODESTATUSGET = 16


LINKS_MAX: Final = 16
"""Links in the response to RINGSTATUSGET."""

STATUS_LINKS: Final = 8
"""Links in a node's status."""

NODE_STATUS_VERSION: Final = 1
LINK_OK: Final = b"OK"
"""All that a transport without redundancy says of its link."""

SHUTDOWN_AGREED: Final = 1

FAMILY_IPV4: Final = 2
FAMILY_IPV6: Final = 10

_NODEID: Final = Struct("=16xI")
_KILLNODE: Final = Struct("=16xI4xH256s6x")
_FLAGS: Final = Struct("=16xI")
_NODESTATUSGET: Final = Struct("=16xI4xI")
_LINK_COUNT: Final = Struct("=I4x")
_LINK_NAME: Final = Struct("=128s")
_LINK_STATUS: Final = Struct("=512s")
_ADDRESSES: Final = Struct("=II")
_ADDRESS: Final = Struct("=16s")
_LOCAL: Final = Struct("=I4x")
_NODE_STATUS: Final = Struct("=II6B2x")
_STATUS_LINK: Final = Struct("=3BxI256s256s")
_NO_STATUS_SIZE: Final = 8
_TESTSHUTDOWN: Final = Struct("=I4x")


class CfgFront:
    """One connection."""

    def __init__(self, services: Services, port: Port) -> None:
        self._cfg = services.cfg
        self._port = port
        self._handlers: Final[dict[int, Callable[[bytes], bytes | None]]] = {
            Request.RINGSTATUSGET: self._ring_status,
            Request.RINGREENABLE: self._ring_reenable,
            Request.KILLNODE: self._kill_node,
            Request.TRYSHUTDOWN: self._try_shutdown,
            Request.REPLYTOSHUTDOWN: self._reply_to_shutdown,
            Request.GET_NODE_ADDRS: self._node_addresses,
            Request.LOCAL_GET: self._local_get,
            Request.RELOAD_CONFIG: self._reload,
            Request.REOPEN_LOG_FILES: self._reopen_logs,
            Request.NODESTATUSGET: self._node_status,
            Request.TRACKSTART: self._track_start,
            Request.TRACKSTOP: self._track_stop,
        }

    def handle(self, function: int, message: bytes) -> bytes | None:
        """Serve a request (see `totemd.qb.api.Front`)."""
        return self._handlers[function](message)

    def close(self) -> None:
        """As a voter the client agrees; a shutdown that it has asked for is off."""
        self._cfg.disconnect(self)

    def push(self, event: object) -> None:
        """Queue a question about a shutdown, or that its time is over.

        libcfg makes a question of both, so a client is not told when nobody wants the shutdown any more.
        """
        if isinstance(event, ShutdownTested) and not event.caller_gone:
            code = Code.TIMEOUT if event.cancelled else Code.OK
            self._port.send_event(response(Reply.TESTSHUTDOWN, code, _TESTSHUTDOWN.pack(event.kind)))

    # nodes and links

    def _ring_status(self, message: bytes) -> bytes:
        links = self._cfg.links()[:LINKS_MAX]
        names = b"".join(_LINK_NAME.pack(f"{link.number} {link.address}".encode()) for link in links)
        states = b"".join(_LINK_STATUS.pack(LINK_OK) for link in links)
        body = _LINK_COUNT.pack(len(links))
        body += names.ljust(LINKS_MAX * _LINK_NAME.size, b"\0") + states.ljust(LINKS_MAX * _LINK_STATUS.size, b"\0")
        return response(Reply.RINGSTATUSGET, body=body)

    def _ring_reenable(self, message: bytes) -> bytes:
        return response(Reply.RINGREENABLE, Code.NOT_SUPPORTED)

    def _node_addresses(self, message: bytes) -> bytes:
        (nodeid,) = fields(_NODEID, message)
        try:
            addresses = [packed_address(address) for address in self._cfg.addresses(nodeid)]
        except ServiceError as error:
            return response(Reply.GET_NODE_ADDRS, error.code, bytes(_ADDRESSES.size))
        family = FAMILY_IPV6 if addresses[0][0] else FAMILY_IPV4
        body = _ADDRESSES.pack(family, len(addresses)) + b"".join(_ADDRESS.pack(packed) for _, packed in addresses)
        return response(Reply.GET_NODE_ADDRS, body=body)

    def _local_get(self, message: bytes) -> bytes:
        return response(Reply.LOCAL_GET, body=_LOCAL.pack(self._cfg.local_nodeid))

    def _node_status(self, message: bytes) -> bytes:
        nodeid, version = fields(_NODESTATUSGET, message)
        if version != NODE_STATUS_VERSION:
            return response(Reply.NODESTATUSGET, Code.NOT_SUPPORTED, bytes(_NO_STATUS_SIZE))
        return response(Reply.NODESTATUSGET, body=_node_status_body(self._cfg.node_status(nodeid)))

    # what takes nodes down

    def _kill_node(self, message: bytes) -> bytes:
        nodeid, length, value = fields(_KILLNODE, message)
        if length > len(value):
            raise ServiceError(Code.INVALID_PARAM, f"a reason of {length} bytes does not fit into its field")
        reason = value[:length].partition(b"\0")[0].decode("utf-8", "replace")
        self._cfg.kill_node(nodeid, reason)
        return response(Reply.KILLNODE)

    def _try_shutdown(self, message: bytes) -> bytes | None:
        (flags,) = fields(_FLAGS, message)
        try:
            kind = ShutdownKind(flags)
        except ValueError:
            raise ServiceError(Code.INVALID_PARAM, f"there is no shutdown of kind {flags}") from None
        later = Later(self._port)
        self._cfg.try_shutdown(kind, self, lambda code: later.give(response(Reply.TRYSHUTDOWN, code)))
        return later.leave_open()

    def _reply_to_shutdown(self, message: bytes) -> bytes:
        (answer,) = fields(_FLAGS, message)
        self._cfg.reply_to_shutdown(self, agreed=answer == SHUTDOWN_AGREED)
        return response(Reply.REPLYTOSHUTDOWN)

    def _track_start(self, message: bytes) -> bytes:
        self._cfg.track_start(self)
        return response(Reply.TRACKSTART)

    def _track_stop(self, message: bytes) -> bytes:
        self._cfg.track_stop(self)
        return response(Reply.TRACKSTOP)

    # files

    def _reload(self, message: bytes) -> bytes | None:
        later = Later(self._port)

        def done(error: str | None) -> None:
            later.give(response(Reply.RELOAD_CONFIG, Code.OK if error is None else RELOAD_REFUSED))

        self._cfg.reload(done)
        return later.leave_open()

    def _reopen_logs(self, message: bytes) -> bytes:
        self._cfg.reopen_logs()
        return response(Reply.REOPEN_LOG_FILES)


def _node_status_body(status: NodeStatus) -> bytes:
    """Version 1 of a node's status: its one link first, zeros for all that are not there."""
    reachable = int(status.reachable)
    head = _NODE_STATUS.pack(NODE_STATUS_VERSION, status.nodeid, reachable, 0, 0, 0, 0, 0)
    link = b""
    if status.address is not None:
        link = _STATUS_LINK.pack(1, reachable, 0, status.mtu_bytes, status.address.encode(), b"")
    return head + link.ljust(STATUS_LINKS * _STATUS_LINK.size, b"\0")


SERVICE: Final[QbService] = QbService(
    name="cfg",
    service_id=ServiceId.CFG,
    functions=len(Request),
    flow_controlled=frozenset(
        (
            Request.RINGSTATUSGET,
            Request.RINGREENABLE,
            Request.KILLNODE,
            Request.TRYSHUTDOWN,
            Request.REPLYTOSHUTDOWN,
            Request.RELOAD_CONFIG,
            Request.TRACKSTART,
            Request.TRACKSTOP,
        )
    ),
    unanswered=frozenset(),
    make=CfgFront,
)
