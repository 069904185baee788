"""Typed arguments of requests: what a client may write, and what it is told when it wrote something else.

Every error names the request, the argument, what was found and what is allowed, because the reader of that text is a
person who typed a command or wrote a client.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Final, TypeAlias

from totemd.errors import CallerError
from totemd.record import record

Arguments: TypeAlias = dict[str, Any]
"""Checked and converted values by name; optional arguments that were not given have their default."""

SHOWN_CHARACTERS_MAX: Final = 80
"""Of a wrong value, in an error text."""

U32_MAX: Final = 2**32 - 1
I64_MIN: Final = -(2**63)
U64_MAX: Final = 2**64 - 1


class BadRequest(CallerError):
    """The request is not one of ours, or its arguments are not what it takes: code "bad_request"."""


@record
class Kind:
    """A type of argument. `convert` returns the value to use, or raises ValueError."""

    allowed: str
    convert: Callable[[object], Any]


@record
class Argument:
    """One argument. Not required means: `default` when it is absent or None."""

    name: str
    kind: Kind
    required: bool = True
    default: object = None


def integer(low: int, high: int) -> Kind:
    """A whole number within bounds, both included; booleans are none."""

    def convert(value: object) -> int:
        if type(value) is not int or not low <= value <= high:
            raise ValueError
        return value

    return Kind(f"an integer from {low} to {high}", convert)


def choice(*words: str) -> Kind:
    """One of these words."""

    def convert(value: object) -> str:
        if type(value) is not str or value not in words:
            raise ValueError
        return value

    return Kind("one of " + ", ".join(f'"{word}"' for word in words), convert)


def text(characters_max: int, *, empty: bool = False) -> Kind:
    """A string of bounded length."""

    def convert(value: object) -> str:
        if type(value) is not str or len(value) > characters_max or not (value or empty):
            raise ValueError
        return value

    return Kind(f"a string of {0 if empty else 1} to {characters_max} characters", convert)


def _octets(value: object) -> bytes:
    if type(value) is bytes:
        return value
    if type(value) is str:
        return value.encode()
    raise ValueError


def _boolean(value: object) -> bool:
    if type(value) is not bool:
        raise ValueError
    return value


def _scalar(value: object) -> int | float | str | bytes:
    if type(value) is int or type(value) is float or type(value) is str or type(value) is bytes:
        return value
    raise ValueError


BYTES: Final = Kind("bytes, or a string (taken as UTF-8)", _octets)
BOOLEAN: Final = Kind("true or false", _boolean)
SCALAR: Final = Kind("a number, a string or bytes", _scalar)
NODE_ID: Final = integer(1, U32_MAX)
IDENT: Final = integer(0, U64_MAX)
"""A request's id."""


def check_arguments(request: str, specification: Iterable[Argument], given: Mapping[Any, object]) -> Arguments:
    """Check and convert `given`; BadRequest names the first argument that is wrong, unknown or missing."""
    checked: Arguments = {}
    known = 0
    for argument in specification:
        value = given.get(argument.name)
        if argument.name in given:
            known += 1
        if value is None:
            if argument.required:
                allowed = argument.kind.allowed
                raise BadRequest(f'{request}: argument "{argument.name}" is missing; it must be {allowed}')
            checked[argument.name] = argument.default
            continue
        try:
            checked[argument.name] = argument.kind.convert(value)
        except ValueError:
            raise BadRequest(
                f'{request}: argument "{argument.name}" is {shown(value)}; it must be {argument.kind.allowed}'
            ) from None
    if known != len(given):
        _refuse_unknown(request, [argument.name for argument in specification], given)
    return checked


def _refuse_unknown(request: str, names: list[str], given: Mapping[Any, object]) -> None:
    unknown = next(name for name in given if name not in names)
    takes = f"it takes {', '.join(names)}" if names else "it takes none"
    raise BadRequest(f"{request}: unknown argument {shown(unknown)}{suggestion(unknown, names)}; {takes}")


def suggestion(word: object, known: Collection[str]) -> str:
    """A question in brackets if one of `known` is near `word`, else nothing."""
    if type(word) is not str:
        return ""
    near = get_close_matches(word[:SHOWN_CHARACTERS_MAX], known, n=1)
    return f' (did you mean "{near[0]}"?)' if near else ""


def shown(value: object) -> str:
    """A client's value for an error text: its type and the beginning of it."""
    if value is None:
        return "null"
    if type(value) is str:
        return f'"{_cut(value)}"'
    if type(value) is bytes:
        return f"bytes {_cut(repr(value[:SHOWN_CHARACTERS_MAX]))}"
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) is int or type(value) is float:
        return f"the number {value}"
    if type(value) is dict:
        return f"a map of {len(value)} entries"
    return f"a {type(value).__name__}"


def _cut(word: str) -> str:
    return word if len(word) <= SHOWN_CHARACTERS_MAX else word[:SHOWN_CHARACTERS_MAX] + "..."
