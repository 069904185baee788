"""Requests that act on nodes: kill, shutdown, reload."""

from typing import TYPE_CHECKING, Final

from totemd.errors import Code
from totemd.ipc.arguments import NODE_ID, Argument, Arguments, choice, text
from totemd.ipc.table import LATER, Request
from totemd.services.cfg import ShutdownKind

if TYPE_CHECKING:
    from totemd.ipc.session import Session

_SHUTDOWN_KINDS: Final = {kind.name.lower(): kind for kind in ShutdownKind}
_REASON_CHARACTERS_MAX: Final = 4096
"""The service allows less, in bytes, and says so."""


def _kill(session: "Session", ident: int, given: Arguments) -> object:
    session.services.cfg.kill_node(given["nodeid"], given["reason"])
    return {}


def _shutdown(session: "Session", ident: int, given: Arguments) -> object:
    session.begin_later(ident)

    def done(code: Code) -> None:
        if code is Code.OK:
            session.answer_later(ident, {})
        else:
            session.refuse_later(ident, code, "a client that was asked objects, or did not answer in time")

    session.services.cfg.try_shutdown(_SHUTDOWN_KINDS[given["kind"]], session.shutdown_caller, done)
    return LATER


def _reload(session: "Session", ident: int, given: Arguments) -> object:
    session.begin_later(ident)

    def done(error: str | None) -> None:
        if error is None:
            session.answer_later(ident, {})
        else:
            session.refuse_later(ident, Code.FAILED_OPERATION, error)

    session.services.cfg.reload(done)
    return LATER


CFG_REQUESTS = (
    Request(
        "kill",
        (Argument("nodeid", NODE_ID), Argument("reason", text(_REASON_CHARACTERS_MAX, empty=True), False, "")),
        _kill,
    ),
    Request("shutdown", (Argument("kind", choice(*_SHUTDOWN_KINDS), False, "request"),), _shutdown),
    Request("reload", (), _reload),
)
