"""Effects of the replicated configuration on the disk: in order, in threads, answered, and tried again until done."""

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio

from totemd.config import Configuration
from totemd.config.model import LoggingSettings
from totemd.errors import ConfigError, MachineError
from totemd.node.effects import CheckConfiguration, StoreChange, WriteConfiguration
from totemd.shell import configuration_keeper
from totemd.shell.configuration_files import FileState
from totemd.shell.configuration_keeper import ConfigurationKeeper
from totemd.shell.logs import Logger

WAIT_S = 10.0


class Files:
    """A disk that is slow, or fails, when a test says so."""

    def __init__(self) -> None:
        self.file = Path("/etc/corosync/corosync.conf")
        self.done: list[str] = []
        self.may_go = threading.Event()
        self.may_go.set()
        self.failures: list[MachineError] = []
        self.state = FileState("f", edited=False, problem="")
        self.threads: set[int] = set()

    def _work(self, what: str) -> None:
        self.threads.add(threading.get_ident())
        assert self.may_go.wait(WAIT_S)
        if self.failures:
            raise self.failures.pop()
        self.done.append(what)

    def store(self, name: str, data: bytes) -> None:
        self._work(f"store {name}")

    def write(self, text: str, key_ring: bytes | None) -> str | None:
        self._work(f"write {text}")
        return "f.edited" if "kept" in text else None

    def check_writable(self) -> None:
        pass

    def look(self) -> FileState:
        return self.state


class World:
    """A keeper and what it tells."""

    def __init__(self, path: Path) -> None:
        self.files = Files()
        self.answers: list[tuple[bytes, object]] = []
        self.changed = 0
        self.log = path / "log"
        self.logger = Logger(LoggingSettings(to_stderr=False, to_syslog=False, to_logfile=True, logfile=str(self.log)))
        self.parse: Callable[[str], Configuration | None] = lambda text: None
        node = SimpleNamespace(
            configuration_checked=lambda ident, found, now: self.answers.append((ident, found)),
            change_stored=lambda ident, error, now: self.answers.append((ident, error)),
        )
        self.keeper = ConfigurationKeeper(
            node,  # type: ignore[arg-type]
            self.files,  # type: ignore[arg-type]
            lambda text: self.parse(text),
            self.logger,
            changed=self._note_change,
            pump=lambda: None,
        )

    def _note_change(self) -> None:
        self.changed += 1

    async def until(self, done: Callable[[], bool]) -> None:
        with trio.fail_after(WAIT_S):
            while not done():
                await trio.sleep(0.005)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(configuration_keeper, "LOOK_PERIOD_S", 0.01)
    monkeypatch.setattr(configuration_keeper, "RETRY_S", 0.01)
    made = World(tmp_path)
    yield made
    made.logger.close()


def store(name: str) -> StoreChange:
    return StoreChange(name, b"data", name.encode())


@pytest.mark.trio
async def test_all_is_done_in_order_and_in_threads(world: World, nursery: trio.Nursery) -> None:
    nursery.start_soon(world.keeper.run)
    for number in range(20):
        world.keeper.perform(store(f"s{number}"))
        world.keeper.perform(WriteConfiguration(f"w{number}", None))
    await world.until(lambda: len(world.files.done) == 40)
    assert world.files.done == [f"{kind}{number}" for number in range(20) for kind in ("store s", "write w")]
    assert world.answers == [(f"s{number}".encode(), None) for number in range(20)]
    assert threading.get_ident() not in world.files.threads
    assert world.changed == 20
    assert not world.keeper.busy


@pytest.mark.trio
async def test_a_slow_disk_keeps_nobody(world: World, nursery: trio.Nursery) -> None:
    world.files.may_go.clear()
    nursery.start_soon(world.keeper.run)
    world.keeper.perform(store("a"))
    world.keeper.perform(CheckConfiguration(b"c", "text"))
    world.keeper.perform(store("b"))
    with trio.fail_after(0.5):
        for _ in range(10):
            await trio.sleep(0.01)
    assert world.keeper.busy
    assert world.answers == [(b"c", None)], "what is to be read does not wait for what is written"
    world.files.may_go.set()
    await world.until(lambda: len(world.answers) == 3)
    assert [ident for ident, _ in world.answers[1:]] == [b"a", b"b"]


@pytest.mark.trio
async def test_a_record_that_cannot_be_stored_is_answered(world: World, nursery: trio.Nursery) -> None:
    nursery.start_soon(world.keeper.run)
    world.files.failures.append(MachineError("cannot write: No space left on device"))
    world.keeper.perform(store("a"))
    world.keeper.perform(store("b"))
    await world.until(lambda: len(world.answers) == 2)
    assert world.answers == [(b"a", "cannot write: No space left on device"), (b"b", None)]


@pytest.mark.trio
async def test_files_are_written_before_anything_behind_them_is_stored(world: World, nursery: trio.Nursery) -> None:
    """Else the next version would hide that this one's keys were never written."""
    nursery.start_soon(world.keeper.run)
    world.files.failures += [MachineError("cannot write: Read-only file system")] * 3
    world.keeper.perform(WriteConfiguration("kept", b"keys"))
    world.keeper.perform(store("next"))
    await world.until(lambda: len(world.answers) == 1)
    assert world.files.done == ["write kept", "store next"]
    logged = world.log.read_text()
    assert logged.count("Read-only file system; it is tried again until it is written") == 1
    assert "the configuration is written now" in logged
    assert "it is kept as f.edited" in logged


@pytest.mark.trio
async def test_no_change_is_prepared_while_the_last_one_is_not_written(world: World, nursery: trio.Nursery) -> None:
    nursery.start_soon(world.keeper.run)
    world.files.failures += [MachineError("cannot write: Read-only file system")] * 1000
    world.keeper.perform(WriteConfiguration("text", None))
    await world.until(lambda: world.keeper._unwritten != "")
    world.keeper.perform(CheckConfiguration(b"c", "text"))
    await world.until(lambda: len(world.answers) == 1)
    assert world.answers == [(b"c", "cannot write: Read-only file system")]
    world.files.failures.clear()
    await world.until(lambda: not world.keeper.busy)
    world.keeper.perform(CheckConfiguration(b"d", "text"))
    await world.until(lambda: len(world.answers) == 2)
    assert world.answers[1] == (b"d", None)


@pytest.mark.trio
@pytest.mark.parametrize("error", [ConfigError("wrong", file="f", line=3), OSError("no such name")])
async def test_a_text_that_cannot_be_used_is_refused_with_the_reason(
    world: World, nursery: trio.Nursery, error: Exception
) -> None:
    def parse(text: str) -> Configuration | None:
        raise error

    world.parse = parse
    nursery.start_soon(world.keeper.run)
    world.keeper.perform(CheckConfiguration(b"c", "text"))
    await world.until(lambda: len(world.answers) == 1)
    assert world.answers == [(b"c", str(error))]


@pytest.mark.trio
async def test_an_edit_is_told_once_and_so_is_its_end(world: World, nursery: trio.Nursery) -> None:
    nursery.start_soon(world.keeper.run)
    world.files.state = FileState("f", edited=True, problem="says something else than version 1")
    await world.until(lambda: world.keeper.state.edited)
    await trio.sleep(0.05)
    world.files.state = FileState("f", edited=False, problem="")
    await world.until(lambda: not world.keeper.state.edited)
    logged = world.log.read_text()
    assert logged.count("f says something else than version 1: this node goes on with the latter") == 1
    assert logged.count("f says again what is in force") == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_may_not_be_written_is_told_before_a_change(tmp_path: Path) -> None:
    from totemd.shell.configuration_files import ConfigurationFiles

    tmp_path.chmod(0o500)
    files = ConfigurationFiles(file=tmp_path / "corosync.conf", state_dir=tmp_path, keyfile=None, committed=None)
    with pytest.raises(MachineError, match="is not writable"):
        files.check_writable()
