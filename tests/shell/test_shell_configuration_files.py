"""The replicated configuration on the disk: after a crash anywhere, what is committed decides, and the files say it."""

import errno
import os
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from totemd.cluster.boxes import seal_boxes
from totemd.cluster.change import Change, box_context
from totemd.cluster.identity import new_identity
from totemd.cluster.nodelist_text import ListedNode, add_node, new_cluster, remove_node
from totemd.cluster.text import with_version
from totemd.config import Configuration, load
from totemd.errors import MachineError, OperatorError
from totemd.seal.keys import KeyRing, new_key
from totemd.services.changes.ledger import Ledger, decode_entries
from totemd.shell import configuration_files
from totemd.shell.configuration_files import ConfigurationFiles, adopted, committed_change
from totemd.shell.state import replace_file

SYSTEM_CALLS = ("os.open", "os.write", "os.fsync", "rename", "unlink")

make = random.Random(7).randbytes
IDENTITY = new_identity(make)
CLUSTER_ID = make(16)
OLD_KEYS = KeyRing(new_key(make))
NEW_KEYS = OLD_KEYS.sending_with(new_key(make))
TEXT = new_cluster(
    name="sea",
    cluster_id=CLUSTER_ID,
    node=ListedNode(1, "hake", "192.0.2.1", IDENTITY.uuid, IDENTITY.public_key),
    transport="udpu",
)


class Crash(BaseException):
    """The process ends here."""


class Disk:
    """One node's files."""

    def __init__(self, path: Path) -> None:
        self.config, self.keyfile, self.state = path / "corosync.conf", path / "authkey", path / "state"
        self.state.mkdir()
        (self.state / "identity").write_bytes(IDENTITY.to_bytes())
        self.config.write_text(TEXT)
        self.keyfile.write_bytes(OLD_KEYS.to_bytes())

    def open(self) -> tuple[ConfigurationFiles, dict[str, bytes]]:
        """A life begins."""
        committed = committed_change(self.state)
        files = ConfigurationFiles(file=self.config, state_dir=self.state, keyfile=self.keyfile, committed=committed)
        return files, files.open(meaning(TEXT if committed is None else committed.text))

    def sending(self) -> KeyRing:
        return KeyRing.parse(self.keyfile.read_bytes())


def meaning(text: str) -> Configuration:
    return load(text, file="f", resolve=lambda name, version: [], local_addresses=["192.0.2.1"])


def next_change(before: Change, *, rotates: bool = False) -> Change:
    text = with_version(before.text + f"# {before.version + 1}\n", before.version + 1)
    kind = "rotate-key" if rotates else "edit"
    change = Change(make(16), kind, before.version, before.version + 1, text, proposer=1)  # type: ignore[arg-type]
    if not rotates:
        return change
    context = box_context(CLUSTER_ID, change)
    boxes = seal_boxes(IDENTITY, {1: IDENTITY.public_key}, NEW_KEYS.to_bytes(), context, make)
    return Change(change.ident, change.kind, 1, 2, text, boxes=boxes, proposer=1)


def fail_at(patch: pytest.MonkeyPatch, call: str, number: int, error: Callable[[], BaseException]) -> None:
    """Let the `number`th use (from 1) of a system call fail."""
    owner: Any = os if call.startswith("os.") else Path
    name = call.rpartition(".")[2]
    real = getattr(owner, name)
    uses = 0

    def failing(*arguments: Any, **options: Any) -> Any:
        nonlocal uses
        uses += 1
        if uses == number:
            raise error()
        return real(*arguments, **options)

    patch.setattr(owner, name, failing)


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


def test_the_first_life_adopts_the_file(disk: Disk) -> None:
    files, records = disk.open()
    assert files.committed is not None
    assert (files.committed.version, files.committed.text, files.committed.kind) == (1, TEXT, "create")
    assert Change.decode(records["committed"]) == files.committed
    (entry,) = decode_entries(records["history"])
    assert (entry.version, entry.kind, entry.outcome) == (1, "create", "committed")
    assert entry.when > 1_700_000_000
    assert disk.config.read_text() == TEXT
    assert disk.open()[0].committed == files.committed


def test_all_who_adopt_one_file_make_one_record() -> None:
    assert adopted(TEXT, 1, CLUSTER_ID) == adopted(TEXT, 1, CLUSTER_ID)
    assert adopted(TEXT + "# a word", 1, CLUSTER_ID).ident == adopted(TEXT, 1, CLUSTER_ID).ident
    assert adopted(TEXT.replace("sea", "lake"), 1, CLUSTER_ID).ident != adopted(TEXT, 1, CLUSTER_ID).ident


@pytest.mark.parametrize("call", SYSTEM_CALLS)
@pytest.mark.parametrize("rotates", [False, True])
def test_a_crash_anywhere_leaves_one_version_in_all_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, rotates: bool
) -> None:
    for number in range(1, 30):
        path = tmp_path / str(number)
        path.mkdir()
        disk = Disk(path)
        files, _ = disk.open()
        assert files.committed is not None
        change = next_change(files.committed, rotates=rotates)
        crashed = False
        with monkeypatch.context() as patch:
            fail_at(patch, call, number, Crash)
            try:
                files.store("state", b"prepared")
                files.store("committed", change.encode())
                files.store("state", b"")
                files.write(change.text, NEW_KEYS.to_bytes() if rotates else None)
            except Crash:
                crashed = True
        again, records = disk.open()
        assert again.committed in (files.committed, change)
        assert again.committed is not None
        assert disk.config.read_text() == again.committed.text
        is_new = again.committed.version == change.version
        assert disk.sending().sending == (NEW_KEYS if rotates and is_new else OLD_KEYS).sending
        assert not again.look().edited
        assert set(records) <= {"committed", "state", "history"}
        assert not list(path.rglob("*.edited"))
        if not crashed:
            assert is_new
            return
    raise AssertionError("it never came to its end")


@pytest.mark.parametrize("call", SYSTEM_CALLS[:4])
def test_a_crash_while_finishing_is_finished_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    for number in range(1, 30):
        path = tmp_path / str(number)
        path.mkdir()
        disk = Disk(path)
        files, _ = disk.open()
        assert files.committed is not None
        change = next_change(files.committed, rotates=True)
        files.store("committed", change.encode())
        crashed = False
        with monkeypatch.context() as patch:
            fail_at(patch, call, number, Crash)
            try:
                disk.open()
            except Crash:
                crashed = True
        disk.open()
        assert disk.config.read_text() == change.text
        assert disk.sending().sending == NEW_KEYS.sending
        if not crashed:
            return
    raise AssertionError("it never came to its end")


@pytest.mark.parametrize("call", SYSTEM_CALLS[:4])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_disk_that_fails_is_named_and_the_next_try_does_it(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    files, _ = disk.open()
    assert files.committed is not None
    change = next_change(files.committed)
    files.store("committed", change.encode())
    with monkeypatch.context() as patch:
        fail_at(patch, call, 1, lambda: OSError(number, os.strerror(number)))
        with pytest.raises(MachineError, match=os.strerror(number)):
            files.write(change.text, None)
    files.write(change.text, None)
    assert disk.config.read_text() == change.text


def test_a_file_edited_by_hand_is_seen_kept_and_not_obeyed(disk: Disk) -> None:
    files, _ = disk.open()
    assert files.committed is not None
    edited = TEXT.replace("transport: udpu", "transport: udpu\n    token: 1234")
    disk.config.write_text(edited)
    assert files.look().edited
    assert "says something else than version 1" in files.look().problem
    again, _ = disk.open()
    assert disk.config.read_text() == edited, "a start leaves it, too"
    assert again.look().edited
    change = next_change(files.committed)
    again.store("committed", change.encode())
    kept = again.write(change.text, None)
    assert kept == str(disk.config) + ".edited"
    assert Path(kept).read_text() == edited
    assert disk.config.read_text() == change.text
    assert not again.look().edited


def test_comments_and_blanks_are_no_edit(disk: Disk) -> None:
    files, _ = disk.open()
    disk.config.write_text("# mine\n" + TEXT.replace("    ", "\t"))
    assert not files.look().edited


def test_a_file_that_says_what_becomes_the_next_version_is_not_kept_twice(disk: Disk) -> None:
    files, _ = disk.open()
    assert files.committed is not None
    edited = TEXT.replace("transport: udpu", "transport: udpu\n    token: 1234")
    disk.config.write_text(edited)
    text = with_version(edited, 2)
    files.store("committed", Change(make(16), "edit", 1, 2, text).encode())
    assert files.write(text, None) is None
    assert not files.look().edited


def test_a_file_that_is_gone_is_written_again(disk: Disk) -> None:
    files, _ = disk.open()
    disk.config.unlink()
    assert "written again" in files.look().problem
    assert disk.config.read_text() == TEXT
    disk.config.unlink()
    disk.open()
    assert disk.config.read_text() == TEXT


def test_a_broken_file_is_an_edit(disk: Disk) -> None:
    files, _ = disk.open()
    disk.config.write_bytes(b"totem {\n\xff")
    assert files.look().edited


def test_mode_and_link_stay(disk: Disk, tmp_path: Path) -> None:
    real = tmp_path / "real.conf"
    disk.config.rename(real)
    real.chmod(0o640)
    disk.config.symlink_to(real)
    files, _ = disk.open()
    assert files.committed is not None
    change = next_change(files.committed)
    files.store("committed", change.encode())
    files.write(change.text, NEW_KEYS.to_bytes())
    assert disk.config.is_symlink()
    assert real.read_text() == change.text
    assert real.stat().st_mode & 0o777 == 0o640
    assert disk.keyfile.stat().st_mode & 0o777 == 0o600


@given(st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_record_is_told_and_kept(disk: Disk, data: bytes) -> None:
    (disk.state / "changes").mkdir(exist_ok=True)
    file = disk.state / "changes" / "committed"
    file.write_bytes(data)
    with pytest.raises(OperatorError, match=r"changes/committed is damaged .* move .*/changes away"):
        committed_change(disk.state)
    assert file.read_bytes() == data


@pytest.mark.parametrize("name", ["", "../identity", "a/b", ".new", "x" * 80])
def test_records_have_plain_names(disk: Disk, name: str) -> None:
    files, _ = disk.open()
    with pytest.raises(MachineError, match="no name"):
        files.store(name, b"x")


def test_who_proposed_a_new_key_may_have_left_by_it(disk: Disk) -> None:
    """Then the version before knows the sender's key."""
    other = new_identity(make)
    listed = ListedNode(2, "ling", "192.0.2.2", other.uuid, other.public_key)
    before = Change(make(16), "join", 0, 1, add_node(TEXT, listed))
    files, _ = disk.open()
    text = with_version(remove_node(before.text, 2, 2), 2)
    change = Change(make(16), "leave", 1, 2, text, proposer=2)
    boxes = seal_boxes(other, {1: IDENTITY.public_key}, NEW_KEYS.to_bytes(), box_context(CLUSTER_ID, change), make)
    change = Change(change.ident, "leave", 1, 2, text, boxes=boxes, proposer=2)
    files.store("committed", change.encode())
    files.store("state", Ledger(change, previous=before).encode())
    disk.open()
    assert disk.sending().sending == NEW_KEYS.sending


def test_what_was_edited_before_is_not_overwritten(disk: Disk) -> None:
    files, _ = disk.open()
    change = files.committed
    assert change is not None
    kept = []
    for token in (1234, 2345, 2345, 3456):
        disk.config.write_text(TEXT.replace("transport: udpu", f"transport: udpu\n    token: {token}"))
        change = next_change(change)
        files.store("committed", change.encode())
        kept.append(files.write(change.text, None))
    plain = f"{disk.config}.edited"
    assert kept == [plain, f"{plain}.2", f"{plain}.2", f"{plain}.3"]
    assert "token: 1234" in Path(plain).read_text()


def test_who_looks_waits_for_who_writes(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reload looks at the file from a thread of its own while a new version is written: both would write one file."""
    files, _ = disk.open()
    writing, go_on = threading.Event(), threading.Event()

    def slowly(*given: Any) -> None:
        writing.set()
        assert go_on.wait(10)
        replace_file(*given)

    committed = files.committed
    assert committed is not None
    monkeypatch.setattr(configuration_files, "replace_file", slowly)
    with ThreadPoolExecutor(2) as threads:
        written = threads.submit(files.write, committed.text + "# more\n", None)
        assert writing.wait(10)
        files.file.unlink()
        looked = threads.submit(files.look)
        assert not wait([looked], timeout=0.2).done
        go_on.set()
        written.result(10)
        assert not looked.result(10).problem.startswith("was gone")
