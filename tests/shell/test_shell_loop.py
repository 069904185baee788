"""The loop under trio with parts that do what the test says: who has its turn when, and that nobody is forgotten."""

import os
import select
import threading
from collections.abc import Callable, Iterator
from math import inf
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio

from totemd.shell import loop as loop_module
from totemd.shell.loop import Loop, watching_epoll
from totemd.shell.stalls import Stalls

WAIT_S = 5.0
FLOOD = 40


class Bare:
    """A node without a ring, and all else that a loop needs: what is written to `token` is a token's visit."""

    def __init__(self) -> None:
        self.deadline = inf
        self.did: list[object] = []
        self.epoll = select.epoll()
        self.token_descriptor, self.token = os.pipe()
        self.data_descriptor = -1
        self.epoll.register(self.token_descriptor, select.EPOLLIN)
        self.by_descriptor: dict[int, object] = {}
        self.unsent: list[bytes] = []
        self.with_output: dict[object, None] = {}
        self.unannounced: dict[object, None] = {}
        self.busy = False
        self.ring = SimpleNamespace(core=SimpleNamespace(wanted=False, parked=False, merge_deadline=inf))
        self.front = self
        self.on_token: Callable[[], None] = lambda: None
        self.on_client: Callable[[], None] = lambda: None
        self.stall_lines: list[str] = []
        self.stalls = Stalls(self.stall_lines.append)
        me, nobody = cast(Any, self), cast(Any, NoClients())
        self.loop = Loop(me, me, nobody, me, self.epoll, self.pump, self.stalls, busy_poll_s=0.0)

    def pump(self) -> None:
        self.loop.deadline_stale = True

    def next_deadline(self) -> float:
        return self.deadline

    def handle_timer(self, now: float) -> None:
        self.did.append("timer")
        self.deadline = inf

    def receive_token(self) -> tuple[bytes, str]:
        return os.read(self.token_descriptor, 1), ""

    def pass_plain_token(self, data: bytes, source: str, now: float) -> bool:
        self.did.append("token")
        self.on_token()
        return True

    def has_all_up_to(self, seq: int) -> bool:
        return True

    def receive(self, *arguments: object, **more: object) -> tuple[list[object], bool]:
        self.did.append("token")
        self.on_token()
        return [], True

    def ready(self, descriptor: int, events: int) -> None:
        self.did.append(descriptor)
        self.on_client()

    def add_clients(self) -> list[int]:
        """Clients that want something for ever."""
        ends = [os.eventfd(1) for _ in range(FLOOD)]
        for end in ends:
            self.by_descriptor[end] = None
            self.epoll.register(end, select.EPOLLIN)
        return ends

    def close(self) -> None:
        self.epoll.close()
        for descriptor in (self.token_descriptor, self.token, *self.by_descriptor):
            os.close(descriptor)


class NoClients:
    busy = False
    by_descriptor: tuple[int, ...] = ()


@pytest.fixture
def bare() -> Iterator[Bare]:
    made = Bare()
    yield made
    made.close()


@pytest.fixture(params=["nested", "blind"])
def seeing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """trio's epoll is found, or not."""
    if request.param == "blind":
        monkeypatch.setattr(loop_module, "watching_epoll", lambda descriptor: -1)


@pytest.mark.trio
@pytest.mark.usefixtures("seeing")
async def test_tasks_have_their_turn(bare: Bare, nursery: trio.Nursery) -> None:
    await nursery.start(bare.loop.run)
    with trio.fail_after(WAIT_S):
        await trio.sleep(0.02)
        assert await trio.to_thread.run_sync(lambda: 5) == 5
        token, event = trio.lowlevel.current_trio_token(), trio.Event()
        threading.Thread(target=token.run_sync_soon, args=(event.set,)).start()
        await event.wait()
    nursery.cancel_scope.cancel()


@pytest.mark.trio
@pytest.mark.usefixtures("seeing")
async def test_task_woken_by_what_was_handled(bare: Bare, nursery: trio.Nursery) -> None:
    await nursery.start(bare.loop.run)
    event = trio.Event()
    bare.on_token = event.set
    await trio.to_thread.run_sync(os.write, bare.token, b"t")
    with trio.fail_after(WAIT_S):
        await event.wait()
    assert bare.did == ["token"]
    started = trio.Event()

    async def task() -> None:
        started.set()

    bare.on_token = lambda: nursery.start_soon(task)
    await trio.to_thread.run_sync(os.write, bare.token, b"t")
    with trio.fail_after(WAIT_S):
        await started.wait()
    nursery.cancel_scope.cancel()


@pytest.mark.trio
@pytest.mark.usefixtures("seeing")
async def test_timer_of_the_node(bare: Bare, nursery: trio.Nursery) -> None:
    await nursery.start(bare.loop.run)
    # Told by a task, as when a client was accepted.
    bare.deadline = trio.current_time() + 0.02
    bare.pump()
    with trio.fail_after(WAIT_S):
        while "timer" not in bare.did:
            await trio.sleep(0.01)
    assert bare.did == ["timer"]
    nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_deadline_that_has_moved_away_does_nothing(bare: Bare, nursery: trio.Nursery) -> None:
    bare.deadline = trio.current_time() + 0.02

    def move() -> None:
        bare.deadline += WAIT_S

    bare.on_token = move
    await nursery.start(bare.loop.run)
    await trio.to_thread.run_sync(os.write, bare.token, b"t")
    await trio.sleep(0.05)
    assert bare.did == ["token"]
    nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_error_of_a_handler_ends_the_run_with_it(bare: Bare) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    bare.on_token = fail
    os.write(bare.token, b"t")
    with pytest.raises(BaseExceptionGroup) as raised, trio.fail_after(WAIT_S):
        await bare.loop.run()
    assert raised.group_contains(ZeroDivisionError)
    # trio goes on without it.
    await trio.sleep(0.01)


@pytest.mark.trio
async def test_the_token_does_not_wait_for_all_clients(bare: Bare, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each turn has the token first; and no client is served twice before all were served."""
    monkeypatch.setattr(loop_module, "CLIENTS_TURN_S", 0.0)
    clients = bare.add_clients()
    for _ in range(FLOOD):
        os.write(bare.token, b"t")
        bare.loop._serve(0.0)
    assert bare.did[::2] == ["token"] * FLOOD
    assert sorted(cast(list[int], bare.did[1::2])) == clients


@pytest.mark.trio
async def test_tasks_have_their_turn_in_a_flood(bare: Bare, nursery: trio.Nursery) -> None:
    bare.add_clients()
    os.write(bare.token, b"t")
    bare.receive = lambda *arguments, **more: ([], True)  # type: ignore[method-assign]  # it is never read
    await nursery.start(bare.loop.run)
    with trio.fail_after(WAIT_S):
        for _ in range(5):
            await trio.to_thread.run_sync(lambda: None)
            await trio.sleep(0.001)
    nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_client_that_ended_in_the_same_turn_is_not_served(bare: Bare) -> None:
    clients = bare.add_clients()
    gone = bare.by_descriptor

    def end_all() -> None:
        bare.by_descriptor = {}

    bare.on_client = end_all
    bare.loop._serve(0.0)
    assert bare.did == [min(clients)]
    bare.by_descriptor = gone


@pytest.mark.trio
async def test_stalls_are_counted_and_told_once_in_a_while(bare: Bare) -> None:
    bare.stalls.bound_s = 0.0
    for _ in range(3):
        os.write(bare.token, b"t")
        bare.loop._serve(0.0)
    counted = bare.stalls.statistics()["count"]
    assert isinstance(counted, int)
    assert counted >= 3
    (line,) = bare.stall_lines
    assert "ms: the ring had to wait" in line


def test_no_epoll_watches_it() -> None:
    descriptor = os.eventfd(0)
    try:
        assert watching_epoll(descriptor) == -1
        with select.epoll() as epoll:
            epoll.register(descriptor)
            assert watching_epoll(descriptor) == epoll.fileno()
    finally:
        os.close(descriptor)
