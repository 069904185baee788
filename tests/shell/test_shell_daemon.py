"""The loop itself, in this process: disks that fail or hang, reloads, signals, the service manager."""

import gc
import os
import select
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from small_configuration import small_configuration
from totemd.config import Configuration
from totemd.config.model import LoggingSettings
from totemd.errors import ConfigError, MachineError
from totemd.node.effects import PersistFile
from totemd.shell import daemon as daemon_module
from totemd.shell.daemon import Daemon
from totemd.shell.logs import Logger
from totemd.shell.state import StateDirectory
from totemd_lab.ring import free_udp_port

WAIT_S = 10.0
ADDRESS = f"127.{1 + os.getpid() % 200}.8.1"
QUICK = "token: 200\nconsensus: 240\njoin: 30"


class World:
    """A daemon that the test can start, and its surroundings."""

    def __init__(self, path: Path) -> None:
        self.path = path
        interface = f"mcastport: {free_udp_port()}"
        self.configuration = small_configuration(
            ADDRESS, totem=QUICK, interface=interface, quorum="expected_votes_tracking: 1"
        )
        self.read: Callable[[], Configuration] = lambda: self.configuration
        self._log = path / "log"
        self._logger = Logger(
            LoggingSettings(to_stderr=False, to_syslog=False, to_logfile=True, logfile=str(self._log))
        )
        self.configuration = replace(self.configuration, logging=self._logger._settings)

    def make(self) -> Daemon:
        return Daemon(
            self.configuration,
            state_dir=self.path / "state",
            run_dir=self.path / "run",
            logger=self._logger,
            read_configuration=lambda: self.read(),
        )

    def log(self) -> str:
        """All that was logged; nothing can be logged after."""
        self._logger.close()
        return self._log.read_text()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(gc, "freeze", lambda: None)
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    made = World(tmp_path)
    yield made
    made._logger.close()


def open_sockets() -> int:
    """Sockets and epolls of this process, without what earlier tests have dropped."""
    gc.collect()
    names = [os.readlink(entry.path) for entry in os.scandir("/proc/self/fd") if os.path.lexists(entry.path)]
    return sum(name.startswith(("socket:", "anon_inode:")) for name in names)


async def operational(daemon: Daemon) -> None:
    with trio.fail_after(WAIT_S):
        while not hasattr(daemon, "_node") or daemon._node.synchronizing:
            await trio.sleep(0.01)


class Running:
    """A daemon that runs beside the test; `status` is its exit status once it has ended."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.status: int | None = None
        self._ended = trio.Event()

    async def run(self) -> None:
        self.status = await self.daemon.run()
        self._ended.set()

    async def wait(self) -> int:
        with trio.fail_after(WAIT_S):
            await self._ended.wait()
        assert self.status is not None
        return self.status


async def start(world: World, nursery: trio.Nursery) -> Running:
    running = Running(world.make())
    nursery.start_soon(running.run)
    await operational(running.daemon)
    return running


@pytest.mark.trio
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signal_ends_it_and_nothing_is_left(world: World, nursery: trio.Nursery, number: signal.Signals) -> None:
    before = open_sockets()
    running = await start(world, nursery)
    signal.raise_signal(number)
    assert await running.wait() == 0
    assert open_sockets() == before
    assert os.listdir(world.path / "run") == []
    assert f"stopping: received {number.name}" in world.log()


@pytest.mark.trio
@pytest.mark.parametrize("token_first", [True, False])
async def test_a_token_is_read_whatever_else_is_ready(world: World, nursery: trio.Nursery, token_first: bool) -> None:
    interface = f"mcastaddr: 239.255.8.1\nmcastport: {world.configuration.transport.port}"
    multicast = small_configuration(ADDRESS, totem=QUICK, interface=interface, transport="udp")
    world.configuration = replace(multicast, logging=world.configuration.logging)
    running = await start(world, nursery)
    daemon = running.daemon
    transport, dropped = daemon._transport, daemon._node.gate.dropped
    settings = world.configuration.transport
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        assert settings.mcast_address
        stranger.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(ADDRESS))
        stranger.sendto(b"no packet", (settings.mcast_address, settings.port))
        stranger.sendto(b"no packet", (ADDRESS, settings.port))
    waiting = [(transport.token_descriptor, select.EPOLLIN), (transport.data_descriptor, select.EPOLLIN)]
    before = dropped.total()
    assert not daemon._loop._handle(waiting if token_first else waiting[::-1], None, trio.current_time())
    assert dropped.total() == before + 2
    signal.raise_signal(signal.SIGTERM)
    assert await running.wait() == 0


@pytest.mark.trio
async def test_ring_number_that_cannot_be_stored_ends_it(
    world: World, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = Running(world.make())
    monkeypatch.setattr(StateDirectory, "store_ring_seq", fail)
    nursery.start_soon(running.run)
    assert await running.wait() == 1
    assert "stopping: the ring number cannot be stored: disk full" in world.log()


def fail(state: StateDirectory, seq: int) -> None:
    raise MachineError("disk full")


@pytest.mark.trio
async def test_disk_fails_after_a_stop_was_asked_for(
    world: World, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node has said its last word by then; it stands in the queue behind the disk."""
    answer = threading.Event()
    asked = trio.Event()
    token = trio.lowlevel.current_trio_token()

    def fail_late(state: StateDirectory, seq: int) -> None:
        token.run_sync_soon(asked.set)
        answer.wait(WAIT_S)
        raise MachineError("disk full")

    running = Running(world.make())
    monkeypatch.setattr(StateDirectory, "store_ring_seq", fail_late)
    nursery.start_soon(running.run)
    with trio.fail_after(WAIT_S):
        await asked.wait()
    running.daemon._node.leave(trio.current_time(), "asked while the disk is slow")
    answer.set()
    assert await running.wait() == 0
    assert "asked while the disk is slow" in world.log()


@pytest.mark.trio
async def test_disk_that_hangs_cannot_keep_it_from_ending(
    world: World, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = threading.Event()
    monkeypatch.setattr(daemon_module, "STOP_MAX_S", 0.1)
    running = Running(world.make())
    monkeypatch.setattr(StateDirectory, "store_ring_seq", lambda state, seq: answer.wait(WAIT_S))
    nursery.start_soon(running.run)
    with trio.fail_after(WAIT_S):
        while not running.daemon._persisting:
            await trio.sleep(0.01)
    signal.raise_signal(signal.SIGTERM)
    assert await running.wait() == 1
    answer.set()
    assert "stopping: the disk does not answer" in world.log()


@pytest.mark.trio
async def test_effects_behind_a_dead_disk_are_bounded(
    world: World, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = threading.Event()
    monkeypatch.setattr(daemon_module, "PENDING_EFFECTS_MAX", 10)
    running = Running(world.make())
    monkeypatch.setattr(StateDirectory, "store_ring_seq", lambda state, seq: answer.wait(WAIT_S))
    nursery.start_soon(running.run)
    assert await running.wait() == 1
    answer.set()
    assert "stopping: the disk does not answer" in world.log()


@pytest.mark.trio
async def test_newest_content_of_a_file_wins(world: World, nursery: trio.Nursery) -> None:
    running = await start(world, nursery)
    for number in range(50):
        running.daemon._emit(PersistFile("ev_tracking", number.to_bytes(4, "little")))
        if number % 7 == 0:
            await trio.sleep(0.001)
    signal.raise_signal(signal.SIGTERM)
    assert await running.wait() == 0
    assert (world.path / "state" / "ev_tracking").read_bytes() == (49).to_bytes(4, "little")
    assert sorted(os.listdir(world.path / "state")) == ["ev_tracking", "ringid_1"]


@pytest.mark.trio
@pytest.mark.parametrize(
    "error",
    [ConfigError("nonsense", file="f", line=3), MachineError("cannot read the configuration"), OSError(5, "I/O error")],
)
async def test_file_that_cannot_be_read_again_changes_nothing(
    world: World, nursery: trio.Nursery, error: Exception
) -> None:
    def broken() -> Configuration:
        raise error

    running = await start(world, nursery)
    world.read = broken
    answers: list[str | None] = []
    for _ in range(2):
        running.daemon._node.request_reload(answers.append)
        with trio.fail_after(WAIT_S):
            while not answers:
                await trio.sleep(0.01)
        assert answers.pop() == str(error)
    world.read = lambda: world.configuration
    running.daemon._node.request_reload(answers.append)
    with trio.fail_after(WAIT_S):
        while not answers:
            await trio.sleep(0.01)
    assert answers == [None]
    signal.raise_signal(signal.SIGTERM)
    assert await running.wait() == 0
    assert f"the configuration was not reloaded: {error}" in world.log()


@pytest.mark.trio
async def test_second_daemon_is_refused_before_it_touches_anything(world: World, nursery: trio.Nursery) -> None:
    running = await start(world, nursery)
    before = (world.path / "state" / "ringid_1").stat().st_mtime_ns, open_sockets()
    with pytest.raises(MachineError, match="another totemd serves"):
        world.make()
    with pytest.raises(MachineError, match="already in use"):
        Daemon(
            world.configuration,
            state_dir=world.path / "state",
            run_dir=world.path / "other",
            logger=world._logger,
            read_configuration=world.read,
        )
    assert os.listdir(world.path / "other") == []
    assert ((world.path / "state" / "ringid_1").stat().st_mtime_ns, open_sockets()) == before
    signal.raise_signal(signal.SIGTERM)
    assert await running.wait() == 0


@pytest.fixture(params=["file", "abstract"])
def service_manager(
    request: pytest.FixtureRequest, world: World, monkeypatch: pytest.MonkeyPatch
) -> Iterator[socket.socket]:
    abstract = request.param == "abstract"
    name = f"totemd-test-{os.getpid()}" if abstract else str(world.path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name if abstract else name)
        manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name if abstract else name)
        yield manager


@pytest.mark.trio
async def test_service_manager_is_told(
    world: World, nursery: trio.Nursery, service_manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "60000")
    running = await start(world, nursery)
    assert service_manager.recv(1000) == b"READY=1"
    await told(service_manager, "WATCHDOG=1")
    # Before, it may be told that the ring is being made.
    await told(service_manager, "STATUS=quorate: 1 of 1 nodes in ring 1.")
    await told(service_manager, "WATCHDOG=1")
    signal.raise_signal(signal.SIGHUP)
    await told(service_manager, "RELOADING=1")
    await told(service_manager, "READY=1")
    signal.raise_signal(signal.SIGTERM)
    assert await running.wait() == 0
    await told(service_manager, "STOPPING=1")


class NewStart:
    """Of a managed cluster: the configuration in force is not the committed one."""

    needs_new_start = True
    busy = False


@pytest.mark.trio
async def test_a_new_start_in_the_same_process_is_no_stop(
    world: World, nursery: trio.Nursery, service_manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manager would wait for the end that was announced, and then bring it about."""
    running = await start(world, nursery)
    await told(service_manager, "READY=1")
    monkeypatch.setattr(running.daemon, "_managed", NewStart())
    signal.raise_signal(signal.SIGTERM)
    await running.wait()
    heard = b""
    with suppress(BlockingIOError):
        while True:
            heard += service_manager.recv(1000) + b"\n"
    assert b"RELOADING=1\n" in heard
    assert b"STOPPING=1" not in heard


async def told(manager: socket.socket, beginning: str) -> str:
    """The next line that the manager is told and that begins so."""
    with trio.fail_after(WAIT_S):
        while True:
            await trio.lowlevel.wait_readable(manager)
            for line in manager.recv(1000).decode().splitlines():
                if line.startswith(beginning):
                    return line
