"""What a checker is."""

from collections.abc import Callable, Iterator
from typing import TypeAlias

from totemd.record import record
from totemd.sim.checkers.chronicle import Chronicle
from totemd.sim.history import Limits

Finding: TypeAlias = tuple[str, float]
"""What is wrong, and when it showed."""


@record
class Checker:
    """One property: its name, the sentences of the specification that promise it, and the function that finds where a
    history breaks it."""

    name: str
    anchor: str
    find: Callable[[Chronicle, Limits], Iterator[Finding]]
