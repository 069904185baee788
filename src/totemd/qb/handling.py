"""What fronts share in handling requests: reading their fields, and answers that come later."""

from struct import Struct
from typing import Any

from totemd.errors import Code, ServiceError
from totemd.qb.api import Port


def demand_size(message: bytes, size: int) -> None:
    """INVALID_PARAM: the request is too short for its fields, which end at `size` bytes."""
    if len(message) < size:
        raise ServiceError(Code.INVALID_PARAM, f"the request has {len(message)} bytes; its fields need {size}")


def fields(layout: Struct, message: bytes) -> tuple[Any, ...]:
    """The fields of a request, whose header `layout` skips. INVALID_PARAM: the request is too short for them."""
    demand_size(message, layout.size)
    return layout.unpack_from(message)


def c_string(field: bytes) -> bytes:
    """What stands before the first NUL of a field. INVALID_PARAM: it has none."""
    text, end, _ = field.partition(b"\0")
    if not end:
        raise ServiceError(Code.INVALID_PARAM, "a name has no end within its field")
    return text


class Later:
    """The answer to one request, which may come while the request is being handled, or long after."""

    def __init__(self, port: Port) -> None:
        self._port = port
        self._open = False
        self._answer: bytes | None = None

    def give(self, message: bytes) -> None:
        """Answer. To be called once."""
        if self._open:
            self._port.respond(message)
        else:
            self._answer = message

    def leave_open(self) -> bytes | None:
        """What `Front.handle` returns: the answer, if it is there already."""
        self._open = True
        return self._answer
