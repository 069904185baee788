"""The one decorator for wire records, events and effects.

A record is a slotted dataclass that the type checker treats as frozen. It is not frozen at run time because a frozen
dataclass pays `object.__setattr__` per field, about six times the construction cost, on every packet.

Of the methods only the constructor is compiled for each class. `dataclass` compiles each of them, and with a hundred
classes that was a tenth of the daemon's start; attrgetter compares and hashes all fields nearly as fast.
"""

from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from operator import attrgetter
from typing import Any, TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def record(cls: type[T]) -> type[T]:
    """Make `cls` a slotted, hashable value class; immutable to the type checker. Defaults are values, not factories."""
    make: Callable[[type[T]], Any] = dataclass(init=False, repr=False, eq=False, slots=True)
    made = make(cls)
    names = tuple(field.name for field in fields(made))
    values: Callable[[object], object] = attrgetter(*names) if names else lambda _: ()

    def __eq__(self: object, other: object) -> bool:  # noqa: N807 - becomes the class's method
        return values(self) == values(other) if self.__class__ is other.__class__ else NotImplemented

    def __hash__(self: object) -> int:  # noqa: N807
        return hash(values(self))

    made.__init__, made.__eq__, made.__hash__, made.__repr__ = _constructor(made), __eq__, __hash__, _repr
    result: type[T] = made
    return result


def _constructor(made: Any) -> Callable[..., None]:
    """`__init__` with the fields as parameters, in their order."""
    parameters, lines, defaults = ["self"], [], {}
    for field in fields(made):
        default = ""
        if field.default is not MISSING:
            default = f"=default_{field.name}"
            defaults[f"default_{field.name}"] = field.default
        parameters.append(field.name + default)
        lines.append(f" self.{field.name} = {field.name}\n")
    # The names are those of fields in our own source.
    exec(f"def __init__({', '.join(parameters)}):\n{''.join(lines) or ' pass'}", defaults)
    made_init: Callable[..., None] = defaults["__init__"]
    made_init.__qualname__ = f"{made.__qualname__}.__init__"
    return made_init


def _repr(self: Any) -> str:
    values = ", ".join(f"{field.name}={getattr(self, field.name)!r}" for field in fields(self))
    return f"{type(self).__qualname__}({values})"
