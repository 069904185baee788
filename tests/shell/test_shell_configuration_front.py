"""What clients ask of the replicated configuration: what they were told of is what is changed."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio

from totemd.cluster.change import Change
from totemd.errors import ServiceError
from totemd.services.changes.api import Outcome
from totemd.shell.configuration_files import FileState
from totemd.shell.configuration_front import ConfigurationFront

TEXT = "totem {{\n    version: 2\n    config_version: {0}\n}}\n"


def version(number: int) -> Change:
    return Change(bytes([number] * 16), "edit", number - 1, number, TEXT.format(number))


class Changes:
    """Version 3 is in force, version 2 was before."""

    def __init__(self) -> None:
        self.now = version(3)

    def current(self) -> Change:
        return self.now

    active = current

    def history(self) -> list[object]:
        return [SimpleNamespace(version=2, outcome="superseded", text=TEXT.format(2))]


class Proposer:
    """Tries again with what is in force by then, as the real one does."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self.proposed: list[str] = []

    async def propose(self, kind: str, compose: Any, **_: object) -> Outcome:
        self.proposed.append(compose(self._changes.now))
        self._changes.now = version(4)
        self.proposed.append(compose(self._changes.now))
        raise AssertionError("proposed again")


@pytest.mark.trio
async def test_going_back_does_not_undo_what_was_committed_meanwhile(nursery: trio.Nursery) -> None:
    changes = Changes()
    proposer = Proposer(changes)
    node = SimpleNamespace(set_time=lambda now: None)
    front = ConfigurationFront(
        cast(Any, node),
        cast(Any, changes),
        cast(Any, proposer),
        lambda: FileState("", edited=False, problem=""),
        lambda text: None,
        lambda: None,
    )
    await front.run(nursery)
    results: list[object] = []
    answered = trio.Event()

    def done(result: object) -> None:
        results.append(result)
        answered.set()

    front.roll_back(None, "somebody", done)
    await answered.wait()
    assert proposer.proposed == [TEXT.format(2)]
    (result,) = results
    assert isinstance(result, ServiceError)
    assert "it was made from version 3, and version 4 is in force" in str(result)
