"""`totemctl cluster config ...`, `rotate-key` and `keygen` as their user meets them."""

import io
import itertools
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fake_daemon import SILENCE, FakeConnection, FakeDaemon, FakeRefusal, Frame
from totemd.cli import cluster_change, cluster_config, ctl
from totemd.seal.keys import KeyRing

Run = Callable[..., int]

TEXT = "totem {\n    version: 2\n    config_version: 7\n    token: 1000\n}\n"
SHOWN: Frame = {
    "version": 7,
    "committed_version": 7,
    "confirmed": True,
    "digest": "00" * 16,
    "kind": "edit",
    "who": "uid 0 on node 1",
    "when": 1_800_000_000,
    "what": "longer timeout",
    "text": TEXT,
    "file": "/etc/corosync/corosync.conf",
    "edited": False,
    "problem": "",
    "pending": None,
}
ACCEPTED: Frame = {"accepted": True, "version": 8, "reasons": [], "why": "", "undecided": False, "quorate": True}
REASONS = [{"nodeid": 2, "name": "n2", "reason": "\x1b[31mno such address"}, {"nodeid": 4, "name": "", "reason": "no"}]
REFUSED: Frame = {**ACCEPTED, "accepted": False, "version": 0, "reasons": REASONS}
PENDING: Frame = {
    "version": 8,
    "kind": "rotate-key",
    "who": "",
    "what": "",
    "withdrawn": False,
    "prepared": [1],
    "waiting": [2, 3],
    "refused": [],
}


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDaemon]:
    monkeypatch.setattr(cluster_change, "POLL_S", 0.01)
    monkeypatch.setattr(cluster_change, "CONFIRM_EXTRA_S", 0.1)
    with FakeDaemon(tmp_path / "socket") as daemon:
        daemon.on("config_show", {**SHOWN, "file": str(tmp_path / "corosync.conf")})
        daemon.on("config_validate", ACCEPTED)
        yield daemon


@pytest.fixture
def run(daemon: FakeDaemon) -> Run:
    return lambda *words: ctl.main(["--socket", str(daemon.path), "cluster", *words])


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "new.conf"
    path.write_text(TEXT.replace("1000", "2000"))
    return str(path)


def accept(daemon: FakeDaemon, name: str, outcome: Frame = ACCEPTED) -> None:
    """The request is answered, and version 8 is in force and confirmed then."""

    def answer(connection: FakeConnection, ident: int, arguments: Frame) -> object:
        daemon.on("config_show", {**SHOWN, "version": 8, "committed_version": 8})
        return outcome

    daemon.handlers[name] = answer


def asked(daemon: FakeDaemon, name: str) -> list[Frame]:
    return [arguments for do, arguments in daemon.seen if do == name]


def test_show_prints_the_text_and_nothing_else(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("config", "show") == 0
    assert capsys.readouterr() == (TEXT, "")


def test_show_notes_that_the_file_differs(run: Run, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.on("config_show", {**SHOWN, "edited": True, "problem": "says something else"})
    assert run("config", "show") == 0
    assert capsys.readouterr() == (
        TEXT,
        "totemctl: note: /etc/corosync/corosync.conf says something else (config diff shows it)\n",
    )


def test_show_of_a_version_whose_text_is_gone(run: Run, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.on("config_show", {**SHOWN, "version": 3, "text": None})
    assert run("config", "show", "3") == 1
    assert asked(daemon, "config_show") == [{"version": 3}]
    assert capsys.readouterr().err == "totemctl: the text of version 3 is not kept any more\n"


def test_a_cluster_that_is_kept_by_hand(run: Run, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(connection: FakeConnection, ident: int, arguments: Frame) -> object:
        raise FakeRefusal("not_supported", "this cluster's configuration is kept by hand")

    daemon.handlers["config_show"] = refuse
    assert run("config", "show") == 1
    assert capsys.readouterr().err.startswith("totemctl: this cluster's configuration is kept by hand")


def test_diff(run: Run, file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("config", "diff", file) == 1
    shown = capsys.readouterr().out
    assert shown.startswith(f"--- version 7\n+++ {file}\n")
    assert "-    token: 1000\n+    token: 2000\n" in shown
    Path(file).write_text("# \x1b]0;gotcha\x07\n" + TEXT)
    assert run("config", "diff", file) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert shown.endswith("Both mean the same.\n")
    assert run("--json", "config", "diff", file) == 0
    assert json.loads(capsys.readouterr().out)["different"] is False
    Path(file).write_text(TEXT)
    assert run("config", "diff", file) == 0
    assert capsys.readouterr().out == f"{file} is version 7.\n"


def test_validate_says_what_each_node_says(
    run: Run, daemon: FakeDaemon, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("config", "validate", file) == 0
    assert "every node that is present accepts it" in capsys.readouterr().out
    daemon.on("config_validate", REFUSED)
    assert run("config", "validate", file) == 1
    told = capsys.readouterr().err
    assert told == f"totemctl: {file} would not do:\n  n2: \\x1b[31mno such address\n  node 4: no\n"
    assert run("--json", "config", "validate", file) == 1
    assert json.loads(capsys.readouterr().out)["reasons"][0]["name"] == "n2"


def test_a_mistake_in_the_file_is_told_with_its_line_before_anybody_is_asked(
    run: Run, daemon: FakeDaemon, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(file).write_text("totem {\n    version\n}\n")
    for words in (("validate", file), ("apply", file), ("apply", file, "--dry-run")):
        assert run("config", *words) == 1
        assert capsys.readouterr().err.startswith(f"totemctl: {file}:2: totem: ")
    assert asked(daemon, "config_validate") == asked(daemon, "config_propose") == []


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (None, "cannot read "),
        (b"\xff\xfe", "byte 0 is not UTF-8 text"),
        (b"#" * (1024 * 1024 + 1), "more than 1048576"),
    ],
)
def test_what_is_no_text_file(
    run: Run, file: str, capsys: pytest.CaptureFixture[str], content: bytes | None, error: str
) -> None:
    if content is None:
        Path(file).unlink()
    else:
        Path(file).write_bytes(content)
    assert run("config", "apply", file) == 1
    assert error in capsys.readouterr().err


def test_apply(run: Run, daemon: FakeDaemon, file: str, capsys: pytest.CaptureFixture[str]) -> None:
    accept(daemon, "config_propose", {**ACCEPTED, "after_restart": ["totem.netmtu"]})
    assert run("config", "apply", file, "-m", "why not", "--rollback-after", "5") == 0
    assert asked(daemon, "config_propose") == [
        {"text": Path(file).read_text(), "base_version": 7, "what": "why not", "rollback_after_s": 5}
    ]
    told = capsys.readouterr().out
    assert told.startswith("Version 8 is in force on all members.\nIt is confirmed: there is quorum with it.\n")
    assert "Only when the daemons are started anew: totem.netmtu." in told


def test_apply_as_json(run: Run, daemon: FakeDaemon, file: str, capsys: pytest.CaptureFixture[str]) -> None:
    accept(daemon, "config_propose")
    assert run("--json", "config", "apply", file) == 0
    assert json.loads(capsys.readouterr().out) == {
        "accepted": True,
        "changed": True,
        "version": 8,
        "confirmed": True,
        "after_restart": [],
    }
    daemon.on("config_show", SHOWN)
    daemon.on("config_propose", REFUSED)
    assert run("--json", "config", "apply", file) == 1
    assert json.loads(capsys.readouterr().out)["accepted"] is False


def test_apply_of_this_nodes_file_is_the_default(run: Run, daemon: FakeDaemon, tmp_path: Path) -> None:
    (tmp_path / "corosync.conf").write_text(TEXT.replace("1000", "3000"))
    accept(daemon, "config_propose")
    assert run("config", "apply") == 0
    assert "token: 3000" in asked(daemon, "config_propose")[0]["text"]


def test_nothing_is_proposed_that_changes_nothing(
    run: Run, daemon: FakeDaemon, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(file).write_text("# other words\n" + TEXT)
    assert run("config", "apply", file) == 0
    assert capsys.readouterr().out == f"{file} means the same as version 7: there is nothing to do.\n".replace(
        file[0], file[0].upper(), 1
    )
    assert asked(daemon, "config_propose") == []


def test_a_file_made_from_an_older_version_would_undo_something(
    run: Run, daemon: FakeDaemon, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(file).write_text(TEXT.replace("config_version: 7", "config_version: 6").replace("1000", "2000"))
    assert run("config", "apply", file) == 1
    assert "it would undo what was changed since" in capsys.readouterr().err
    accept(daemon, "config_propose")
    assert run("config", "apply", file, "--force") == 0


def test_a_version_raised_by_hand_is_no_mistake(run: Run, daemon: FakeDaemon, file: str) -> None:
    Path(file).write_text(TEXT.replace("config_version: 7", "config_version: 8").replace("1000", "2000"))
    accept(daemon, "config_propose")
    assert run("config", "apply", file) == 0
    assert asked(daemon, "config_propose")[0]["base_version"] == 7


def test_dry_run_shows_the_difference_and_proposes_nothing(
    run: Run, daemon: FakeDaemon, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("config", "apply", file, "--dry-run") == 0
    assert "+    token: 2000\n" in capsys.readouterr().out
    daemon.on("config_validate", REFUSED)
    assert run("config", "apply", file, "--dry-run") == 1
    assert asked(daemon, "config_propose") == []


@pytest.mark.parametrize(
    ("outcome", "status", "text"),
    [
        (REFUSED, 1, "totemctl: refused, and nothing was changed:\n  n2: "),
        ({**REFUSED, "quorate": False, "reasons": [], "why": "there is no quorum"}, 2, "changed: there is no quorum\n"),
        (
            {**REFUSED, "undecided": True, "reasons": [], "why": "nobody knows yet"},
            1,
            "not known yet what becomes of it",
        ),
    ],
    ids=["refused", "no quorum", "undecided"],
)
def test_a_change_that_is_not_made(
    run: Run,
    daemon: FakeDaemon,
    file: str,
    capsys: pytest.CaptureFixture[str],
    outcome: Frame,
    status: int,
    text: str,
) -> None:
    daemon.on("config_propose", outcome)
    assert run("config", "apply", file) == status
    assert text in capsys.readouterr().err


def test_a_version_that_the_ring_does_not_work_with(
    run: Run, daemon: FakeDaemon, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def gone_back(connection: FakeConnection, ident: int, arguments: Frame) -> object:
        daemon.on("config_show", {**SHOWN, "committed_version": 8, "confirmed": False})
        return ACCEPTED

    daemon.handlers["config_propose"] = gone_back
    assert run("config", "apply", file) == 2
    assert "there is no quorum with it (yet)" in capsys.readouterr().err


def test_the_end_of_the_daemon_is_told_in_a_line(
    run: Run, daemon: FakeDaemon, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def end(connection: FakeConnection, ident: int, arguments: Frame) -> object:
        connection.close("the daemon stops")
        return SILENCE

    daemon.handlers["config_propose"] = end
    assert run("config", "apply", file) == 1
    told = capsys.readouterr().err
    assert told.startswith("totemctl: ")
    assert told.count("\n") == 1


def test_progress_of_each_node_is_shown(run: Run, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    def rotate(connection: FakeConnection, ident: int, arguments: Frame) -> object:
        for prepared in ([1], [1, 3]):
            waiting = [nodeid for nodeid in (1, 2, 3) if nodeid not in prepared]
            daemon.on("config_show", {**SHOWN, "pending": {**PENDING, "prepared": prepared, "waiting": waiting}})
            time.sleep(0.15)
        daemon.on("config_show", {**SHOWN, "version": 8, "committed_version": 8})
        return ACCEPTED

    # Its own connection asks how things are: the answer to the change comes later.
    def later(connection: FakeConnection, ident: int, arguments: Frame) -> object:
        def answer() -> None:
            connection.send({"id": ident, "ok": rotate(connection, ident, arguments)})

        threading.Thread(target=answer).start()
        return SILENCE

    daemon.handlers["config_rotate_key"] = later
    assert run("rotate-key") == 0
    assert capsys.readouterr().out == (
        "Version 8, prepared by n1, waiting for n2, n3.\n"
        "Version 8, prepared by n1, n3, waiting for n2.\n"
        "Version 8 is in force on all members.\n"
        "It is confirmed: there is quorum with it.\n"
    )


def test_rollback(run: Run, daemon: FakeDaemon) -> None:
    accept(daemon, "config_rollback")
    assert run("config", "rollback") == 0
    assert run("config", "rollback", "5") == 0
    assert asked(daemon, "config_rollback") == [{"version": None}, {"version": 5}]


def test_history(
    run: Run, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    first = {
        "version": 7,
        "base_version": 6,
        "kind": "edit",
        "who": "uid 0 on node 1",
        "when": 1_800_000_000,
        "what": "longer timeout",
        "outcome": "committed",
        "reasons": [],
        "has_text": True,
    }
    second = {**first, "version": 8, "outcome": "rejected", "reasons": REASONS, "what": "bad\x07", "who": ""}
    third = {
        **first,
        "version": 9,
        "outcome": "aborted",
        "why": "not prepared within 10 s: node 3",
        "what": "x",
        "who": "",
    }
    daemon.on("config_history", {"entries": [first, second, third]})
    assert run("config", "history") == 0
    assert capsys.readouterr().out == (
        "Version  When                 Kind        Outcome      What\n"
        "*     7  2027-01-15 08:00:00  edit        committed    longer timeout (uid 0 on node 1)\n"
        "      8  2027-01-15 08:00:00  edit        rejected     bad\\x07\n"
        "         n2: \\x1b[31mno such address\n"
        "         node 4: no\n"
        "      9  2027-01-15 08:00:00  edit        aborted      x\n"
        "         not prepared within 10 s: node 3\n"
        "* in force\n"
    )
    assert run("config", "history", "--limit", "2") == 0
    assert "longer timeout" not in capsys.readouterr().out
    assert run("--json", "config", "history") == 0
    assert [entry["version"] for entry in json.loads(capsys.readouterr().out)["entries"]] == [7, 8, 9]


def editor(expression: str) -> str:
    """A program that makes another text `t` of a file."""
    program = f"import sys; p = sys.argv[1]; t = open(p).read(); open(p, 'w').write({expression})"
    return f'{sys.executable} -c "{program}"'


def test_edit_applies_what_was_written(
    run: Run, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("VISUAL", editor("t.replace('1000', '1234')"))
    accept(daemon, "config_propose")
    assert run("config", "edit", "--yes", "-m", "by hand") == 0
    assert "+    token: 1234\n" in capsys.readouterr().out
    (proposed,) = asked(daemon, "config_propose")
    assert (proposed["text"], proposed["base_version"]) == (TEXT.replace("1000", "1234"), 7)
    assert not list(tmp_path.glob("totemctl-*")), "no copy is left"


@pytest.mark.parametrize(
    ("program", "says"),
    [
        (editor("t + '}'"), "unexpected }"),
        ("false", "ended with status 1"),
        ("/no/such/editor", "cannot run the editor"),
        ("'", "cannot run the editor"),
    ],
)
def test_what_is_wrong_is_not_applied_and_not_lost(
    run: Run,
    daemon: FakeDaemon,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    program: str,
    says: str,
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", program)
    assert run("config", "edit", "--yes") == 1
    told = capsys.readouterr().err
    assert says in told
    assert asked(daemon, "config_propose") == []
    kept = list(tmp_path.glob("totemctl-*/corosync.conf"))
    assert [str(path) in told for path in kept] == [True] * ("sys.argv" in program)


def test_a_refused_edit_is_kept(
    run: Run, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("VISUAL", editor("t.replace('1000', '1234')"))
    daemon.on("config_propose", REFUSED)
    assert run("config", "edit", "--yes") == 1
    (kept,) = tmp_path.glob("totemctl-*/corosync.conf")
    assert f"what you wrote is kept in {kept}" in capsys.readouterr().err
    assert "1234" in kept.read_text()


def test_edit_without_a_change(run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISUAL", "true")
    assert run("config", "edit") == 0
    assert capsys.readouterr().out == "Nothing was changed: there is nothing to do.\n"


def test_keygen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "key"
    assert ctl.main(["cluster", "keygen", str(file)]) == 0
    data = file.read_bytes()
    assert len(data) == cluster_config.KEY_SIZE
    assert file.stat().st_mode & 0o777 == 0o600
    assert KeyRing.parse(data).sending.secret == data
    assert ctl.main(["cluster", "keygen", str(file)]) == 1
    assert "exists, and is left as it is" in capsys.readouterr().err
    assert file.read_bytes() == data
    assert ctl.main(["cluster", "keygen", str(tmp_path / "none" / "key")]) == 1
    assert ctl.main(["--json", "cluster", "keygen", str(tmp_path / "other")]) == 0
    assert (tmp_path / "other").read_bytes() != data


@pytest.mark.parametrize("words", [("config",), ("config", "show", "-1"), ("config", "apply", "a", "b"), ("keygen",)])
def test_wrong_usage(run: Run, words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(*words)
    assert ended.value.code == 64


def edited_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("VISUAL", editor("t.replace('1000', '1234')"))


class Terminal(io.StringIO):
    """Somebody who answers so; nothing is Ctrl-D."""

    def isatty(self) -> bool:
        return True


def test_no_answer_to_the_question_is_no(
    run: Run, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    edited_here(monkeypatch, tmp_path)
    monkeypatch.setattr("sys.stdin", Terminal(""))
    assert run("config", "edit") == 1
    (kept,) = tmp_path.glob("totemctl-*/corosync.conf")
    told = capsys.readouterr().err
    assert f"what you wrote is kept in {kept}" in told
    assert "totemctl: not applied; " in told
    assert asked(daemon, "config_propose") == []


def test_the_copy_is_named_however_the_edit_ends(
    run: Run, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def end(connection: FakeConnection, ident: int, arguments: Frame) -> object:
        connection.close("the daemon stops")
        return SILENCE

    edited_here(monkeypatch, tmp_path)
    daemon.handlers["config_propose"] = end
    assert run("config", "edit", "--yes") == 1
    (kept,) = tmp_path.glob("totemctl-*/corosync.conf")
    assert f"what you wrote is kept in {kept}" in capsys.readouterr().err

    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cluster_change, "_change", interrupted)
    assert run("config", "edit", "--yes") == 130
    told = capsys.readouterr().err
    assert [str(path) in told for path in tmp_path.glob("totemctl-*/corosync.conf")].count(True) == 1


def test_an_edit_for_programs_prints_one_object(
    run: Run, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    edited_here(monkeypatch, tmp_path)
    accept(daemon, "config_propose")
    assert run("--json", "config", "edit", "--yes") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["accepted"] is True
    assert "+    token: 1234" in err


def test_a_directory_for_the_copy_that_is_not_to_be_had(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def mkdtemp(prefix: str) -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr("tempfile.mkdtemp", mkdtemp)
    assert run("config", "edit") == 1
    assert capsys.readouterr().err == "totemctl: No usable temporary directory found\n"


def process(daemon: FakeDaemon, *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "totemd.cli.ctl", "--socket", str(daemon.path), "cluster", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize("words", [("config", "rollback"), ("rotate-key",)])
def test_ctrl_c_ends_a_change_quietly(daemon: FakeDaemon, words: tuple[str, ...]) -> None:
    pending = {**SHOWN, "pending": PENDING}
    daemon.on("config_show", pending)
    for name in ("config_rollback", "config_rotate_key"):
        daemon.handlers[name] = lambda connection, ident, arguments: SILENCE
    with process(daemon, *words) as ctl_process:
        assert ctl_process.stdout is not None
        assert ctl_process.stderr is not None
        assert ctl_process.stdout.readline().startswith("Version 8, prepared by")
        ctl_process.send_signal(signal.SIGINT)
        assert ctl_process.wait(20) == 130
        assert ctl_process.stderr.read() == ""


def test_progress_that_nobody_reads_any_more_is_no_traceback(daemon: FakeDaemon) -> None:
    calls = itertools.count()

    def show(connection: FakeConnection, ident: int, arguments: Frame) -> object:
        return {**SHOWN, "pending": {**PENDING, "version": next(calls)}}

    daemon.handlers["config_show"] = show
    daemon.handlers["config_rotate_key"] = lambda connection, ident, arguments: SILENCE
    with process(daemon, "rotate-key") as ctl_process:
        assert ctl_process.stdout is not None
        assert ctl_process.stderr is not None
        ctl_process.stdout.readline()
        ctl_process.stdout.close()
        assert ctl_process.wait(20) == 141
        assert ctl_process.stderr.read() == ""


def test_limits_and_lost_texts_are_the_same_for_programs(
    run: Run, daemon: FakeDaemon, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = {
        "version": 7,
        "base_version": 6,
        "kind": "edit",
        "who": "",
        "when": 0,
        "what": "",
        "outcome": "committed",
        "reasons": [],
        "has_text": True,
    }
    daemon.on("config_history", {"entries": [entry, {**entry, "version": 8}]})
    assert run("--json", "config", "history", "--limit", "1") == 0
    assert [found["version"] for found in json.loads(capsys.readouterr().out)["entries"]] == [8]
    daemon.on("config_validate", {**REFUSED, "quorate": False, "reasons": [], "why": "there is no quorum"})
    assert run("config", "validate", file) == 2
    capsys.readouterr()
    daemon.on("config_show", {**SHOWN, "version": 3, "text": None})
    assert run("--json", "config", "show", "3") == 1
    assert json.loads(capsys.readouterr().out) == {"error": "the text of version 3 is not kept any more", "code": 1}


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_half_a_key_is_not_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def fail(*_: object) -> int:
        if call == "write":
            return 7
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(f"os.{call}", fail)
        assert ctl.main(["cluster", "keygen", str(tmp_path / "key")]) == 1
    assert "cannot write" in capsys.readouterr().err
    assert not (tmp_path / "key").exists()
