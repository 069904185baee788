"""Requests of clients that take time: carried out in a task of their own, and answered whatever becomes of them."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

import trio

from totemd.cluster.removal import NodeRuns
from totemd.errors import Code, MachineError, OperatorError, ServiceError
from totemd.ipc.cluster_requests import Done
from totemd.node import Node

Work: TypeAlias = Callable[[], Awaitable[Mapping[str, object]]]


async def answer(node: Node, pump: Callable[[], None], work: Work, done: Done) -> None:
    """Do `work`, and tell `done` what it gives, or why it failed: the daemon does not end because of it."""
    try:
        result: Mapping[str, object] | ServiceError = await work()
    except ServiceError as error:
        result = error
    except NodeRuns as error:
        result = ServiceError(Code.EXIST, str(error))
    except (OperatorError, MachineError) as error:
        result = ServiceError(Code.FAILED_OPERATION, str(error))
    node.set_time(trio.current_time())
    done(result)
    pump()
