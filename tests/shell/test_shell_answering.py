"""What takes time is answered whatever becomes of it."""

from typing import Any, cast

import pytest

from totemd.cluster.removal import NodeRuns
from totemd.errors import Code, MachineError, OperatorError, ServiceError
from totemd.shell.answering import answer

pytestmark = pytest.mark.trio


class Node:
    def set_time(self, now: float) -> None:
        self.now = now


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ServiceError(Code.NO_RESOURCES, "no quorum"), Code.NO_RESOURCES),
        (NodeRuns("it runs"), Code.EXIST),
        (OperatorError("wrong"), Code.FAILED_OPERATION),
        (MachineError("the disk is full"), Code.FAILED_OPERATION),
    ],
)
async def test_a_failure_is_an_answer(error: Exception, code: Code) -> None:
    answers: list[Any] = []

    async def work() -> dict[str, object]:
        raise error

    await answer(cast("Any", Node()), lambda: answers.append("pumped"), work, answers.append)
    assert answers[1:] == ["pumped"]
    assert isinstance(answers[0], ServiceError)
    assert (answers[0].code, str(answers[0])) == (code, str(error))


async def test_success() -> None:
    answers: list[Any] = []

    async def work() -> dict[str, object]:
        return {"version": 3}

    await answer(cast("Any", Node()), lambda: None, work, answers.append)
    assert answers == [{"version": 3}]
