"""`totemctl cluster join`: what it writes where, what it keeps of a try that failed, and what it refuses to ask for."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from joining_world import World, identity, loaded, new_text
from totemd.cli import cluster_join, ctl
from totemd.cli.cluster_files import NodeFiles
from totemd.cli.cluster_join import JoinFailed
from totemd.cli.commands_ring import CommandError
from totemd.cluster.join_messages import Report, Reservation
from totemd.cluster.joining import Joiner, Send, Store
from totemd.seal.keys import KeyRing


def files_in(directory: Path, keyfile: str | None = None) -> NodeFiles:
    return NodeFiles(directory / "corosync.conf", directory / "state", keyfile)


def configuration(totem: str = "", more: str = "") -> Any:
    return loaded(new_text().replace("totem {", f"totem {{\n{totem}", 1) + more)


@pytest.mark.parametrize(
    ("totem", "more", "told"),
    [
        ("  keyfile: /root/.ssh/authorized_keys", "", "say --keyfile /root/.ssh/authorized_keys"),
        ("", "system {\n  state_dir: /etc/cron.d\n}\n", "say --state-dir /etc/cron.d"),
        ("", "logging {\n  to_logfile: yes\n  logfile: /etc/cron.d/x\n}\n", "its log in /etc/cron.d/x"),
        ("", "logging {\n  to_logfile: yes\n  logfile: /var/log/../../etc/x\n}\n", "its log in"),
    ],
)
def test_a_given_configuration_chooses_no_place_to_write_to(tmp_path: Path, totem: str, more: str, told: str) -> None:
    with pytest.raises(CommandError, match="nothing is written") as caught:
        files_in(tmp_path).check_paths(configuration(totem, more), state_dir_given=False)
    assert told in str(caught.value)


def test_the_operator_may_say_so(tmp_path: Path) -> None:
    logging = "logging {\n  to_logfile: yes\n  logfile: /var/log/a/b\n}\n"
    given = configuration("  keyfile: /srv/key", "system {\n  state_dir: /srv/s\n}\n" + logging)
    files_in(tmp_path, str(tmp_path / "key")).check_paths(given, state_dir_given=True)


def test_keys_are_written_as_we_write_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the bytes that came: whatever has 32 bytes or more is a key."""
    raw = b"* * * * * root touch /tmp/owned #" + b"x" * 95
    world = World()
    files = files_in(tmp_path, str(tmp_path / "key"))
    monkeypatch.setattr(files, "check_text", lambda text, node: configuration())
    arguments: Any = SimpleNamespace(state_dir=str(tmp_path / "state"))
    attempt = cluster_join._Attempt(arguments, world.issue(), identity(2), "n2", files)
    attempt._store(Store(Reservation(1, world.record(), raw, 300)))
    assert raw not in (tmp_path / "key").read_bytes()
    assert KeyRing.parse((tmp_path / "key").read_bytes()).sending == KeyRing.parse(raw).sending


def test_a_join_goes_on_for_its_cluster_and_its_files_alone(tmp_path: Path) -> None:
    key = str(tmp_path / "key")
    files = files_in(tmp_path, key)
    assert not files.has_begun("sea")
    files.begin_joining(identity(2), "sea")
    assert files.has_begun("sea")
    assert not files.has_begun("lake")
    # Another key file, in which nobody looked for what is there already.
    other = files_in(tmp_path, str(tmp_path / "other"))
    assert other.has_begun("sea")
    other.key.write_bytes(b"mine")
    assert not other.has_begun("sea")


class _FailingAttempt:
    def __init__(self, files: NodeFiles, *, reported: bool) -> None:
        self.files = files
        self.reported = reported

    def run(self) -> None:
        raise JoinFailed("cannot reach the member", nothing_left=True)


@pytest.mark.parametrize("reported", [False, True])
def test_who_may_be_listed_stays_who_it_is(tmp_path: Path, reported: bool) -> None:
    files = files_in(tmp_path)
    files.begin_joining(identity(2), "sea")
    attempt: Any = _FailingAttempt(files, reported=reported)
    with pytest.raises(JoinFailed):
        cluster_join._join_in_time(attempt, 0.0, begun=False)
    assert files.identity.exists() == reported


def test_from_the_good_report_on_it_may_be_listed(tmp_path: Path) -> None:
    world = World()
    ticket = world.issue()
    arguments: Any = SimpleNamespace()
    attempt = cluster_join._Attempt(arguments, ticket, identity(2), "n2", files_in(tmp_path))
    connection: Any = SimpleNamespace(sendall=lambda data: None)
    joiner = Joiner(ticket, identity(2), name="n2", address="192.0.2.2", votes=1, nodeid=None)
    for message, reported in ((Report(("problem",)), False), (Report(()), True)):
        attempt._perform(connection, joiner, Send(message), "192.0.2.2", [])
        assert attempt.reported == reported


@pytest.mark.parametrize(
    ("words", "told"),
    [(("--address", "ling.example"), "is no IP address"), (("--votes", "3000000000"), "1 vote at most")],
)
def test_wishes_that_nobody_can_have(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], told: str
) -> None:
    where = ["--config", f"{tmp_path}/c", "--state-dir", f"{tmp_path}/s", "--keyfile", f"{tmp_path}/k"]
    text = World().issue().to_text()
    assert ctl.main(["--socket", f"{tmp_path}/socket", "cluster", "join", text, *words, *where]) == 64
    assert told in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


def test_a_daemon_of_another_cluster_is_not_what_was_joined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ticket = World().issue()
    files_in(tmp_path, str(tmp_path / "k")).begin_joining(identity(2), ticket.cluster)
    monkeypatch.setattr(cluster_join, "_running_node", lambda arguments: (2, "lake"))
    where = ["--config", f"{tmp_path}/corosync.conf", "--state-dir", f"{tmp_path}/state", "--keyfile", f"{tmp_path}/k"]
    assert ctl.main(["--socket", f"{tmp_path}/socket", "cluster", "join", ticket.to_text(), *where]) == 1
    assert 'a daemon of the cluster "lake" runs' in capsys.readouterr().err
