"""The replicated configuration on this node's disk (protocol/, chapter "Replicated configuration").

    STATE_DIR/changes/               records of the service "changes": what is committed, what is prepared, the history
    STATE_DIR/configuration_written  what was last written into corosync.conf
    corosync.conf                    the committed text, for people and for other programs
    totem.keyfile                    the key ring that goes with it

What is committed decides: a managed node runs with that text, whatever the file says, and when it starts it finishes
what a crash has left undone of file and keys. All of this blocks for as long as the disk takes.
"""

import os
import re
import threading
import time
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Final

from totemd.cluster.boxes import open_box
from totemd.cluster.change import Change, box_context, entry_of
from totemd.cluster.identity import IDENTITY_FILE, Identity
from totemd.cluster.text import digest
from totemd.config.document import Document
from totemd.config.identity import read_public_key
from totemd.config.model import Configuration
from totemd.errors import BadPacket, ConfigError, MachineError, OperatorError
from totemd.ids import NodeId
from totemd.record import record
from totemd.seal.keys import KeyRing
from totemd.services.changes.ledger import COMMITTED_FILE, HISTORY_FILE, STATE_FILE, Ledger, encode_entries
from totemd.shell.state import read_file, replace_file

CHANGES_DIRECTORY: Final = "changes"

COMMITTED: Final = COMMITTED_FILE
"""The record of the version in force, an encoded `Change`."""

WRITTEN: Final = "configuration_written"
"""SHA-256 of what was last written: a file that is something else was edited by hand."""

RECORD_SIZE_MAX: Final = 16 * 1024 * 1024
"""Bytes of one record: a history with its texts is the largest."""

FILE_SIZE_MAX: Final = 1024 * 1024
"""Bytes of a corosync.conf."""

EDITED_SUFFIX: Final = ".edited"
"""Behind the name of a file that was edited by hand and is replaced by a committed version: it is kept."""

ADOPTED: Final = "as corosync.conf was"
"""What the history says of the first version."""

_RECORD_NAME: Final = re.compile(r"[a-z0-9_][a-z0-9._-]{0,63}")


@record
class FileState:
    """What corosync.conf is, compared with the committed version; `problem` says it for people ("": no difference)."""

    path: str
    edited: bool
    problem: str


def committed_change(state_dir: Path) -> Change | None:
    """The version that this machine last knew to be committed; None if its cluster, if any, is not a managed one.

    MachineError, or OperatorError if the record is damaged.
    """
    file = state_dir / CHANGES_DIRECTORY / COMMITTED
    data = read_file(file, RECORD_SIZE_MAX)
    if data is None:
        return None
    try:
        return Change.decode(data)
    except BadPacket as error:
        raise OperatorError(
            f"{file} is damaged ({error}); move {file.parent} away and start again: the node then begins with its "
            "corosync.conf, and fetches what is newer from the others"
        ) from None


def adopted(text: str, version: int, cluster_id: bytes) -> Change:
    """The first record of a file that has none: the same on all nodes that have the same file. OperatorError."""
    seed = b"totemd adopted" + cluster_id + version.to_bytes(8, "big") + digest(text)
    change = Change(sha256(seed).digest()[:16], "create", version, version, text, what=ADOPTED)
    try:
        change.encode()
    except ValueError as error:
        raise OperatorError(f"the configuration cannot be replicated: {error}") from None
    return change


class ConfigurationFiles:
    """One managed node's files. `committed` is the change in force, as far as this machine's disk is concerned."""

    def __init__(self, *, file: Path, state_dir: Path, keyfile: Path | None, committed: Change | None) -> None:
        # A link is followed, for it is the file behind it that is to be replaced.
        self.file = Path(os.path.realpath(file))
        self.keyfile = keyfile
        self.committed = committed
        self._state_dir = state_dir
        self._directory = state_dir / CHANGES_DIRECTORY
        self._written = b""
        self._seen: tuple[int, ...] | None = None
        self._state = FileState(str(self.file), edited=False, problem="")
        self._lock = threading.RLock()
        """Threads look and write: what one of them replaces has one temporary name."""

    def open(self, configuration: Configuration) -> dict[str, bytes]:
        """Make the records' directory, adopt the file as the first version if there are no records, finish what was
        left undone; gives all records by name. MachineError, OperatorError."""
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise MachineError(f"cannot create {self._directory}: {error.strerror}") from error
        self._written = read_file(self._state_dir / WRITTEN, FILE_SIZE_MAX) or b""
        if self.committed is None:
            self._adopt(configuration)
        else:
            self._finish(self.committed, configuration)
        return self._records()

    def store(self, name: str, data: bytes) -> None:
        """Make a record durable; without data, have it removed. MachineError."""
        if not _RECORD_NAME.fullmatch(name):
            raise MachineError(f"{name!r} is no name of a record")
        if data:
            replace_file(self._directory / name, data)
        else:
            with suppress(FileNotFoundError):
                (self._directory / name).unlink()
        if name == COMMITTED:
            self.committed = Change.decode(data)

    def write(self, text: str, key_ring: bytes | None) -> str | None:
        """Give the key file and corosync.conf what is committed; the name under which a file edited by hand was kept,
        if it was. MachineError."""
        if key_ring is not None:
            self.write_keys(key_ring)
        with self._lock:
            return self._replace(text.encode())

    def _replace(self, wanted: bytes) -> str | None:
        found, text = read_file(self.file, FILE_SIZE_MAX), wanted.decode()
        kept = None
        if found != wanted:
            if found and sha256(found).digest() != self._written and digest(_text(found)) != digest(text):
                kept = self._place_for_edited(found)
                replace_file(kept, found, *self._mode_and_owner())
            replace_file(self.file, wanted, *self._mode_and_owner())
        self._note_written(wanted)
        return None if kept is None else str(kept)

    def _place_for_edited(self, data: bytes) -> Path:
        """Where a file edited by hand is kept: what was kept before is not overwritten by anything else."""
        plain = self.file.with_name(self.file.name + EDITED_SUFFIX)
        places = (plain if number == 1 else plain.with_name(f"{plain.name}.{number}") for number in count(1))
        return next(place for place in places if _is_free(place, data))

    def write_keys(self, key_ring: bytes) -> None:
        """Give the key file this content. MachineError."""
        if self.keyfile is not None and read_file(self.keyfile, FILE_SIZE_MAX) != key_ring:
            replace_file(Path(os.path.realpath(self.keyfile)), key_ring)

    def check_writable(self) -> None:
        """MachineError if a new version could not be written."""
        for file in (self.file, self.keyfile):
            if file is not None and not os.access(file.parent, os.W_OK):
                raise MachineError(f"cannot write {file}: {file.parent} is not writable for this daemon")

    def look(self) -> FileState:
        """What corosync.conf is now; read anew only if it has changed. One that is gone is written again."""
        with self._lock:
            return self._look()

    def _look(self) -> FileState:
        committed = self.committed
        assert committed is not None, "opened first"
        try:
            found = os.stat(self.file)
        except FileNotFoundError:
            self.write(committed.text, None)
            return FileState(str(self.file), edited=False, problem="was gone, and has been written again")
        except OSError as error:
            return FileState(str(self.file), edited=True, problem=f"cannot be read: {error.strerror}")
        seen = (found.st_mtime_ns, found.st_size, found.st_ino, committed.version)
        if seen != self._seen:
            self._state = self._compared(committed)
            self._seen = seen
        return self._state

    def _compared(self, committed: Change) -> FileState:
        path = str(self.file)
        try:
            data = read_file(self.file, FILE_SIZE_MAX) or b""
        except MachineError as error:
            return FileState(path, edited=True, problem=str(error))
        if sha256(data).digest() == self._written or digest(_text(data)) == digest(committed.text):
            return FileState(path, edited=False, problem="")
        problem = f"says something else than version {committed.version} of the configuration"
        return FileState(path, edited=True, problem=problem)

    def _adopt(self, configuration: Configuration) -> None:
        assert configuration.cluster_id is not None
        data = read_file(self.file, FILE_SIZE_MAX)
        if data is None:
            raise MachineError(f"{self.file} is gone; start again when it is there")
        change = adopted(_text(data), configuration.config_version, configuration.cluster_id)
        self._note_written(data)
        # When it was first seen here: of no matter to the change, which is the same on all nodes.
        entry = replace(entry_of(change, "committed"), when=int(time.time()))
        self.store(HISTORY_FILE, encode_entries([entry]))
        self.store(COMMITTED, change.encode())

    def _finish(self, committed: Change, configuration: Configuration) -> None:
        """Write what was committed and not written when the last life ended. A file edited by hand stays as it is."""
        key_ring = self._keys_of(committed, configuration)
        if key_ring is not None and self._sends_another(key_ring):
            self.write_keys(key_ring)
        found = read_file(self.file, FILE_SIZE_MAX)
        if not found or found == committed.text.encode() or sha256(found).digest() == self._written:
            self.write(committed.text, None)

    def _keys_of(self, change: Change, configuration: Configuration) -> bytes | None:
        """The keys that came with `change`, if they did and can be had."""
        box = change.boxes.get(configuration.local.nodeid)
        data = read_file(self._state_dir / IDENTITY_FILE, FILE_SIZE_MAX)
        if box is None or data is None:
            return None
        assert configuration.cluster_id is not None
        context = box_context(configuration.cluster_id, change)
        for text in (change.text, self._text_before()):
            # Who proposed it may have left by it.
            sender = _public_key(text, change.proposer)
            if sender is not None:
                with suppress(BadPacket):
                    return open_box(Identity.parse(data), sender, box, context)
        return None

    def _text_before(self) -> str:
        data = read_file(self._directory / STATE_FILE, RECORD_SIZE_MAX)
        try:
            previous = None if data is None else Ledger.decode(data).previous
        except BadPacket:
            return ""
        return "" if previous is None else previous.text

    def _sends_another(self, key_ring: bytes) -> bool:
        if self.keyfile is None:
            return False
        found = read_file(self.keyfile, FILE_SIZE_MAX)
        try:
            return found is None or KeyRing.parse(found).sending != KeyRing.parse(key_ring).sending
        except OperatorError:
            return True

    def _records(self) -> dict[str, bytes]:
        records = {}
        for entry in sorted(self._directory.iterdir()):
            if entry.name.endswith(".new"):
                # A crash left it; it never counted.
                entry.unlink(missing_ok=True)
            elif _RECORD_NAME.fullmatch(entry.name) and (data := read_file(entry, RECORD_SIZE_MAX)) is not None:
                records[entry.name] = data
        return records

    def _note_written(self, data: bytes) -> None:
        noted = sha256(data).digest()
        if noted != self._written:
            replace_file(self._state_dir / WRITTEN, noted)
            self._written = noted

    def _mode_and_owner(self) -> tuple[int, tuple[int, int] | None]:
        """Those of corosync.conf, which a new one gets as well."""
        try:
            found = os.stat(self.file)
        except OSError:
            return 0o644, None
        return found.st_mode & 0o777, (found.st_uid, found.st_gid)


def _is_free(place: Path, data: bytes) -> bool:
    """Whether nothing is lost when `data` is written there."""
    try:
        return read_file(place, FILE_SIZE_MAX) in (None, data)
    except MachineError:
        return False


def _public_key(text: str, nodeid: NodeId) -> bytes | None:
    """What a configuration's text says of that node."""
    with suppress(ConfigError):
        for table in Document(text, "configuration").nodes:
            if table.number("nodeid") == nodeid:
                return read_public_key(table)
    return None


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")
