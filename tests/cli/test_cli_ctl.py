"""`totemctl` as its user meets it: output, exit status, and one line for each mistake."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fake_daemon import SILENCE, STATUS, FakeConnection, FakeDaemon, FakeRefusal, Frame
from totemd.cli import ctl

Run = Callable[..., int]
RING = {"rep": 1, "seq": 13, "id": "1.d"}


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    with FakeDaemon(tmp_path / "socket") as daemon:
        yield daemon


@pytest.fixture
def ctl_run(daemon: FakeDaemon) -> Run:
    def run(*words: str) -> int:
        return ctl.main(["--socket", str(daemon.path), *words])

    return run


def usage_error(*words: str) -> int:
    with pytest.raises(SystemExit) as caught:
        ctl.main(words)
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_status_quorate(ctl_run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert ctl_run("status") == 0
    out = capsys.readouterr().out
    assert out.startswith("Quorum information\n------------------\nDate:             ")
    assert out.endswith("0x00000003          1 192.0.2.3\n")


def test_status_not_quorate(ctl_run: Run, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.on("status", {**STATUS, "quorate": False})
    assert ctl_run("status") == 2
    assert "Quorum:           2 Activity blocked\n" in capsys.readouterr().out


def test_status_json(ctl_run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert ctl_run("status", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert {key: found[key] for key in ("cluster_name", "nodeid", "quorate", "votes", "flags", "members")} == {
        "cluster_name": "lab",
        "nodeid": 1,
        "quorate": True,
        "votes": {"expected": 3, "highest": 3, "total": 3, "quorum": 2},
        "flags": ["Quorate"],
        "members": STATUS["members"],
    }
    assert found["ring"] == {"rep": 1, "seq": 9, "id": "1.9"}


def test_status_that_is_refused_is_an_error(ctl_run: Run, daemon: FakeDaemon) -> None:
    daemon.on("status", FakeRefusal("busy"))
    assert ctl_run("status") == 1


def test_nodes(ctl_run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert ctl_run("nodes") == 0
    assert capsys.readouterr().out.startswith("\nMembership information\n")
    assert ctl_run("nodes", "--all") == 0
    assert " never " in capsys.readouterr().out
    assert ctl_run("--json", "nodes") == 0
    assert [node["state"] for node in json.loads(capsys.readouterr().out)["nodes"]] == ["member"] * 3 + ["never"]


def test_expected(ctl_run: Run, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.on("expected", {})
    assert ctl_run("expected", "5") == 0
    assert daemon.seen == [("expected", {"votes": 5})]
    assert "5 votes" in capsys.readouterr().out


def test_refusal_is_one_line(ctl_run: Run, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.on("expected", FakeRefusal("invalid_param", "3 votes are present"))
    assert ctl_run("expected", "1") == 1
    assert capsys.readouterr().err == "totemctl: 3 votes are present (invalid_param)\n"


@pytest.mark.parametrize("node", ["n2", "2", "0x2"])
def test_votes_by_name_or_id(ctl_run: Run, daemon: FakeDaemon, node: str) -> None:
    daemon.on("votes", {})
    assert ctl_run("votes", node, "0") == 0
    assert daemon.seen[-1] == ("votes", {"nodeid": 2, "votes": 0})


def test_unknown_node(ctl_run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert ctl_run("votes", "n9", "1") == 1
    error = capsys.readouterr().err
    assert "'n9' is no node of this cluster" in error
    assert "n1 (1), n2 (2)" in error


def test_node_that_two_could_be(ctl_run: Run, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    node = {"address": "a", "votes": 1, "local": False, "state": "member"}
    daemon.on("nodes", {"nodes": [node | {"nodeid": 1, "name": "2"}, node | {"nodeid": 2, "name": "x"}]})
    assert ctl_run("votes", "2", "1") == 1
    assert "name of one node and the id of another" in capsys.readouterr().err


def track_then(daemon: FakeDaemon, do: str, *events: tuple[str, Frame]) -> None:
    """Grant `track`; once `do` is asked, push `events` to it."""
    tracker = 0

    def track(connection: FakeConnection, ident: int, arguments: Frame) -> object:
        nonlocal tracker
        tracker = ident
        return {"membership": {"kind": "regular", "ring": RING, "members": [1, 2, 3]}, "quorum": None}

    def answer(connection: FakeConnection, ident: int, arguments: Frame) -> object:
        connection.send({"id": ident, "ok": {}})
        for name, data in events:
            connection.event(tracker, name, data)
        return SILENCE

    daemon.handlers["track"] = track
    daemon.handlers[do] = answer


def test_kill_waits_for_the_leaving(ctl_run: Run, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    change: Frame = {"kind": "transitional", "ring": RING, "members": [1, 3], "joined": [], "left": [2], "reason": "x"}
    track_then(daemon, "kill", ("membership", change), ("membership", change | {"kind": "regular"}))
    assert ctl_run("kill", "n2", "--reason", "test") == 0
    assert ("kill", {"nodeid": 2, "reason": "test"}) in daemon.seen
    assert capsys.readouterr().out.startswith("Node n2 (2) was told to end; it left after ")


def test_kill_of_a_node_that_stays(ctl_run: Run, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    track_then(daemon, "kill")
    assert ctl_run("kill", "n2", "--wait", "0.05") == 1
    assert "has not left the ring" in capsys.readouterr().err


def test_kill_of_a_dead_node(ctl_run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert ctl_run("kill", "n4") == 1
    assert "not a member now" in capsys.readouterr().err


def test_shutdown_waits_for_the_end(ctl_run: Run, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    def shutdown(connection: FakeConnection, ident: int, arguments: Frame) -> object:
        connection.send({"id": ident, "ok": {}})
        connection.close("the daemon ends")
        return SILENCE

    daemon.handlers["shutdown"] = shutdown
    assert ctl_run("shutdown") == 0
    assert "has left the ring" in capsys.readouterr().out
    daemon.on("shutdown", {})
    assert ctl_run("shutdown", "--wait", "0.05") == 1


def test_reload_shows_what_is_wrong(ctl_run: Run, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.on("reload", FakeRefusal("failed_operation", "/etc/x.conf:3: totem.token: 'x' is no number"))
    assert ctl_run("reload") == 1
    assert "/etc/x.conf:3" in capsys.readouterr().err


def test_stats_are_flat_for_people(ctl_run: Run, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.on("stats", {"ring": {"tokens": 5}, "dropped": {"bad header": 1}})
    assert ctl_run("stats") == 0
    assert capsys.readouterr().out == "ring.tokens = 5\ndropped.bad header = 1\n"


def test_watch(ctl_run: Run, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    quorum = {"quorate": True, "ring": RING, "expected_votes": 3, "total_votes": 3, "quorum": 2, "nodes": []}

    def track(connection: FakeConnection, ident: int, arguments: Frame) -> object:
        members = {
            "kind": "regular",
            "ring": RING,
            "members": [1, 2],
            "joined": [],
            "left": [3],
            "reason": "token lost",
        }
        connection.send({"id": ident, "ok": {"membership": members | {"left": []}, "quorum": quorum}})
        connection.event(ident, "membership", members | {"members": [1]})
        connection.event(ident, "quorum", quorum | {"quorate": False, "total_votes": 1})
        connection.event(ident, "expected_votes", {"expected_votes": 4})
        connection.event(ident, "synchronized", {"ring": RING})
        return SILENCE

    def nodes(connection: FakeConnection, ident: int, arguments: Frame) -> object:
        # Asked after the subscription: when this is answered, the events are on their way.
        node = {"address": "a", "votes": 1, "local": False, "state": "member"}
        connection.send({"id": ident, "ok": {"nodes": [node | {"nodeid": n, "name": f"n{n}"} for n in (1, 2, 3)]}})
        connection.close("the daemon ends")
        return SILENCE

    daemon.handlers["track"] = track
    daemon.handlers["nodes"] = nodes
    assert ctl_run("watch") == 1
    captured = capsys.readouterr()
    assert [line[9:] for line in captured.out.splitlines()] == [
        "members   ring 1.d: n1 (1), n2 (2); reason: token lost",
        "quorum    quorate: 3 of 3 votes, 2 needed",
        "members   ring 1.d: n1 (1); left: n3 (3); reason: token lost",
        "quorum    LOST: 1 of 3 votes, 2 needed",
        "expected  4 votes are expected now",
        "ready     ring 1.d: all members agree, messages flow",
    ]
    assert captured.err == "totemctl: the daemon ends\n"
    assert ctl_run("watch", "--json") == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in lines] == [
        "membership",
        "quorum",
        "membership",
        "quorum",
        "expected_votes",
        "synchronized",
    ]


def scripted_group(daemon: FakeDaemon, *, echo: bool = True) -> None:
    joined = 0

    def join(connection: FakeConnection, ident: int, arguments: Frame) -> object:
        nonlocal joined
        joined = ident
        members = [{"nodeid": 1, "pid": 10}, {"nodeid": 2, "pid": 20}]
        came = [{"nodeid": 1, "pid": 10, "reason": "join"}]
        change = {"group": arguments["group"], "members": members, "joined": came, "left": []}
        connection.send({"id": ident, "ok": {}})
        connection.event(ident, "members", change)
        connection.event(ident, "deliver", {"group": b"chat", "nodeid": 2, "pid": 20, "data": b"hi\x1b"})
        return SILENCE

    def multicast(connection: FakeConnection, ident: int, arguments: Frame) -> object:
        if echo:
            data = {"group": b"chat", "nodeid": 1, "pid": 10, "data": arguments["data"]}
            connection.event(joined, "deliver", data)
        return {}

    daemon.handlers["cpg_join"] = join
    daemon.handlers["cpg_multicast"] = multicast
    daemon.on("cpg_leave", {})


def test_cpg_join(ctl_run: Run, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    scripted_group(daemon)
    assert ctl_run("cpg", "join", "chat", "--count", "1") == 0
    assert capsys.readouterr().out == "-- 2 members; joined: n1 pid 10 (join)\nn2 pid 20: hi\\x1b\n"
    assert ctl_run("cpg", "join", "chat", "--count", "1", "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[1] == {"event": "deliver", "group": "chat", "nodeid": 2, "pid": 20, "data": "hi\\x1b"}


def test_cpg_send(ctl_run: Run, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    scripted_group(daemon)
    assert ctl_run("cpg", "send", "chat", "hello", "--safe") == 0
    assert ("cpg_multicast", {"group": b"chat", "data": b"hello", "guarantee": "safe"}) in daemon.seen
    assert capsys.readouterr().out == "Sent to 'chat': 1 other member.\n"


def test_cpg_send_that_does_not_come_back(ctl_run: Run, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    scripted_group(daemon, echo=False)
    assert ctl_run("cpg", "send", "chat", "hello", "--timeout", "0.1") == 1
    assert "not delivered back within 0.1 s" in capsys.readouterr().err


def test_cpg_send_while_nothing_goes(ctl_run: Run, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    scripted_group(daemon)
    daemon.on("cpg_multicast", FakeRefusal("try_again", "synchronizing"))
    assert ctl_run("cpg", "send", "chat", "hello", "--timeout", "0.1") == 1
    assert "not sent within 0.1 s" in capsys.readouterr().err


def test_cpg_groups(ctl_run: Run, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.on("cpg_groups", {"groups": [{"group": b"cib\x00", "members": [{"nodeid": 2, "pid": 20}]}]})
    assert ctl_run("cpg", "groups") == 0
    assert capsys.readouterr().out == "cib\\x00\n    n2 pid 20\n"
    assert ctl_run("cpg", "groups", "--json") == 0
    assert json.loads(capsys.readouterr().out)["groups"][0]["members"] == [{"nodeid": 2, "pid": 20}]


@pytest.fixture
def cmap(daemon: FakeDaemon) -> dict[str, Frame]:
    """A map that works."""
    entries: dict[str, Frame] = {"a.number": {"type": "u16", "value": 7}}

    def get(connection: FakeConnection, ident: int, arguments: Frame) -> object:
        if arguments["key"] not in entries:
            raise FakeRefusal("not_exist", f"no key {arguments['key']}")
        return {"key": arguments["key"], **entries[arguments["key"]]}

    def set_(connection: FakeConnection, ident: int, arguments: Frame) -> object:
        entries[arguments["key"]] = {"type": arguments["type"], "value": arguments["value"]}
        return {}

    daemon.handlers.update(cmap_get=get, cmap_set=set_)
    daemon.on("cmap_list", {"entries": [{"key": "a.number", **entries["a.number"]}]})
    daemon.on("cmap_delete", {})
    return entries


def test_cmap_set_keeps_the_type(ctl_run: Run, cmap: dict[str, Frame], capsys: pytest.CaptureFixture[str]) -> None:
    assert ctl_run("cmap", "set", "a.number", "0x10") == 0
    assert ctl_run("cmap", "set", "a.new", "5") == 0
    assert ctl_run("cmap", "set", "a.bytes", "00ff", "--type", "bin") == 0
    assert capsys.readouterr().out == "a.number (u16) = 16\na.new (str) = 5\na.bytes (bin) = 00ff\n"
    assert cmap["a.bytes"]["value"] == b"\x00\xff"


def test_cmap_set_of_a_wrong_value(ctl_run: Run, cmap: dict[str, Frame], capsys: pytest.CaptureFixture[str]) -> None:
    assert ctl_run("cmap", "set", "a.number", "many") == 1
    assert capsys.readouterr().err == "totemctl: 'many' is no value of type u16: an integer expected\n"


def test_cmap_get_list_delete(ctl_run: Run, cmap: dict[str, Frame], capsys: pytest.CaptureFixture[str]) -> None:
    assert ctl_run("cmap", "get", "a.number") == 0
    assert ctl_run("cmap", "list", "a.") == 0
    assert ctl_run("cmap", "delete", "a.number") == 0
    assert capsys.readouterr().out == "a.number (u16) = 7\n" * 2 + "a.number was deleted.\n"
    assert ctl_run("cmap", "get", "a.none") == 1
    assert ctl_run("cmap", "get", "a.number", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"key": "a.number", "type": "u16", "value": 7}


def test_cmap_track(ctl_run: Run, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    def track(connection: FakeConnection, ident: int, arguments: Frame) -> object:
        connection.send({"id": ident, "ok": {}})
        new, old = {"type": "u8", "value": 2}, {"type": "u8", "value": 1}
        connection.event(ident, "cmap", {"event": "modify", "key": "a.b", "new": new, "old": old})
        connection.event(ident, "cmap", {"event": "delete", "key": "a.b", "new": None, "old": new})
        connection.close()
        return SILENCE

    daemon.handlers["cmap_track"] = track
    assert ctl_run("cmap", "track", "a.") == 1
    assert capsys.readouterr().out == "modify a.b (u8) = 2\ndelete a.b (u8) = 2\n"


def test_no_daemon(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "none")
    assert ctl.main(["--socket", path, "status"]) == 1
    error = capsys.readouterr().err
    assert path in error
    assert "Start totemd" in error
    assert error.count("\n") == 1


def test_permission_denied(
    ctl_run: Run,
    daemon: FakeDaemon,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    daemon.greet = lambda hello: {"error": {"code": "access", "message": "uid 5 may not use this socket"}}
    assert ctl_run("status") == 1
    assert capsys.readouterr().err == "totemctl: uid 5 may not use this socket (access)\n"

    def refuse(connection: object, path: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("socket.socket.connect", refuse)
    assert ctl_run("status") == 1
    error = capsys.readouterr().err
    assert "permission denied on" in error
    assert "uidgid" in error


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["statsu"],
        ["status", "extra"],
        ["expected"],
        ["expected", "0"],
        ["expected", "many"],
        ["expected", "4294967296"],
        ["votes", "n1", "-1"],
        ["cpg"],
        ["cpg", "send", "chat"],
        ["cmap", "set", "a.b", "1", "--type", "u128"],
        ["kill", "n1", "--wait", "nan"],
        ["decode"],
    ],
)
def test_wrong_usage_is_64(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert usage_error(*words) == 64
    assert "--help" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        "",
        "status",
        "nodes",
        "watch",
        "expected",
        "votes",
        "cpg",
        "cpg join",
        "cpg send",
        "cpg groups",
        "cmap",
        "cmap get",
        "cmap set",
        "cmap delete",
        "cmap list",
        "cmap track",
        "stats",
        "kill",
        "shutdown",
        "reload",
        "decode",
        "demo",
    ],
)
def test_help_names_the_exit_status(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert usage_error(*words.split(), "--help") == 0
    text = capsys.readouterr().out
    assert "Exit status: 0" in text
    assert "--json" in text


def test_socket_and_json_are_understood_before_and_after_the_command(
    daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(daemon.path)
    for words in (["--json", "--socket", path, "nodes"], ["nodes", "--json", "--socket", path]):
        assert ctl.main(words) == 0
        assert json.loads(capsys.readouterr().out)


def run_process(daemon: FakeDaemon, *words: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "totemd.cli.ctl", *words]
    environment = {**os.environ, "TOTEMD_SOCKET": str(daemon.path)}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )


def test_ctrl_c_is_quiet(daemon: FakeDaemon) -> None:
    scripted_group(daemon)
    with run_process(daemon, "cpg", "join", "chat") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("-- 2 members")
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_reader_that_goes_away_is_no_traceback(daemon: FakeDaemon) -> None:
    daemon.on("cmap_list", {"entries": [{"key": f"key.{n}", "type": "u32", "value": n} for n in range(20_000)]})
    with run_process(daemon, "cmap", "list") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait() == 141
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_status_imports_nothing_that_is_slow(daemon: FakeDaemon) -> None:
    program = (
        "import sys; from totemd.cli import ctl; status = ctl.main(['status', '--json']);"
        "print([name for name in ('trio', 'construct', 'hypothesis', 'totemd_protocol', 'asyncio', 'subprocess')"
        " if name in sys.modules], file=sys.stderr); sys.exit(status)"
    )
    environment = {**os.environ, "TOTEMD_SOCKET": str(daemon.path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert done.stderr == "[]\n"
    assert json.loads(done.stdout)["quorate"] is True


@pytest.mark.parametrize(
    "words",
    [
        ("cluster", "create", "sea", "--address", "127.9.8.1", "--config", "{private}/corosync.conf"),
        ("cluster", "separate", "--i-know", "--config", "{private}/corosync.conf", "--state-dir", "{private}/state"),
    ],
)
def test_missing_rights_are_one_line(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = without_rights(tmp_path, "totemd.cli.ctl", *words)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("totemctl: ")
    assert "ermission denied" in done.stderr


@pytest.mark.parametrize("words", [("-t",), ()])
def test_missing_rights_of_the_daemon_are_one_line(tmp_path: Path, words: tuple[str, ...]) -> None:
    conf = tmp_path / "corosync.conf"
    conf.write_text(
        "totem {\n version: 2\n cluster_name: a\n transport: udpu\n interface {\n bindnetaddr: 127.0.0.0\n }\n}\n"
        "nodelist {\n node {\n nodeid: 1\n ring0_addr: 127.0.0.1\n }\n}\n"
    )
    conf.chmod(0o644)
    done = without_rights(
        tmp_path, "totemd.cli.daemon", *words, "-c", str(conf), "--state-dir", "{private}/state", "--run-dir", "/run/t"
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "ermission denied; run it as root" in done.stderr


def without_rights(tmp_path: Path, module: str, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run it as somebody who may not even look into the directory {private}."""
    if os.geteuid() != 0:
        pytest.skip("who is not root cannot be somebody else")
    private = tmp_path / "private"
    (private / "state").mkdir(parents=True)
    private.chmod(0o700)
    # pytest makes two directories above that are for their owner alone, and a third one for each worker.
    for path in (tmp_path, *tmp_path.parents[:3]):
        path.chmod(path.stat().st_mode | 0o011)
    # Imported before: somebody else may not be able to read where Python is.
    program = f"""
import os, sys
import {module} as command, totemd.cli.cluster_create, totemd.cli.cluster_separate, totemd.shell.daemon, grp
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
sys.exit(command.main(sys.argv[1:]))
"""
    return subprocess.run(
        [sys.executable, "-c", program, *(word.format(private=private) for word in words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd="/",
    )


def test_output_that_does_not_fit_and_streams_that_are_closed(daemon: FakeDaemon) -> None:
    command = f"{sys.executable} -m totemd.cli.ctl --socket {daemon.path}"
    for end, status, error in (
        ("status >/dev/full", 1, "totemctl: No space left on device\n"),
        ("status >&-", 0, ""),
        ("cluster join - <&-", 1, "totemctl: "),
    ):
        done = subprocess.run(f"{command} {end}", shell=True, capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, done.stderr[: len(error)]) == (status, error), done.stderr
        assert "Traceback" not in done.stderr


def test_an_error_is_an_object_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ctl.main(["--json", "--socket", str(tmp_path / "none"), "cluster", "status"]) == 1
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert told["code"] == 1
    assert err == f"totemctl: {told['error']}\n"
