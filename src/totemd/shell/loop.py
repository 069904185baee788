"""The loop under trio: one epoll in which the daemon sleeps, and from which datagrams and requests are handled at once.

trio asks its instruments before it goes to sleep; this one sleeps in its place. Its epoll holds the ring's sockets, the
clients' and trio's own epoll. What concerns the ring or a client is handled here, without a task being woken; as soon
as trio has something to do (its epoll is readable, a task is due or was made runnable by what was handled here) it gets
its turn. With no limit but the next deadline on the sleep an idle daemon stays asleep.
"""

import os
import select
from collections.abc import Callable
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import Final

import trio

from totemd.node import Node
from totemd.node.arrival import Datagram
from totemd.shell.clients import Clients
from totemd.shell.qb_clients import QbClients
from totemd.shell.stalls import Stalls
from totemd.shell.transport import Transport

EVENTS_MAX: Final = 256
"""Descriptors looked at together; with more the kernel lets each have its turn."""

CLIENTS_TURN_S: Final = 0.0003
"""How long clients that want something together may keep the ring from its turn; at least one is served."""

BLIND_S: Final = 0.005
"""How long trio may have to wait where its epoll cannot be found."""


class Loop(trio.abc.Instrument):
    """Serves the ring and its clients in one trio run, from `run` on until cancelled. One in a run at most."""

    def __init__(
        self,
        node: Node,
        transport: Transport,
        clients: Clients,
        qb: QbClients,
        epoll: select.epoll,
        pump: Callable[[], None],
        stalls: Stalls,
        *,
        busy_poll_s: float,
    ) -> None:
        """`epoll` has the transport's and the clients' descriptors. `pump` is called after each input of the node.
        `busy_poll_s`: for how long after any of them the processor is kept, asking the kernel for the next."""
        self._node = node
        self._transport = transport
        self._clients = clients
        self._qb = qb
        self._epoll = epoll
        self._pump = pump
        self._stalls = stalls
        self._busy_poll_s = busy_poll_s
        self._spin_until = 0.0
        self.deadline_stale = True
        """Set by whoever may have changed when the node wants to be called."""
        self._deadline = 0.0
        """When the node wanted to be called, by the last look at it. Tokens only move it away: it is looked at again
        when it comes true."""
        self._served_last = -1
        """The client's descriptor behind which the next turn begins, if there is not time for all."""
        self._left_at = inf
        self._trio_wanted = False
        self._trio_descriptor = -1
        self._bell = -1
        self._failure: BaseException | None = None

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled. What a handler raises is raised here."""
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(self._answer_bell)
                self._trio_descriptor = watching_epoll(self._bell)
                if self._trio_descriptor >= 0:
                    self._epoll.register(self._trio_descriptor, select.EPOLLIN)
                trio.lowlevel.add_instrument(self)
                task_status.started()
        finally:
            self._end()

    def _end(self) -> None:
        with suppress(KeyError):
            trio.lowlevel.remove_instrument(self)
        if self._trio_descriptor >= 0:
            self._epoll.unregister(self._trio_descriptor)
        os.close(self._bell)

    async def _answer_bell(self, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        while True:
            await trio.lowlevel.wait_readable(self._bell)
            os.eventfd_read(self._bell)
            if self._failure is not None:
                raise self._failure

    # -- what trio calls ---------------------------------------------------------------------------------------------

    def task_scheduled(self, task: trio.lowlevel.Task) -> None:
        """A task became runnable; if it is because of something that was handled here, it shall not wait."""
        self._trio_wanted = True

    def before_io_wait(self, timeout: float) -> None:
        """Sleep for `timeout` seconds in trio's place."""
        if self._failure is not None:
            return
        try:
            if self._serve(timeout) and timeout > 0:
                # Else trio would begin to sleep now.
                os.eventfd_write(self._bell, 1)
        except BaseException as error:
            # trio would log it and go on without us.
            self._failure = error
            os.eventfd_write(self._bell, 1)

    # -- within ------------------------------------------------------------------------------------------------------

    def _serve(self, timeout: float) -> bool:
        """Handle what comes until trio wants its turn. False: it knows of that by itself."""
        # trio.current_time is this behind two more calls.
        clock, poll = trio.lowlevel.current_clock().current_time, self._epoll.poll
        transport = self._transport
        receive_token, pass_token = transport.receive_token, self._node.pass_plain_token
        output, events, qb, clients = self._node.front.with_output, self._qb.unannounced, self._qb, self._clients
        core = self._node.ring.core
        stalls = self._stalls
        if self._trio_descriptor < 0:
            timeout = min(timeout, BLIND_S)
        self._trio_wanted = False
        now = clock()
        if now - self._left_at > stalls.bound_s:
            stalls.add(now - self._left_at, "was busy with other than the ring, or not scheduled,")
        trios_turn = now + timeout
        while True:
            if self.deadline_stale:
                self.deadline_stale = False
                self._deadline = self._node.next_deadline()
            until = self._deadline if self._deadline < trios_turn else trios_turn
            if until <= now or now < self._spin_until or qb.busy or clients.busy:
                ready = poll(0, EVENTS_MAX)
                now = clock()
            else:
                ready = poll(until - now, EVENTS_MAX)
                now = clock()
                if now - until > stalls.bound_s:
                    stalls.add(now - until, "was not scheduled")
            token, trio_ready = None, False
            if ready:
                if self._busy_poll_s:
                    self._spin_until = now + self._busy_poll_s
                if ready[0][0] == transport.token_descriptor:
                    token = receive_token()
            # Most visits of the token end here.
            if token is not None and len(ready) == 1 and now < self._deadline and pass_token(*token, now):
                if output or events or transport.unsent or core.wanted or core.parked:
                    self._pump()
                elif core.merge_deadline < self._deadline:
                    # That one and the parked token's come nearer.
                    self._deadline = core.merge_deadline
            else:
                trio_ready = self._handle(ready, token, now)
            woken, now = now, clock()
            if now - woken > stalls.bound_s:
                stalls.add(now - woken, "was busy with what had arrived, or not scheduled,")
            if trio_ready or self._trio_wanted or now >= trios_turn:
                self._left_at = now
                return not trio_ready

    def _handle(self, ready: list[tuple[int, int]], token: Datagram | None, now: float) -> bool:
        """Handle what is `ready`, a `token` that has been read already, timers, and some of what clients have asked
        for before. Whether trio's epoll is among it."""
        transport, trio_ready = self._transport, False
        tokens, data = False, False
        wanting: list[tuple[int, int]] = []
        for entry in ready:
            descriptor = entry[0]
            if descriptor == transport.data_descriptor:
                data = True
            elif descriptor == transport.token_descriptor:
                tokens = token is None
            elif descriptor == self._trio_descriptor:
                trio_ready = True
            else:
                wanting.append(entry)
        if tokens or data or token is not None:
            self._receive(token, now, tokens=tokens, data=data)
        if self._deadline <= now:
            self._deadline = self._node.next_deadline()
            if self._deadline <= now:
                self._node.handle_timer(now)
                self._pump()
        if wanting or self._qb.busy or self._clients.busy:
            self._serve_clients(wanting)
        return trio_ready

    def _receive(self, token: Datagram | None, now: float, *, tokens: bool, data: bool) -> None:
        node = self._node
        datagrams, exhausted = self._transport.receive(node.has_all_up_to, token, tokens=tokens, data=data)
        if datagrams:
            node.receive_datagrams(datagrams, now, exhausted=exhausted)
            self._pump()
        else:
            # The seal may have heard something of its own.
            self.deadline_stale = True

    def _serve_clients(self, ready: list[tuple[int, int]]) -> None:
        """Some of what clients want: the token must not wait for all of them."""
        qb, clients, clock = self._qb, self._clients, trio.current_time
        end = clock() + CLIENTS_TURN_S
        if qb.busy:
            qb.go_on()
        if clients.busy:
            clients.go_on()
        if len(ready) > 1:
            last = self._served_last
            ready.sort(key=lambda entry: (entry[0] <= last, entry[0]))
        for descriptor, events in ready:
            # By what was handled before it the connection may have ended.
            if descriptor in qb.by_descriptor:
                qb.ready(descriptor, events)
            elif descriptor in clients.by_descriptor:
                clients.ready(descriptor, events)
            self._served_last = descriptor
            if clock() >= end:
                return
        while qb.busy and clock() < end:
            qb.go_on()


def watching_epoll(descriptor: int) -> int:
    """The epoll of this process that watches `descriptor`, as proc(5) shows it; -1 if none is seen."""
    try:
        entries = list(Path("/proc/self/fdinfo").iterdir())
    except OSError:
        return -1
    for entry in entries:
        # What was open for the listing alone is gone by now.
        with suppress(OSError):
            for line in entry.read_text().splitlines():
                words = line.split()
                if len(words) > 1 and words[0] == "tfd:" and words[1] == str(descriptor):
                    return int(entry.name)
    return -1
