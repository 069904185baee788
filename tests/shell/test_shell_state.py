"""The state directory: after a crash there is the old content or the new, and every failure has a clear text."""

import errno
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from totemd.errors import MachineError
from totemd.shell.state import StateDirectory, replace_file

OLD, NEW = 40, 44
SYSCALLS = ["os.open", "os.write", "os.fsync", "rename"]


class Crash(BaseException):
    """The process ends here."""


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    directory = StateDirectory(tmp_path / "state", 1)
    directory.store_ring_seq(OLD)
    return directory


def fail_at(monkeypatch: pytest.MonkeyPatch, call: str, number: int, error: Callable[[], BaseException]) -> None:
    """Let the `number`th use (from 1) of a system call fail."""
    owner: Any = Path if call == "rename" else os
    name = call.rpartition(".")[2]
    real = getattr(owner, name)
    uses = 0

    def failing(*arguments: Any, **options: Any) -> Any:
        nonlocal uses
        uses += 1
        if uses == number:
            raise error()
        return real(*arguments, **options)

    monkeypatch.setattr(owner, name, failing)


def test_first_life_begins_with_zero_and_a_file(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "a" / "b", 7)
    assert state.load_ring_seq() == 0
    assert (tmp_path / "a" / "b" / "ringid_7").read_bytes() == bytes(8)


@given(st.integers(0, (1 << 62) - 1))
def test_number_is_read_as_corosync_writes_it(tmp_path_factory: pytest.TempPathFactory, seq: int) -> None:
    path = tmp_path_factory.mktemp("s")
    (path / "ringid_1").write_bytes(struct.pack("=Q", seq))
    assert StateDirectory(path, 1).load_ring_seq() == seq


@pytest.mark.parametrize("call", SYSCALLS)
@pytest.mark.parametrize("number", [1, 2])
def test_crash_leaves_the_old_number_or_the_new(
    state: StateDirectory, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    with monkeypatch.context() as patch:
        fail_at(patch, call, number, Crash)
        try:
            state.store_ring_seq(NEW)
        except Crash:
            crashed = True
        else:
            crashed = False
    found = StateDirectory(state.path, 1).load_ring_seq()
    assert found in (OLD, NEW)
    assert crashed or found == NEW
    state.store_ring_seq(NEW)
    assert state.load_ring_seq() == NEW


def test_content_is_synced_before_it_is_renamed_and_the_name_after(
    state: StateDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    sync, rename = os.fsync, Path.rename

    def watched_sync(number: int) -> None:
        calls.append(os.readlink(f"/proc/self/fd/{number}"))
        sync(number)

    def watched_rename(source: Path, target: Path) -> Path:
        calls.append("rename")
        return rename(source, target)

    monkeypatch.setattr(os, "fsync", watched_sync)
    monkeypatch.setattr(Path, "rename", watched_rename)
    state.store_ring_seq(NEW)
    assert calls == [str(state.path / "ringid_1.new"), "rename", str(state.path)]


@pytest.mark.parametrize("call", SYSCALLS)
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT])
def test_disk_error_names_the_file_and_what_is_wrong(
    state: StateDirectory, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    fail_at(monkeypatch, call, 1, lambda: OSError(number, os.strerror(number)))
    with pytest.raises(MachineError) as caught:
        state.store_ring_seq(NEW)
    assert str(state.path / "ringid_1") in str(caught.value)
    assert os.strerror(number) in str(caught.value)
    assert "ring number" in str(caught.value)


def test_write_that_is_cut_short_is_an_error(state: StateDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda number, data: write(number, data[:3]))
        with pytest.raises(MachineError, match="No space left"):
            state.store_ring_seq(NEW)
    assert state.load_ring_seq() == OLD


def test_no_descriptor_is_lost_when_the_disk_fails(state: StateDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for call in SYSCALLS:
        for number in (1, 2):
            with monkeypatch.context() as patch:
                fail_at(patch, call, number, lambda: OSError(errno.EIO, "Input/output error"))
                try:
                    state.store_ring_seq(NEW)
                except MachineError:
                    continue
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("content", [b"", b"1234567", b"123456789", b"x" * 100_000])
def test_damaged_file_is_not_taken_for_a_first_life(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ringid_1").write_bytes(content)
    with pytest.raises(MachineError, match=r"ringid_1 has .* instead of 8: the node's last ring number is lost"):
        StateDirectory(tmp_path, 1).load_ring_seq()
    assert (tmp_path / "ringid_1").read_bytes() == content


@pytest.mark.parametrize("seq", [1 << 62, (1 << 64) - 1])
def test_impossible_number_is_refused(tmp_path: Path, seq: int) -> None:
    (tmp_path / "ringid_1").write_bytes(struct.pack("=Q", seq))
    with pytest.raises(MachineError, match=f"impossible ring number {seq}"):
        StateDirectory(tmp_path, 1).load_ring_seq()


def test_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MachineError, match=r"cannot create the state directory .*file/state: Not a directory"):
        StateDirectory(tmp_path / "file" / "state", 1)


def test_ring_number_that_is_a_directory(tmp_path: Path) -> None:
    (tmp_path / "ringid_1").mkdir()
    with pytest.raises(MachineError, match=r"cannot read .*ringid_1: Is a directory"):
        StateDirectory(tmp_path, 1).load_ring_seq()


def test_small_files_are_kept_apart_from_the_ring_number(state: StateDirectory) -> None:
    assert state.load("ev_tracking") is None
    state.store("ev_tracking", b"\x03\0\0\0")
    assert state.load("ev_tracking") == b"\x03\0\0\0"
    assert state.load_ring_seq() == OLD


def test_nobody_who_may_write_here_has_us_write_elsewhere(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("precious")
    (tmp_path / "file.new").symlink_to(elsewhere)
    replace_file(tmp_path / "file", b"content")
    assert (tmp_path / "file").read_bytes() == b"content"
    assert not (tmp_path / "file").is_symlink()
    assert elsewhere.read_text() == "precious"
