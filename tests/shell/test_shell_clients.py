"""The native socket with real connections: nobody's misbehaviour reaches anybody else, or the daemon."""

import os
import resource
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
import trio

from totemd.errors import MachineError
from totemd.ipc import backlog
from totemd.ipc.frames import REPLY_BOUNDS, Frame, FrameDecoder, encode_frame
from totemd.ipc.ports import Credentials
from totemd.limits import CLIENTS_MAX
from totemd.shell import clients
from totemd.shell.clients import Clients, connections_max
from totemd.shell.listener import Listener
from trio_node import TrioNode

WAIT_S = 10.0
SMALL_BACKLOG_BYTES = 400_000
BIG = bytes(100_000)


class Daemon(TrioNode):
    """A node alone in its ring, and its native socket; without ring sockets and without a disk."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.listener = Listener(path)
        self.clients = self.front = Clients(self.node, self.listener, self.pump, self.epoll)

    async def operational(self) -> None:
        with trio.fail_after(WAIT_S):
            while self.node.synchronizing:
                await trio.sleep(0.01)

    async def connect(self, *, hello: bool = True) -> "Client":
        client = Client(await trio.open_unix_socket(str(self.path)))
        if hello:
            await client.send({"hello": {"protocol": 1, "client": "test"}})
            assert "hello" in await client.take()
        return client

    async def count(self, wanted: int) -> None:
        """Wait until so many clients are connected."""
        with trio.fail_after(WAIT_S):
            while self.node.client_count != wanted:
                await trio.sleep(0.01)


class Client:
    """A client that does what it is told, however rude."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._decoder = FrameDecoder(REPLY_BOUNDS)
        self._last_id = 0

    async def send(self, frame: Frame) -> None:
        with trio.fail_after(WAIT_S):
            await self.stream.send_all(encode_frame(frame))

    async def ask(self, do: str, **arguments: object) -> Any:
        """The value of the reply; events before it are dropped."""
        self._last_id += 1
        await self.send({"id": self._last_id, "do": do, "with": arguments})
        while (frame := await self.take()).get("id") != self._last_id:
            pass
        return frame["ok"]

    async def take(self) -> Frame:
        frame = await self.take_or_end()
        assert frame is not None, "the connection ended"
        return frame

    async def take_or_end(self) -> Frame | None:
        """The next frame, or None at the connection's end."""
        with trio.fail_after(WAIT_S):
            while (frame := self._decoder.take()) is None:
                data = await self.stream.receive_some(65536)
                if not data:
                    return None
                self._decoder.append(data)
        return frame

    async def rest(self) -> list[Frame]:
        """All frames until the connection's end."""
        frames = []
        while (frame := await self.take_or_end()) is not None:
            frames.append(frame)
        return frames


@pytest.fixture
async def daemon(tmp_path: Path, nursery: trio.Nursery) -> AsyncIterator[Daemon]:
    async with running(tmp_path, nursery) as started:
        yield started


@asynccontextmanager
async def running(tmp_path: Path, nursery: trio.Nursery) -> AsyncIterator[Daemon]:
    started = Daemon(tmp_path / "totemd.sock")
    nursery.start_soon(started.run)
    nursery.start_soon(started.clients.serve)
    try:
        yield started
    finally:
        nursery.cancel_scope.cancel()
        started.listener.close()


@pytest.fixture
def small_backlog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "CLIENT_BACKLOG_BYTES_MAX", SMALL_BACKLOG_BYTES)


async def fill(daemon: Daemon, group: str) -> Client:
    """A member of `group` that does not read, and has more waiting than its socket takes."""
    await daemon.operational()
    slow = await daemon.connect()
    await slow.ask("cpg_join", group=group)
    await slow.ask("track")
    for _ in range(6):
        # Its own multicasts come back to it; the replies wait behind them.
        await slow.send({"id": 1000, "do": "cpg_multicast", "with": {"group": group, "data": BIG[:90_000]}})
    with trio.fail_after(WAIT_S):
        while not any(connection.unwritten for connection in daemon.clients._connections):
            await trio.sleep(0.01)
    return slow


@pytest.mark.trio
async def test_two_clients_are_served_at_once(daemon: Daemon) -> None:
    one, two = await daemon.connect(), await daemon.connect()
    assert (await one.ask("status"))["nodeid"] == 1
    assert (await two.ask("status"))["nodeid"] == 1
    assert daemon.node.client_count == 2
    await one.stream.aclose()
    await daemon.count(1)
    await two.ask("ping")
    assert not [line for line in daemon.log if "disconnected" in line]


@pytest.mark.trio
@pytest.mark.parametrize(
    "data", [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\1\xc1", b"\0\0\0\2\x91\1", b"GET / HTTP/1.1\r\n"]
)
async def test_malformed_frame_closes_that_client_alone(daemon: Daemon, data: bytes) -> None:
    good, bad = await daemon.connect(), await daemon.connect()
    await bad.stream.send_all(data)
    (last,) = await bad.rest()
    assert last["error"]["code"] == "bad_frame"
    await good.ask("ping")
    await daemon.count(1)
    assert any(f"user {os.getuid()}) was disconnected" in line for line in daemon.log)


@pytest.mark.trio
async def test_requests_beyond_one_turn_are_all_answered(daemon: Daemon) -> None:
    client = await daemon.connect()
    await client.stream.send_all(b"".join(encode_frame({"id": number, "do": "ping"}) for number in range(1, 2001)))
    assert [(await client.take())["id"] for _ in range(2000)] == list(range(1, 2001))


@pytest.mark.trio
async def test_quiet_multicasts_are_taken_as_the_ring_takes_them(daemon: Daemon) -> None:
    """More than the send queue holds: none is lost, none overtakes another, and others are served meanwhile."""
    count, size = 600, 4000
    await daemon.operational()
    daemon.node.ring.core.queue_max = daemon.node.groups._queue_size = 60
    client, other = await daemon.connect(), await daemon.connect()
    await client.ask("cpg_join", group="g")

    def multicast(number: int) -> bytes:
        given = {"group": b"g", "data": number.to_bytes(4, "big") + bytes(size), "guarantee": "agreed", "quiet": True}
        return encode_frame({"id": 0, "do": "cpg_multicast", "with": given})

    seen: list[int] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.stream.send_all, b"".join(map(multicast, range(count))))
        with trio.fail_after(4 * WAIT_S):
            while len(seen) < count:
                frame = await client.take()
                assert "error" not in frame
                if frame.get("event") == "deliver":
                    seen.append(int.from_bytes(frame["data"]["data"][:4], "big"))
                    if len(seen) % 100 == 0:
                        await other.ask("ping")
    assert seen == list(range(count))
    assert daemon.node.groups.stats.messages_refused, "there was no room at times"


@pytest.mark.trio
async def test_client_that_goes_in_the_middle_of_a_frame(daemon: Daemon) -> None:
    client = await daemon.connect()
    await client.stream.send_all(b"\0\0\1\0half")
    await client.stream.aclose()
    await daemon.count(0)


@pytest.mark.trio
@pytest.mark.usefixtures("small_backlog")
async def test_slow_reader_is_cut_off_with_the_reason_and_others_go_on(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "FAREWELL_S", 0.1)
    await daemon.operational()
    slow, quick = await daemon.connect(), await daemon.connect()
    await slow.ask("cpg_join", group="g", pid=1)
    await quick.ask("cpg_join", group="g", pid=2)
    for _ in range(20):
        await quick.ask("cpg_multicast", group="g", data=BIG)
    while (frame := await quick.take()).get("event") != "members" or not frame["data"]["left"]:
        pass
    assert frame["data"]["left"][0]["pid"] == 1
    await daemon.count(1)
    assert any("was disconnected: client does not read" in line for line in daemon.log)


@pytest.mark.trio
@pytest.mark.usefixtures("small_backlog")
async def test_slow_reader_that_reads_in_the_end_finds_the_reason(daemon: Daemon) -> None:
    await daemon.operational()
    slow, quick = await daemon.connect(), await daemon.connect()
    await slow.ask("cpg_join", group="g", pid=1)
    await quick.ask("cpg_join", group="g", pid=2)
    for _ in range(20):
        await quick.ask("cpg_multicast", group="g", data=BIG)
    frames = await slow.rest()
    assert frames[-1]["event"] == "closing"
    assert "client does not read" in frames[-1]["data"]["reason"]
    assert 1 < len(frames) < 20


@pytest.mark.trio
@pytest.mark.parametrize("way", ["half close", "malformed frame", "close"])
async def test_client_ends_while_its_socket_is_full(daemon: Daemon, way: str) -> None:
    """Two tasks of the daemon may then want to write to it, which trio does not allow."""
    other = await daemon.connect()
    slow = await fill(daemon, "g")
    if way == "half close":
        slow.stream.socket.shutdown(socket.SHUT_WR)
    elif way == "malformed frame":
        await slow.stream.send_all(b"\0\0\0\0")
    else:
        await slow.stream.aclose()
    await other.ask("ping")
    if way == "close":
        await daemon.count(1)
        return
    frames = await slow.rest()
    assert any(frame.get("event") == "deliver" for frame in frames)
    assert ("error" in frames[-1]) == (way == "malformed frame")
    await daemon.count(1)


@pytest.mark.trio
async def test_client_that_never_reads_is_not_waited_for_long(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "FAREWELL_S", 0.05)
    slow = await fill(daemon, "g")
    slow.stream.socket.shutdown(socket.SHUT_WR)
    await daemon.count(0)


@pytest.mark.trio
async def test_stranger_without_a_hello_is_disconnected(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "HELLO_TIMEOUT_S", 0.1)
    idle = await daemon.connect()
    stranger, slow_speaker = await daemon.connect(hello=False), await daemon.connect(hello=False)
    await slow_speaker.stream.send_all(b"\0\0\0\x20")
    for client in (stranger, slow_speaker):
        (last,) = await client.rest()
        assert last["event"] == "closing"
        assert "no hello within" in last["data"]["reason"]
    # One that has said hello may be silent for ever.
    await trio.sleep(0.15)
    await idle.ask("ping")
    assert daemon.node.client_count == 1


@pytest.mark.trio
async def test_connections_beyond_the_most_allowed(
    tmp_path: Path, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "CLIENTS_MAX", 3)
    async with running(tmp_path, nursery) as daemon:
        admitted = [await daemon.connect() for _ in range(3)]
        for _ in range(5):
            surplus = await daemon.connect(hello=False)
            (last,) = await surplus.rest()
            assert last["error"]["code"] == "no_resources"
            assert "3 connections are open" in last["error"]["message"]
        await admitted[0].stream.aclose()
        await daemon.count(2)
        await (await daemon.connect()).ask("ping")
        for client in admitted[1:]:
            await client.ask("ping")


@pytest.mark.trio
async def test_user_without_the_right_is_told_so(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "peer_credentials", lambda sock: Credentials(1, 54321, 54321))
    stranger = await daemon.connect(hello=False)
    (last,) = await stranger.rest()
    assert last["error"]["code"] == "access"
    await daemon.count(0)
    assert any(line.startswith("a client of user 54321 was disconnected") for line in daemon.log)


@pytest.mark.trio
async def test_daemon_that_ends_tells_its_clients(daemon: Daemon) -> None:
    client = await daemon.connect()
    daemon.node.leave(trio.current_time(), "test")
    daemon.clients.flush()
    await daemon.clients.drain()
    (last,) = await client.rest()
    assert last == {"event": "closing", "of": 0, "data": {"reason": "the daemon stops: test"}}
    assert not any("was disconnected" in line for line in daemon.log)


@pytest.mark.trio
async def test_no_descriptor_and_no_session_is_left(daemon: Daemon) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        client = await daemon.connect()
        await client.stream.send_all(b"\0\0\0\0")
        await client.stream.aclose()
        stranger = await daemon.connect(hello=False)
        await stranger.stream.aclose()
    await daemon.count(0)
    with trio.fail_after(WAIT_S):
        while len(os.listdir("/proc/self/fd")) > before:
            await trio.sleep(0.01)
    assert daemon.clients._connections == set()


@pytest.mark.parametrize(
    ("limits", "allowed"),
    [
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), 1000),
        ((65536, 65536), 1000),
        ((256, 256), 192),
        ((10, 10), 1),
    ],
)
def test_clients_cannot_take_all_descriptors(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], allowed: int
) -> None:
    """The disk and the interface's watch need some: without them the node would have to leave the ring."""
    monkeypatch.setattr(resource, "getrlimit", lambda which: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda which, wanted: None)
    assert connections_max(CLIENTS_MAX) == allowed


def test_more_descriptors_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [(256, 4096)]
    monkeypatch.setattr(resource, "getrlimit", lambda which: now[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda which, wanted: now.append(wanted))
    assert connections_max(CLIENTS_MAX) == 1000
    assert now[-1] == (1064, 4096)


def stale_socket(path: Path) -> None:
    """What a killed daemon leaves behind."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))


def connect(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(WAIT_S)
        client.connect(str(path))


def test_socket_of_a_dead_daemon_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "totemd.sock"
    stale_socket(path)
    with pytest.raises(ConnectionRefusedError):
        connect(path)
    with closing(Listener(path)):
        connect(path)
        assert path.stat().st_mode & 0o777 == 0o666


def test_socket_of_a_living_daemon_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "run" / "totemd.sock"
    with closing(Listener(path)):
        for _ in range(3):
            with pytest.raises(MachineError, match=r"another totemd serves .*--run-dir"):
                Listener(path)
        connect(path)
    assert not path.exists()
    with closing(Listener(path)):
        connect(path)


def not_a_socket(path: Path) -> None:
    path.write_text("precious")


def directory_in_the_way(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("make", [not_a_socket, directory_in_the_way])
def test_what_is_no_socket_is_not_removed(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "totemd.sock"
    make(path)
    with pytest.raises(MachineError, match="in the way"):
        Listener(path)
    assert path.exists()


def test_places_where_no_socket_can_be(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    (tmp_path / "file").touch()
    with pytest.raises(MachineError, match=r"cannot listen on .*File exists"):
        Listener(tmp_path / "file" / "totemd.sock")
    with pytest.raises(MachineError, match=r"cannot listen on .*too long"):
        Listener(tmp_path / ("x" * 150) / "totemd.sock")
    assert len(os.listdir("/proc/self/fd")) == before


def test_socket_whose_directory_has_gone_can_be_closed(tmp_path: Path) -> None:
    listener = Listener(tmp_path / "run" / "totemd.sock")
    (tmp_path / "run" / "totemd.sock").unlink()
    (tmp_path / "run").rmdir()
    listener.close()
    listener.close()
