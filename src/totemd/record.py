"""The one decorator for wire records, events and effects.

A record is a slotted dataclass that the type checker treats as frozen. It is not frozen at run time because a frozen
dataclass pays `object.__setattr__` per field, about six times the construction cost, on every packet.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def record(cls: type[T]) -> type[T]:
    """Make `cls` a slotted, hashable value class; immutable to the type checker."""
    make: Callable[[type[T]], Any] = dataclass(slots=True, unsafe_hash=True)
    result: type[T] = make(cls)
    return result
