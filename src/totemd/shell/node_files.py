"""A node's own files: where they are, and how they are written so that a crash leaves the old or the new one whole."""

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from totemd.cluster.identity import IDENTITY_FILE, Identity
from totemd.errors import MachineError, OperatorError

READ_SIZE_MAX: Final = 1024 * 1024
"""Bytes; none of these files is larger."""

SECRET: Final = 0o600
PUBLIC: Final = 0o644


def write_file(file: Path, data: bytes, mode: int) -> None:
    """Write all of `file`, durably, making its directory if need be. MachineError."""
    temporary = file.with_name(f"{file.name}.new")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            temporary.unlink()
        # Exclusively: nobody else has it open when the secret goes in.
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            os.fchmod(descriptor, mode)
            left = memoryview(data)
            while left:
                written = os.write(descriptor, left)
                if not written:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                left = left[written:]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.rename(file)
        sync_directory(file.parent)
    except OSError as error:
        raise MachineError(f"cannot write {file}: {error.strerror}") from error


def sync_directory(directory: Path) -> None:
    """Make durable which names `directory` has. OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_file(file: Path) -> bytes | None:
    """What `file` holds; None if there is none. MachineError."""
    try:
        with file.open("rb") as opened:
            data = opened.read(READ_SIZE_MAX + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise MachineError(f"cannot read {file}: {error.strerror}") from error
    if len(data) > READ_SIZE_MAX:
        raise MachineError(f"{file} has more than {READ_SIZE_MAX} bytes, which no such file has")
    return data


def remove_file(file: Path) -> None:
    """Remove `file`, durably; no error if there is none. MachineError."""
    try:
        file.unlink()
        sync_directory(file.parent)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise MachineError(f"cannot remove {file}: {error.strerror}") from error


def load_identity(state_dir: Path) -> Identity | None:
    """The node's identity; None if it has none. MachineError, or OperatorError if it cannot be used."""
    data = read_file(state_dir / IDENTITY_FILE)
    if data is None:
        return None
    try:
        return Identity.parse(data)
    except OperatorError as error:
        raise OperatorError(f"{state_dir / IDENTITY_FILE}: {error}") from None


def store_identity(state_dir: Path, identity: Identity) -> None:
    """Write the node's identity, readable by its owner alone. MachineError."""
    write_file(state_dir / IDENTITY_FILE, identity.to_bytes(), SECRET)
