"""The type of the request table's rows; the rows stand with their handlers, the table in `requests`."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from totemd.ipc.arguments import Argument, Arguments
from totemd.record import record

if TYPE_CHECKING:
    from totemd.ipc.session import Session

Handler: TypeAlias = "Callable[[Session, int, Arguments], object]"
"""Called with the request's id and its checked arguments; returns the reply's value, or LATER.

May raise ServiceError and BadRequest, which become the error reply.
"""


@record
class Request:
    """One request of protocol/, chapter "Native socket"."""

    name: str
    arguments: tuple[Argument, ...]
    handle: Handler


class _Later:
    """The type of LATER."""


LATER: Final = _Later()
"""Returned by a handler that has arranged for its reply: `Session.answer_later` or `refuse_later` will send it."""
