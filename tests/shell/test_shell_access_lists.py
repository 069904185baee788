"""Letting a client of another user at its files without the right to give them away."""

import errno
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from totemd.errors import MachineError
from totemd.ipc.ports import Credentials
from totemd.shell import qb_memory
from totemd.shell.access_lists import ATTRIBUTE, READ, WRITE, let_in
from totemd.shell.qb_memory import SharedMemory

CLIENT_UID = 64123
OTHER_UID = 64124


@pytest.fixture
def file() -> Iterator[Path]:
    """A file of ours in shared memory, where clients' files are."""
    with tempfile.TemporaryDirectory(dir=qb_memory.DIRECTORY) as name:
        Path(name).chmod(0o755)
        path = Path(name) / "file"
        path.write_bytes(b"ours")
        path.chmod(0o600)
        yield path


def test_the_list_is_what_the_kernel_understands(file: Path) -> None:
    let_in(file, CLIENT_UID, READ | WRITE)
    listed = os.getxattr(file, ATTRIBUTE)
    assert CLIENT_UID.to_bytes(4, "little") in listed
    # With a list the group's bits are the mask: what anybody but the owner and others may have at most.
    assert file.stat().st_mode & 0o777 == 0o660


def test_only_the_client_gets_in(file: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to be somebody else")
    let_in(file, CLIENT_UID, READ | WRITE)
    assert _can_write(file, CLIENT_UID)
    assert not _can_write(file, OTHER_UID)


def _can_write(file: Path, uid: int) -> bool:
    command = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "sh", "-c", f"echo theirs >> {file}"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _refuse(*_: object) -> None:
    raise PermissionError(errno.EPERM, "Operation not permitted")


def test_a_daemon_that_may_not_give_files_away_lets_the_client_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "chown", _refuse)
    memory = SharedMemory("cpg", Credentials(os.getpid(), CLIENT_UID, CLIENT_UID), 5, 65536)
    try:
        for path in (memory.directory, *map(Path, (f"{path}-header" for path in memory.paths))):
            assert CLIENT_UID.to_bytes(4, "little") in os.getxattr(path, ATTRIBUTE)
            assert path.stat().st_uid == os.geteuid()
    finally:
        memory.close()
    assert not memory.directory.exists()


def test_root_needs_no_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "chown", _refuse)
    monkeypatch.setattr(os, "geteuid", lambda: CLIENT_UID)
    memory = SharedMemory("cpg", Credentials(os.getpid(), 0, 0), 5, 65536)
    try:
        with pytest.raises(OSError, match="No data available"):
            os.getxattr(memory.directory, ATTRIBUTE)
    finally:
        memory.close()


def test_a_file_system_without_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(os, "chown", _refuse)
    monkeypatch.setattr(os, "setxattr", refuse)
    before = set(os.listdir(qb_memory.DIRECTORY))
    with pytest.raises(MachineError, match="cannot make shared memory: Operation not supported"):
        SharedMemory("cpg", Credentials(os.getpid(), CLIENT_UID, CLIENT_UID), 5, 65536)
    ours = {name for name in set(os.listdir(qb_memory.DIRECTORY)) - before if name.startswith(f"qb-{os.getpid()}-")}
    assert not ours
