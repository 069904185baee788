"""The state directory: small files that must survive a crash whole (protocol/, chapter "Membership").

`ringid_<nodeid>` holds the ring sequence number as corosync stores it, 8 bytes in native order. Each write goes to a
temporary file that is synced and renamed, then the directory is synced: after a crash there is the old or the new
content, never half of one.
"""

import errno
import os
import struct
from contextlib import suppress
from pathlib import Path

from totemd.errors import MachineError
from totemd.ids import NodeId

_RING_SEQ = struct.Struct("=Q")
_SMALL_BYTES = 1024 * 1024
"""More than any of these files has, so that a damaged one is not taken for a whole one."""


class StateDirectory:
    """One node's files. Every MachineError names the file and what to do."""

    def __init__(self, path: Path, nodeid: NodeId) -> None:
        """Create the directory if needed and prove that it can be written."""
        self.path = path
        self._ring_file = path / f"ringid_{nodeid}"
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o755)
        except OSError as error:
            raise MachineError(f"cannot create the state directory {path}: {error.strerror}") from error

    def load_ring_seq(self) -> int:
        """The ring number that an earlier life made durable, 0 for a first one; rewritten at once, so that a disk that
        cannot be written is found now and not when the number matters."""
        data = read_file(self._ring_file, _SMALL_BYTES)
        if data is None:
            seq = 0
        elif len(data) != _RING_SEQ.size:
            raise MachineError(
                f"{self._ring_file} has {len(data)} bytes instead of 8: the node's last ring number is lost. If no "
                "other node of the cluster has this node id, remove the file and start again"
            )
        else:
            (seq,) = _RING_SEQ.unpack(data)
            if seq >= 1 << 62:
                raise MachineError(f"{self._ring_file} holds the impossible ring number {seq}; remove the file")
        self.store_ring_seq(seq)
        return int(seq)

    def store_ring_seq(self, seq: int) -> None:
        """Make `seq` durable. Blocks for as long as the disk takes."""
        try:
            replace_file(self._ring_file, _RING_SEQ.pack(seq))
        except MachineError as error:
            raise MachineError(
                f"{error}; the ring number must be durable before the node may take part in a ring"
            ) from error

    def load(self, name: str) -> bytes | None:
        """Another small file's content; None if there is none."""
        return read_file(self.path / name, _SMALL_BYTES)

    def store(self, name: str, data: bytes) -> None:
        """Write another small file. Blocks for as long as the disk takes."""
        replace_file(self.path / name, data)


def read_file(file: Path, size_max: int) -> bytes | None:
    """What is in a file, None if there is none; MachineError if it cannot be read or has more than `size_max` bytes."""
    try:
        with file.open("rb") as opened:
            data = opened.read(size_max + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise MachineError(f"cannot read {file}: {error.strerror}") from error
    if len(data) > size_max:
        raise MachineError(f"cannot read {file}: it has more than {size_max} bytes")
    return data


def replace_file(file: Path, data: bytes, mode: int = 0o600, owner: tuple[int, int] | None = None) -> None:
    """Give a file a new content: after a crash there is all of the old one or all of the new one. MachineError."""
    temporary = file.with_name(file.name + ".new")
    try:
        # What is there is of a crash, or somebody's who may write here and wants us to follow a link of his.
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            if os.write(descriptor, data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if owner is not None and owner != (os.geteuid(), os.getegid()):
                with suppress(PermissionError):
                    os.fchown(descriptor, *owner)
            # The umask does not apply to what must be readable.
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.rename(file)
        sync_directory(file.parent)
    except OSError as error:
        raise MachineError(f"cannot write {file}: {error.strerror}") from error


def sync_directory(path: Path) -> None:
    """Make durable which files are in a directory. OSError."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
