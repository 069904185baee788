"""`totemctl cluster` as its user meets it: views, expected votes, waiting for quorum, names, separating."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fake_daemon import SILENCE, STATUS, FakeConnection, FakeDaemon, FakeRefusal, Frame
from totemd.cli import cluster_status, ctl
from totemd.cli.command_line import Parser
from totemd.client.records import decode_status

Run = Callable[..., int]
CONFIGURATION: Frame = {
    "file": "/etc/corosync/corosync.conf",
    "version": 7,
    "cluster_id": "00112233445566778899aabbccddeeff",
    "transport": "udp",
    "address": "239.192.6.148",
    "port": 5405,
    "sealed": "aes256",
    "joining": [4],
    "removed": [{"nodeid": 5, "name": "pike", "version": 6}],
}
MANAGED: Frame = {**STATUS, "configuration": CONFIGURATION, "forced": None}
ALONE: Frame = {
    **MANAGED,
    "quorate": False,
    "votes": {"expected": 3, "highest": 3, "total": 1, "quorum": 2},
    "members": STATUS["members"][:1],
    "flags": [],
}


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    with FakeDaemon(tmp_path / "socket") as daemon:
        daemon.on("status", MANAGED)
        yield daemon


@pytest.fixture
def run(daemon: FakeDaemon) -> Run:
    return lambda *words: ctl.main(["--socket", str(daemon.path), "cluster", *words])


def test_status(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("status") == 0
    assert capsys.readouterr().out == (
        "Cluster:        lab (id 00112233445566778899aabbccddeeff)\n"
        "Configuration:  version 7, /etc/corosync/corosync.conf\n"
        "Transport:      udp, 239.192.6.148 port 5405\n"
        "Sealed:         aes256\n"
        "This node:      n1 (1), 192.0.2.1\n"
        "Quorum:         yes: 3 of 3 votes present, 2 needed\n"
        "Ring:           1.9, 3 of 4 nodes\n"
        "                since 4 s: n3 joined\n"
        "Members:        n1 (1), 1 vote, 192.0.2.1 (this node)\n"
        "                n2 (2), 1 vote, 192.0.2.2\n"
        "                n3 (3), 1 vote, 192.0.2.3\n"
        "Absent:         n4 (4) never\n"
    )


def test_status_says_what_is_not_as_it_should_be(
    run: Run, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    open_ring = {**CONFIGURATION, "cluster_id": None, "sealed": None}
    forced = {"votes": 1, "configured": 3, "seconds_left": 540.2}
    daemon.on("status", {**ALONE, "configuration": open_ring, "forced": forced, "flags": ["WaitForAll"]})
    assert run("status") == 2
    out = capsys.readouterr().out
    assert "Cluster:        lab (not managed: configured by hand)\n" in out
    assert "Sealed:         no: whoever is in the network can read and forge packets\n" in out
    assert "Quorum:         NO: 1 of 3 votes present, 2 needed\n" in out
    assert "by force: 1 vote expected instead of 3, for 540 s more at most\n" in out
    assert "options: WaitForAll\n" in out


def test_status_says_who_refuses_this_node_and_why(
    run: Run, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    refusal = {"reason": "removed", "text": "was removed in version 8", "remedy": "join as a new node"}
    daemon.on("status", {**ALONE, "refused_by": [{"nodeid": 2, **refusal}, {"nodeid": 3, **refusal}]})
    assert run("status") == 2
    assert (
        "Refused:        by nodes 2, 3: this node was removed in version 8\n                to do: join as a new node\n"
    ) in capsys.readouterr().out
    assert run("status", "--json") == 2
    assert json.loads(capsys.readouterr().out)["refused_by"][0] == {"nodeid": 2, **refusal}


def test_status_tells_of_changes_of_the_configuration(
    run: Run, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    pending = {
        "version": 9,
        "kind": "edit",
        "who": "uid 0 on node 1",
        "what": "longer token",
        "withdrawn": False,
        "prepared": [1],
        "waiting": [2, 3],
        "refused": [],
    }
    version = {
        "version": 7,
        "kind": "edit",
        "who": "x",
        "when": 1,
        "what": "",
        "text": "",
        "digest": "00" * 16,
        "committed_version": 8,
        "confirmed": False,
        "file": "/c",
        "edited": True,
        "problem": "",
        "pending": pending,
    }
    daemon.on("config_show", version)
    assert run("status") == 0
    assert (
        "Configuration:  version 7, /etc/corosync/corosync.conf\n"
        "                version 9 is being decided, waits for node 2, 3: longer token (uid 0 on node 1)\n"
        "                version 8 gave no quorum: this node has gone back\n"
        "                /c was edited and says something else: totemctl cluster config diff\n"
    ) in capsys.readouterr().out
    assert run("status", "--json") == 0
    found = json.loads(capsys.readouterr().out)["replication"]
    assert found["pending"]["waiting"] == [2, 3]
    assert found["edited"] is True


def test_status_for_programs(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("status", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["configuration"] == CONFIGURATION
    assert found["forced"] is None
    assert found["quorate"] is True


def test_status_of_a_daemon_that_does_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ctl.main(["--socket", str(tmp_path / "none"), "cluster", "status"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_compatible_status_is_pvecms() -> None:
    """Labels of the first block fill 17 columns and a blank, the others 18."""
    text = cluster_status.compat_text(decode_status(MANAGED), "Sat Feb  3 04:05:06 2024")
    assert text == (
        "Cluster information\n"
        "-------------------\n"
        "Name:             lab\n"
        "Config Version:   7\n"
        "Transport:        udp\n"
        "Secure auth:      on\n"
        "\n"
        "Quorum information\n"
        "------------------\n"
        "Date:             Sat Feb  3 04:05:06 2024\n"
        "Quorum provider:  corosync_votequorum\n"
        "Nodes:            3\n"
        "Node ID:          0x00000001\n"
        "Ring ID:          1.9\n"
        "Quorate:          Yes\n"
        "\n"
        "Votequorum information\n"
        "----------------------\n"
        "Expected votes:   3\n"
        "Highest expected: 3\n"
        "Total votes:      3\n"
        "Quorum:           2  \n"
        "Flags:            Quorate \n"
        "\n"
        "Membership information\n"
        "----------------------\n"
        "    Nodeid      Votes Name\n"
        "0x00000001          1 192.0.2.1 (local)\n"
        "0x00000002          1 192.0.2.2\n"
        "0x00000003          1 192.0.2.3\n"
    )


def test_nodes(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("nodes") == 0
    assert "n4" not in capsys.readouterr().out
    assert run("nodes", "--all") == 0
    assert capsys.readouterr().out.splitlines()[4:] == [
        "         4          1    joining 192.0.2.4       n4",
        "         5          0    removed -               pike (in version 6)",
    ]
    assert run("nodes", "--all", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [(node["name"], node["state"]) for node in found["nodes"]][2:] == [("n3", "member"), ("n4", "joining")]
    assert found["removed"] == CONFIGURATION["removed"]


# --- expected votes


def test_expected_without_a_yes_only_says_what_it_would_mean(
    run: Run, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.on("status", ALONE)
    assert run("expected", "1") == 0
    out = capsys.readouterr().out
    assert "1 vote present, 3 expected as configured: 2 are needed for quorum; with 1 expected it is 1." in out
    assert "RISK" in out
    assert "  n4 (4), 1 vote, 192.0.2.4\n" in out
    assert "10 minutes" in out
    assert "Nothing was changed." in out
    assert "force_expected" not in [name for name, _ in daemon.seen]


def test_expected_with_a_yes(run: Run, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.on("status", ALONE)
    daemon.on("force_expected", {})
    assert run("expected", "1", "--yes", "--for", "90") == 0
    assert ("force_expected", {"votes": 1, "seconds": 90, "yes": True}) in daemon.seen
    assert "Done: all present members expect 1 vote for 90 s at most." in capsys.readouterr().out
    assert run("expected", "2", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["done"] is False
    assert found["risk"] is True
    assert [node["name"] for node in found["absent"]] == ["n4"]


def test_expected_of_more_needs_no_yes(run: Run, daemon: FakeDaemon) -> None:
    daemon.on("force_expected", {})
    assert run("expected", "4") == 0
    assert ("force_expected", {"votes": 4, "seconds": 600, "yes": False}) in daemon.seen


def test_expected_below_the_votes_present_is_refused(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("expected", "2", "--yes") == 1
    assert "3 votes present: fewer cannot be expected" in capsys.readouterr().err


def test_expected_is_compared_with_what_is_configured(
    run: Run, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    """A second force must not take the first for the configuration."""
    forced = {"votes": 1, "configured": 3, "seconds_left": 9.0}
    daemon.on("status", {**ALONE, "votes": {**ALONE["votes"], "expected": 1}, "forced": forced})
    assert run("expected", "2") == 0
    assert "3 expected as configured" in capsys.readouterr().out


# --- waiting for quorum


def track(daemon: FakeDaemon) -> None:
    daemon.handlers["track"] = lambda connection, ident, arguments: {"membership": None, "quorum": None}


def test_wait_quorum_that_is_there(run: Run, daemon: FakeDaemon) -> None:
    track(daemon)
    assert run("wait-quorum") == 0


def test_wait_quorum_gives_up(run: Run, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    track(daemon)
    daemon.on("status", ALONE)
    assert run("wait-quorum", "--timeout", "0.1") == 2
    error = capsys.readouterr().err
    assert "waiting for quorum: 1 of 3 votes are present, 2 are needed" in error
    assert "no quorum within 0.1 s" in error


def test_wait_quorum_hears_the_verdict(run: Run, daemon: FakeDaemon) -> None:
    """It is told, not only found by asking from time to time; a verdict amid synchronization is none."""
    ring = {"rep": 1, "seq": 13, "id": "1.d"}
    verdict = {"quorate": True, "ring": ring, "expected_votes": 3, "total_votes": 3, "quorum": 2, "nodes": []}
    answers = [ALONE, {**MANAGED, "syncing": True}, MANAGED]

    def status(connection: FakeConnection, ident: int, arguments: Frame) -> object:
        if len(answers) > 1:
            for event in ("quorum",):
                threading.Timer(0.05, connection.event, (daemon_track[0], event, verdict)).start()
            return answers.pop(0)
        return answers[0]

    daemon_track = [0]

    def tracked(connection: FakeConnection, ident: int, arguments: Frame) -> object:
        daemon_track[0] = ident
        return {"membership": None, "quorum": None}

    daemon.handlers.update(status=status, track=tracked)
    began = time.monotonic()
    assert run("wait-quorum", "--timeout", "20") == 0
    assert time.monotonic() - began < 10
    assert answers == [MANAGED]


def test_wait_quorum_waits_for_a_daemon_that_starts_later_and_becomes_the_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "totemd.cli.ctl", "--socket", str(tmp_path / "socket"), "cluster", "wait-quorum"]
    script = f"open({str(tmp_path / 'ran')!r}, 'w').close(); import sys; sys.exit(7)"
    waiting = subprocess.Popen(
        [*command, "--", sys.executable, "-c", script, "--json"], stderr=subprocess.PIPE, text=True
    )
    try:
        assert waiting.stderr is not None
        assert "waiting for the daemon" in waiting.stderr.readline()
        assert not (tmp_path / "ran").exists()
        with FakeDaemon(tmp_path / "socket") as daemon:
            track(daemon)
            assert waiting.wait(20) == 7
        assert (tmp_path / "ran").exists()
    finally:
        waiting.kill()
        waiting.wait()
        assert waiting.stderr is not None
        waiting.stderr.close()


def test_the_command_gets_signals_as_they_are_by_default(daemon: FakeDaemon) -> None:
    track(daemon)
    words = ["--socket", str(daemon.path), "cluster", "wait-quorum", "--", "grep", "SigIgn", "/proc/self/status"]
    done = subprocess.run(
        [sys.executable, "-m", "totemd.cli.ctl", *words], capture_output=True, text=True, check=True, timeout=60
    )
    ignored = int(done.stdout.split()[1], 16)
    assert not ignored & (1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1))


def test_wait_quorum_for_programs(run: Run, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    track(daemon)
    assert run("--json", "wait-quorum") == 0
    assert json.loads(capsys.readouterr().out) == {"quorate": True}
    daemon.on("status", ALONE)
    assert run("--json", "wait-quorum", "--timeout", "0.1", "--", "true") == 2
    assert json.loads(capsys.readouterr().out) == {"quorate": False}


def test_a_daemon_that_hangs_does_not_keep_who_waits_for_a_time(run: Run, daemon: FakeDaemon) -> None:
    daemon.handlers["track"] = lambda connection, ident, arguments: SILENCE
    begun = time.monotonic()
    assert run("wait-quorum", "--timeout", "1") == 2
    assert time.monotonic() - begun < 4.0


def test_wait_quorum_does_not_wait_for_permission(
    run: Run, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.on("track", FakeRefusal("access", "uid 7 may not"))
    assert run("wait-quorum", "--timeout", "20") == 1
    assert "uid 7 may not" in capsys.readouterr().err


def test_wait_quorum_for_a_command_that_is_not_there(
    run: Run, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    track(daemon)
    assert run("wait-quorum", "--", "/nonexistent/command") == 1
    assert "cannot run '/nonexistent/command'" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN


# --- names


@pytest.mark.parametrize(
    ("name", "ipv4", "ipv6"),
    [
        ("test", "239.192.6.148", "ff15::68e"),
        ("testcluster", "239.192.123.175", "ff15::7b34"),
        ("prod-central", "239.192.211.42", None),
        ("cloud", "239.192.12.166", None),
        ("sea", "239.192.2.249", None),
        ("cluster1", "239.192.104.2", None),
        ("cluster2", "239.192.104.3", None),
        ("totem", "239.192.13.204", None),
        ("a", "239.192.0.97", None),
        ("A" * 15, "239.192.127.63", None),
    ],
)
def test_multicast_addresses_of_names(
    name: str, ipv4: str, ipv6: str | None, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert ctl.main(["cluster", "mcast-addr", name, "--config", str(tmp_path / "none")]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == ipv4
    assert ipv6 in (None, second)


def test_names_that_collide(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    configuration = tmp_path / "corosync.conf"
    configuration.write_text("totem {\n cluster_name: ba\n}\n")
    where = ("--config", str(configuration))
    assert ctl.main(["cluster", "mcast-addr", "ac", *where]) == 1
    assert "'ac' and 'ba' have the same address" in capsys.readouterr().err
    assert ctl.main(["cluster", "mcast-addr", "sea", "cloud", *where, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["collisions"] == []
    assert ctl.main(["cluster", "mcast-addr", "ba", *where]) == 0


# --- separating


@pytest.fixture
def node(tmp_path: Path) -> tuple[str, ...]:
    """A node's files, and the options that name them."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "corosync.conf").write_text(
        f"totem {{\n cluster_name: sea\n keyfile: {tmp_path}/etc/authkey\n}}\n"
    )
    (tmp_path / "etc" / "authkey").write_bytes(b"secret" * 10)
    (tmp_path / "state" / "changes").mkdir(parents=True)
    (tmp_path / "state" / "changes" / "committed").write_bytes(b"1")
    (tmp_path / "state" / "ringid_1").write_bytes(b"2")
    files = ("--config", f"{tmp_path}/etc/corosync.conf", "--state-dir", f"{tmp_path}/state")
    return ("--socket", f"{tmp_path}/socket", "cluster", "separate", *files)


def files_below(path: Path) -> set[str]:
    return {str(found.relative_to(path)) for found in path.rglob("*") if found.is_file()}


def test_separate_needs_to_be_told_twice(
    node: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files_below(tmp_path)
    assert ctl.main([*node]) == 0
    out = capsys.readouterr().out
    assert "To leave sea" in out
    assert "Nothing was changed" in out
    assert files_below(tmp_path) == before


def test_separate_puts_everything_aside(
    node: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ctl.main([*node, "--i-know", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["done"] is True
    aside = Path(found["aside"])
    assert files_below(aside) == {"corosync.conf", "authkey", "changes/committed", "ringid_1"}
    assert aside.stat().st_mode & 0o777 == 0o700
    assert files_below(tmp_path) == {str((aside / name).relative_to(tmp_path)) for name in files_below(aside)}
    assert ctl.main([*node, "--i-know"]) == 1
    assert "nothing to put aside" in capsys.readouterr().err


def test_separate_refuses_while_the_daemon_runs(
    node: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files_below(tmp_path)
    with FakeDaemon(tmp_path / "socket"):
        assert ctl.main([*node, "--i-know"]) == 1
    assert "stop it first" in capsys.readouterr().err
    assert files_below(tmp_path) == before


# --- the group


def test_status_does_not_pay_for_the_group() -> None:
    """Monitoring calls `totemctl status` often."""
    program = (
        "import sys; from totemd.cli import ctl\n"
        "try: ctl.main(['--socket', '/nonexistent', 'status'])\n"
        "except SystemExit: pass\n"
        "print(sorted(name for name in sys.modules if name.startswith('totemd.cli.cluster')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_command_has_a_function() -> None:
    """The targets are words until they are used."""
    from importlib import import_module

    for words, parser in walk(ctl.build_parser()):
        target = parser.get_default("target")
        if target is not None:
            module, _, function = target.partition(":")
            assert callable(getattr(import_module(f"totemd.cli.{module}"), function)), words


def walk(parser: Parser, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Parser]]:
    yield words, parser
    for action in parser._actions:
        if isinstance(action.choices, dict):
            for name, child in action.choices.items():
                yield from walk(child, (*words, name))
