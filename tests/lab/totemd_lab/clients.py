"""What tests do with a totemd node's clients, step by step."""

import time

from totemd.client import blocking
from totemd.client.records import Delivered, MembersChanged
from totemd_lab.nodes import Node, TotemdNode


def connect(node: Node) -> blocking.BlockingClient:
    """A client of that node."""
    assert isinstance(node, TotemdNode)
    return blocking.connect(node.socket)


def wait_members(group: blocking.BlockingGroup, count: int, timeout_s: float = 5.0) -> None:
    """Take events until the group has `count` members. A join is granted before it has its place in the order."""
    deadline = time.monotonic() + timeout_s
    while (event := group.next_event(max(0.0, deadline - time.monotonic()))) is not None:
        if isinstance(event, MembersChanged) and len(event.members) == count:
            return
    raise AssertionError(f"the group has not got {count} members within {timeout_s} s")


def deliveries(group: blocking.BlockingGroup, count: int, timeout_s: float) -> list[Delivered]:
    """The next messages, up to `count`; fewer when no more come within `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    found: list[Delivered] = []
    while len(found) < count and (event := group.next_event(max(0.0, deadline - time.monotonic()))) is not None:
        if isinstance(event, Delivered):
            found.append(event)
    return found
