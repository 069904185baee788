"""A node alone in its ring on trio's clock, for a front with real connections: no ring sockets, no disk."""

import os
import select
from typing import Protocol

import trio

from small_configuration import small_configuration
from totemd.node import Node
from totemd.node.effects import NodeEffect
from totemd.totem.effects import Log

QUICK = "token: 200\nconsensus: 240\njoin: 30"


class Front(Protocol):
    """What the loop has to do with a front."""

    @property
    def busy(self) -> bool: ...
    def ready(self, descriptor: int, events: int, /) -> None: ...
    def go_on(self) -> None: ...
    def flush(self) -> None: ...


class TrioNode:
    """The node, what it logs, and the loop that drives it and `front`, whose descriptors are in `epoll`."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.node = Node(
            small_configuration("127.0.0.1", totem=QUICK),
            stored_ring_seq=0,
            tracked_expected_votes=None,
            incarnation="a1",
            own_uid=os.geteuid(),
            random=lambda: 0.5,
            emit=self._emit,
            now=trio.current_time(),
        )
        self.epoll = select.epoll()
        self.front: Front
        self._moved = trio.Event()

    def _emit(self, effect: NodeEffect) -> None:
        if isinstance(effect, Log):
            self.log.append(effect.text)

    def pump(self) -> None:
        """What a front calls after each input of a client."""
        self.front.flush()
        self._moved.set()

    async def run(self) -> None:
        """Drive the node until cancelled."""
        self.node.start(trio.current_time())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen)
            await self._drive()

    async def _listen(self) -> None:
        while True:
            await trio.lowlevel.wait_readable(self.epoll.fileno())
            for descriptor, events in self.epoll.poll(0):
                self.front.ready(descriptor, events)

    async def _drive(self) -> None:
        while True:
            self._moved = trio.Event()
            if self.front.busy:
                self.front.go_on()
            with trio.CancelScope(deadline=max(self.node.next_deadline(), 0.0)):
                await self._moved.wait()
            if self.node.next_deadline() <= trio.current_time():
                self.node.handle_timer(trio.current_time())
                self.front.flush()
