"""Trio under a command: what fails comes out as itself, not in the exception groups of nurseries."""

from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import trio

T = TypeVar("T")


def run(main: Callable[[], Awaitable[T]]) -> T:
    """`trio.run(main)`. Of a group that ended it comes one exception: KeyboardInterrupt if that is in it, else the only
    one of all its tasks. Several others stay the group that they are."""
    try:
        return trio.run(main)
    except BaseExceptionGroup as group:
        single = _single(group)
        if single is None:
            raise
        raise single from None


def _single(group: BaseExceptionGroup[BaseException]) -> BaseException | None:
    leaves = list(_leaves(group))
    interrupted = [leaf for leaf in leaves if isinstance(leaf, KeyboardInterrupt)]
    return interrupted[0] if interrupted else leaves[0] if len(leaves) == 1 else None


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
