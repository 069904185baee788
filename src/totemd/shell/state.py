"""The state directory: small files that must survive a crash whole (protocol/, chapter "Membership").

`ringid_<nodeid>` holds the ring sequence number as corosync stores it, 8 bytes in native order. Each write goes to a
temporary file that is synced and renamed, then the directory is synced: after a crash there is the old or the new
content, never half of one.
"""

import errno
import os
import struct
from pathlib import Path

from totemd.errors import MachineError
from totemd.ids import NodeId

_RING_SEQ = struct.Struct("=Q")


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
        data = self._read(self._ring_file)
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
            self._write(self._ring_file, _RING_SEQ.pack(seq))
        except MachineError as error:
            raise MachineError(
                f"{error}; the ring number must be durable before the node may take part in a ring"
            ) from error

    def load(self, name: str) -> bytes | None:
        """Another small file's content; None if there is none."""
        return self._read(self.path / name)

    def store(self, name: str, data: bytes) -> None:
        """Write another small file. Blocks for as long as the disk takes."""
        self._write(self.path / name, data)

    def _read(self, file: Path) -> bytes | None:
        try:
            with file.open("rb") as opened:
                return opened.read(4096)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise MachineError(f"cannot read {file}: {error.strerror}") from error

    def _write(self, file: Path, data: bytes) -> None:
        temporary = file.with_name(file.name + ".new")
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                if os.write(descriptor, data) != len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            temporary.rename(file)
            directory = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            raise MachineError(f"cannot write {file}: {error.strerror}") from error
