"""Requests about who belongs to the cluster: invite, remove, leave. The node's shell carries them out."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from totemd.errors import Code, ServiceError
from totemd.ipc.arguments import BOOLEAN, Argument, Arguments, integer, text
from totemd.ipc.table import LATER, Request
from totemd.limits import TICKET_TTL_MAX_S, VOTES_MAX

if TYPE_CHECKING:
    from totemd.ipc.session import Session

NAME_CHARACTERS_MAX: Final = 255

Done: TypeAlias = Callable[[Mapping[str, object] | ServiceError], None]
"""Called once with the reply's value, or with why it was refused."""


class ClusterPort(Protocol):
    """Who carries them out. `who` says for the history who asks. ServiceError, or `done` with one: refused."""

    def invite(self, ttl_s: int, node_name: str | None, votes: int, done: Done) -> None:
        """Make a ticket for a node with so many votes at most: {ticket, expires, contacts}."""

    def remove(self, node: str, force: bool, who: str, done: Done) -> None:
        """Take another node out: {nodeid, name, version}."""

    def leave(self, who: str, done: Done) -> None:
        """Take this node out and end it: {nodeid, name, version}."""


class NotManaged:
    """Where the configuration is kept by hand."""

    def invite(self, ttl_s: int, node_name: str | None, votes: int, done: Done) -> None:
        raise _not_managed()

    def remove(self, node: str, force: bool, who: str, done: Done) -> None:
        raise _not_managed()

    def leave(self, who: str, done: Done) -> None:
        raise _not_managed()


def _not_managed() -> ServiceError:
    return ServiceError(
        Code.NOT_SUPPORTED,
        "this cluster's configuration is kept by hand: it has no totem.cluster_id (totemctl cluster create makes a "
        "cluster that has). Edit corosync.conf on all nodes instead",
    )


def who_asks(session: "Session") -> str:
    """The client, for the history."""
    return f"uid {session.credentials.uid} on node {session.services.node.nodeid}"


def check_may_change(session: "Session") -> None:
    """Only root and the daemon's own user decide who belongs to the cluster. ServiceError ACCESS."""
    if session.credentials.uid not in (0, session.services.access.own_uid):
        raise ServiceError(Code.ACCESS, "only root and the daemon's own user may do this")


def answer_by(session: "Session", ident: int) -> Done:
    """What answers the request `ident` when its work is done."""
    session.begin_later(ident)

    def done(result: Mapping[str, object] | ServiceError) -> None:
        if isinstance(result, ServiceError):
            session.refuse_later(ident, result.code, str(result))
        else:
            session.answer_later(ident, result)

    return done


def _invite(session: "Session", ident: int, given: Arguments) -> object:
    check_may_change(session)
    done = answer_by(session, ident)
    session.services.cluster.invite(given["ttl_s"], given["node_name"], given["votes"], done)
    return LATER


def _remove(session: "Session", ident: int, given: Arguments) -> object:
    check_may_change(session)
    done = answer_by(session, ident)
    session.services.cluster.remove(given["node"], given["force"], who_asks(session), done)
    return LATER


def _leave(session: "Session", ident: int, given: Arguments) -> object:
    check_may_change(session)
    session.services.cluster.leave(who_asks(session), answer_by(session, ident))
    return LATER


CLUSTER_REQUESTS = (
    Request(
        "cluster_invite",
        (
            Argument("ttl_s", integer(1, TICKET_TTL_MAX_S), False, 600),
            Argument("node_name", text(NAME_CHARACTERS_MAX), False, None),
            Argument("votes", integer(0, VOTES_MAX), False, 1),
        ),
        _invite,
    ),
    Request(
        "cluster_remove",
        (Argument("node", text(NAME_CHARACTERS_MAX)), Argument("force", BOOLEAN, False, False)),
        _remove,
    ),
    Request("cluster_leave", (), _leave),
)
