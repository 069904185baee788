"""Requests that change votes: expected, votes, cancel_wait_for_all."""

from typing import TYPE_CHECKING

from totemd.errors import Code, ServiceError
from totemd.ipc.arguments import BOOLEAN, NODE_ID, U32_MAX, Argument, Arguments, integer
from totemd.ipc.table import Request
from totemd.services.votequorum.forced import FORCED_S_MAX
from totemd.services.votequorum.service import VoteQuorum

if TYPE_CHECKING:
    from totemd.ipc.session import Session


def _provider(session: "Session") -> VoteQuorum:
    provider = session.services.votequorum
    if provider is None:
        raise ServiceError(
            Code.NOT_SUPPORTED, "nobody counts votes here: corosync.conf has no quorum.provider: corosync_votequorum"
        )
    return provider


def _expected(session: "Session", ident: int, given: Arguments) -> object:
    _provider(session).set_expected(given["votes"])
    return {}


def _force_expected(session: "Session", ident: int, given: Arguments) -> object:
    _provider(session).force_expected(given["votes"], given["seconds"], yes=given["yes"])
    return {}


def _votes(session: "Session", ident: int, given: Arguments) -> object:
    _provider(session).set_votes(given["nodeid"], given["votes"])
    return {}


def _cancel_wait_for_all(session: "Session", ident: int, given: Arguments) -> object:
    _provider(session).cancel_wait_for_all()
    return {}


QUORUM_REQUESTS = (
    Request("expected", (Argument("votes", integer(1, U32_MAX)),), _expected),
    Request(
        "force_expected",
        (
            Argument("votes", integer(1, U32_MAX)),
            Argument("seconds", integer(1, FORCED_S_MAX)),
            Argument("yes", BOOLEAN, False, False),
        ),
        _force_expected,
    ),
    Request("votes", (Argument("nodeid", NODE_ID), Argument("votes", integer(0, U32_MAX))), _votes),
    Request("cancel_wait_for_all", (), _cancel_wait_for_all),
)
