"""A node's identity on its disk, and the other files that `totemctl cluster create` and `join` write."""

import shutil
from pathlib import Path
from typing import Final

from totemd.cluster.identity import FILE_SIZE_MAX, IDENTITY_FILE, Identity
from totemd.errors import MachineError, OperatorError
from totemd.shell.state import read_file, replace_file, sync_directory

PUBLIC: Final = 0o644
SECRET: Final = 0o600

JOINING_FILE: Final = "joining"
"""In the state directory while a join is under way: what is there may be written anew."""


def write_file(file: Path, data: bytes, mode: int) -> None:
    """Write all of `file`, durably, and make its directory if need be. MachineError."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MachineError(f"cannot create {file.parent}: {error.strerror}") from error
    replace_file(file, data, mode)


def remove(path: Path) -> None:
    """Remove a file, or a directory with all that is in it, durably; no error if there is none. MachineError."""
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.exists():
            path.unlink()
        else:
            return
        sync_directory(path.parent)
    except OSError as error:
        raise MachineError(f"cannot remove {path}: {error.strerror}") from error


def load_identity(state_dir: Path) -> Identity | None:
    """The node's identity; None if it has none. MachineError, or OperatorError if it cannot be used."""
    file = state_dir / IDENTITY_FILE
    data = read_file(file, FILE_SIZE_MAX)
    if data is None:
        return None
    try:
        return Identity.parse(data)
    except OperatorError as error:
        raise OperatorError(f"{file}: {error}") from None


def store_identity(state_dir: Path, identity: Identity) -> None:
    """Write the node's identity, readable by its owner alone. MachineError."""
    write_file(state_dir / IDENTITY_FILE, identity.to_bytes(), SECRET)
