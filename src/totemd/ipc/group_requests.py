"""Requests about process groups: cpg_join, cpg_leave, cpg_multicast, cpg_members, cpg_groups."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from totemd.errors import Code, ServiceError
from totemd.ipc.arguments import BOOLEAN, BYTES, U32_MAX, Argument, Arguments, choice, integer
from totemd.ipc.events import member_map
from totemd.ipc.frames import Frame
from totemd.ipc.subscriptions import GroupSubscription
from totemd.ipc.table import Request
from totemd.limits import CPG_DATA_MAX
from totemd.services.cpg import EndpointState

if TYPE_CHECKING:
    from totemd.ipc.session import Session

_GROUP = Argument("group", BYTES)


def _join(session: "Session", ident: int, given: Arguments) -> object:
    group: bytes = given["group"]
    pid = session.credentials.pid if given["pid"] is None else given["pid"]
    cpg = session.services.cpg
    present = session.groups.get(group)
    if present is not None and cpg.state(present) is not EndpointState.LEAVE_STARTED:
        raise ServiceError(Code.EXIST, "this connection is in the group already")
    endpoint = GroupSubscription(session, ident, group, pid)
    session.check_subscription(ident)
    cpg.join(endpoint, group, pid)
    session.subscriptions[ident] = endpoint
    session.groups[group] = endpoint
    return {}


def _leave(session: "Session", ident: int, given: Arguments) -> object:
    endpoint = _endpoint(session, given["group"])
    try:
        session.services.cpg.leave(endpoint)
    except ServiceError as error:
        if error.code is Code.BUSY:
            # so that the client hears when to ask again
            raise ServiceError(Code.TRY_AGAIN, str(error)) from None
        raise
    return {}


def _multicast(session: "Session", ident: int, given: Arguments) -> object:
    endpoint = _endpoint(session, given["group"])
    session.services.cpg.multicast(endpoint, given["data"], safe=given["guarantee"] == "safe")
    return {}


def multicast_at_once(session: "Session", frame: Frame) -> bool:
    """The hot path of cpg_multicast. False: something is unusual, nothing has been done, go the way that explains."""
    given = frame.get("with")
    if type(given) is not dict or len(frame) != 3:
        return False
    data = given.get("data")
    group = given.get("group")
    if type(data) is not bytes or type(group) is not bytes:
        return False
    endpoint = session.groups.get(group)
    if endpoint is None:
        return False
    guarantee = given.get("guarantee")
    if guarantee == "agreed" and len(given) == 3:
        session.services.cpg.multicast(endpoint, data)
        return True
    if guarantee == "safe" and len(given) == 3:
        session.services.cpg.multicast(endpoint, data, safe=True)
        return True
    return False


def is_quiet(frame: Frame) -> bool:
    """Whether a request is a multicast that has no reply when it is queued, and waits when it cannot be."""
    given = frame.get("with")
    return type(given) is dict and given.get("quiet") is True and frame.get("do") == "cpg_multicast"


def multicast_together(session: "Session", frames: Sequence[Frame]) -> int:
    """Queue quiet multicasts that stand at the beginning, as far as they are for one group, in agreed order, all right
    and have room; how many. The next one goes the way that explains."""
    group = frames[0]["with"].get("group")
    endpoint = session.groups.get(group) if type(group) is bytes else None
    if endpoint is None:
        return 0
    found = []
    for frame in frames:
        given = frame.get("with")
        if type(given) is not dict or not _is_plain(frame, given) or given.get("group") != group:
            break
        found.append(given["data"])
    return session.services.cpg.multicast_all(endpoint, found) if found else 0


def _is_plain(frame: Frame, given: Frame) -> bool:
    """Whether a request is a quiet multicast without anything to explain."""
    ident, data = frame.get("id"), given.get("data")
    return (
        len(frame) == 3
        and len(given) == 4
        and given.get("quiet") is True
        and given.get("guarantee") == "agreed"
        and frame.get("do") == "cpg_multicast"
        and type(ident) is int
        and 0 <= ident <= U32_MAX
        and type(data) is bytes
        and len(data) <= CPG_DATA_MAX
    )


def _members(session: "Session", ident: int, given: Arguments) -> object:
    return {"members": [member_map(member) for member in session.services.cpg.members(given["group"])]}


def _groups(session: "Session", ident: int, given: Arguments) -> object:
    return {
        "groups": [
            {"group": group.group, "members": [member_map(member) for member in group.members]}
            for group in session.services.cpg.groups()
        ]
    }


def _endpoint(session: "Session", group: bytes) -> GroupSubscription:
    endpoint = session.groups.get(group)
    if endpoint is None:
        raise ServiceError(Code.NOT_EXIST, "this connection is not in the group; join it with cpg_join")
    return endpoint


GROUP_REQUESTS = (
    Request("cpg_join", (_GROUP, Argument("pid", integer(0, U32_MAX), required=False)), _join),
    Request("cpg_leave", (_GROUP,), _leave),
    Request(
        "cpg_multicast",
        (
            _GROUP,
            Argument("data", BYTES),
            Argument("guarantee", choice("agreed", "safe"), False, "agreed"),
            Argument("quiet", BOOLEAN, False, False),
        ),
        _multicast,
    ),
    Request("cpg_members", (_GROUP,), _members),
    Request("cpg_groups", (), _groups),
)
