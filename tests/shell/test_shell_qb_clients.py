"""The sockets of corosync's libraries with real connections: nobody keeps the ring, or others, waiting."""

import os
import select
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from qb_raw import AUTHENTICATE, LOCAL_GET, REPLY, RawClient, request
from totemd.errors import MachineError
from totemd.ipc.ports import Credentials
from totemd.qb.codec import response
from totemd.qb.session import QbSession
from totemd.shell import qb_clients, qb_datagrams, qb_memory
from totemd.shell.qb_clients import QbClients
from totemd.shell.qb_connection import REQUESTS_PER_TURN
from totemd.shell.qb_datagrams import Datagrams
from totemd.shell.qb_memory import check_machine, sweep
from totemd.shell.qb_sockets import QbSockets, abstract_address
from trio_node import TrioNode

WAIT_S = 8.0
"""Less than a stranger may take for its handshake."""
OURSELVES = Credentials(os.getpid(), os.geteuid(), os.getegid())
STRANGER = Credentials(1, 4321, 4321)


class World(TrioNode):
    """A node alone in its ring and its socket "cpg", under a name of this process."""

    def __init__(self) -> None:
        super().__init__()
        self.name = f"totemd-test-{os.getpid()}-cpg"
        self.sockets = QbSockets(())
        for service in self.node.qb.offered:
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            listener.setblocking(False)
            listener.bind(abstract_address(self.name if service.name == "cpg" else f"{self.name}-{service.name}"))
            listener.listen(128)
            self.sockets.by_name[service.name] = listener
        self.qb = self.front = QbClients(self.node, self.sockets, self.pump, self.epoll)

    async def connect(self) -> tuple[RawClient, QbSession]:
        """A client that was let in, and its session."""
        before = set(self.node.qb.sessions)
        client = await trio.to_thread.run_sync(RawClient, self.name)
        assert not client.error
        (session,) = set(self.node.qb.sessions) - before
        return client, session

    def close(self) -> None:
        for listener in self.sockets.by_name.values():
            listener.close()


@asynccontextmanager
async def running() -> AsyncIterator[World]:
    world = World()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.run)
            nursery.start_soon(world.qb.serve)
            with trio.fail_after(WAIT_S):
                while world.node.synchronizing:
                    await trio.sleep(0.01)
            yield world
            nursery.cancel_scope.cancel()
    finally:
        world.close()


def ask(client: RawClient, count: int) -> None:
    """Requests that are announced together."""
    for _ in range(count):
        client.put(request(LOCAL_GET), announce=False)
    client.notify(count)


async def served(session: QbSession, count: int) -> None:
    with trio.fail_after(WAIT_S):
        while session.counters.requests < count:
            await trio.sleep(0.01)


@pytest.mark.trio
async def test_many_requests_do_not_wait_for_a_client_that_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qb_clients, "RETRY_S", (1000.0, 1000.0))
    async with running() as world:
        deaf, deaf_session = await world.connect()
        for _ in range(12):
            deaf_session.send_event(response(5, body=bytes(100_000)))
        assert deaf_session.has_queued
        world.pump()
        await trio.testing.wait_all_tasks_blocked()
        busy, busy_session = await world.connect()
        ask(busy, 30)
        await served(busy_session, 30)
        deaf.close()
        busy.close()


@pytest.mark.trio
async def test_who_has_requests_left_gets_no_turn_for_announcing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running() as world:
        client, session = await world.connect()
        connection = world.qb._by_session[session]
        count, turns = 2 * REQUESTS_PER_TURN, 0
        serve = connection.serve

        def noted() -> None:
            nonlocal turns
            turns += 1
            serve()

        monkeypatch.setattr(connection, "serve", noted)
        ask(client, count)
        for _ in range(5):
            client.notify()
            world.qb.ready(client_descriptor := connection.descriptors[0], select.EPOLLIN)
            assert client_descriptor in world.qb.by_descriptor
        assert turns == 1
        await served(session, count)
        client.close()


@pytest.mark.trio
async def test_clients_come_in_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[int] = []
    async with running() as world, trio.open_nursery() as nursery:
        number = 0

        async def count() -> None:
            nonlocal number
            while True:
                await trio.lowlevel.checkpoint()
                number += 1

        let_in = world.qb._let_in

        def noted(*arguments: Any) -> bool:
            turns.append(number)
            return let_in(*arguments)

        monkeypatch.setattr(world.qb, "_let_in", noted)
        streams = []
        for _ in range(8):
            stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            stream.connect(abstract_address(world.name))
            streams.append(stream)
        with trio.fail_after(WAIT_S):
            while world.qb._strangers < len(streams):
                await trio.sleep(0.01)
        for stream in streams:
            stream.send(AUTHENTICATE.pack(-1, AUTHENTICATE.size, 12328))
        nursery.start_soon(count)
        with trio.fail_after(WAIT_S):
            for stream in streams:
                await trio.lowlevel.wait_readable(stream)
                assert REPLY.unpack(stream.recv(REPLY.size, socket.MSG_WAITALL))[2] == 0
                stream.close()
        nursery.cancel_scope.cancel()
    assert len(turns) == 8
    assert max(map(turns.count, turns)) <= 2, turns


@pytest.mark.trio
async def test_users_who_are_not_let_in_cannot_keep_others_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qb_clients, "UNINVITED_MAX", 3)
    monkeypatch.setattr(qb_clients, "STRANGERS_MAX", 4)
    monkeypatch.setattr(qb_clients, "peer_credentials", lambda stream: STRANGER)
    async with running() as world:
        silent = []
        for _ in range(5):
            stream = await trio.to_thread.run_sync(socket.socket, socket.AF_UNIX, socket.SOCK_STREAM)
            stream.connect(abstract_address(world.name))
            silent.append(stream)
        for stream in silent[3:]:
            with trio.fail_after(WAIT_S):
                await trio.lowlevel.wait_readable(stream)
            assert stream.recv(1) == b""
        monkeypatch.setattr(qb_clients, "peer_credentials", lambda stream: OURSELVES)
        with trio.fail_after(WAIT_S):
            client, _ = await world.connect()
        client.close()
        for stream in silent:
            stream.close()


def test_datagrams_of_others_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    received = 0

    def receive(sock: socket.socket, size: int) -> tuple[bytes, Credentials]:
        nonlocal received
        received += 1
        assert received < 1000, "no end"
        return b"flood", Credentials(1, os.geteuid() + 1, 0)

    monkeypatch.setattr(qb_datagrams, "receive_with_credentials", receive)
    datagrams = Datagrams("cpg", OURSELVES, 0, 12328)
    try:
        assert datagrams.receive() is None
    finally:
        datagrams.close()


def test_sweep_survives_numbers_that_are_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qb_memory, "DIRECTORY", tmp_path)
    kept = [f"qb-{number}-1-1-x" for number in (2**31, 2**64, "1" * 200, 0, "x", "")]
    for name in (*kept, "qb-999999999-1-1-gone"):
        (tmp_path / name).mkdir()
    assert sweep(frozenset(("cpg",))) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


def test_machine_without_memory_files_is_a_plain_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "memfd_create", refuse)
    with pytest.raises(MachineError, match="Function not implemented"):
        check_machine()
