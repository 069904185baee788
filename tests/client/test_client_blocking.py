"""The blocking client against a scripted daemon on a real socket."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fake_daemon import SILENCE, FakeConnection, FakeDaemon, FakeRefusal, Frame, echo_group
from totemd.client import blocking, protocol
from totemd.client.blocking import BlockingClient, BlockingGroup
from totemd.client.errors import CannotConnect, ConnectionLost, CutOff, ProtocolError, Refused, TryAgain
from totemd.client.records import CmapChanged, CmapValue, Delivered, MembersChanged, Membership

RING = {"rep": 1, "seq": 9, "id": "1.9"}


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    with FakeDaemon(tmp_path / "socket") as daemon:
        yield daemon


@pytest.fixture
def client(daemon: FakeDaemon) -> Iterator[BlockingClient]:
    with blocking.connect(daemon.path, timeout_s=5.0) as client:
        yield client


def offer_quiet(daemon: FakeDaemon) -> None:
    """A newer daemon, whose quiet multicasts have no reply."""
    hello = {"protocol": 1, "server": "totemd", "version": "1", "nodeid": 1, "cluster_name": "lab"}
    daemon.greet = lambda _: {"hello": {**hello, "incarnation": "a1", "features": ["more", "quiet"]}}
    echo_group(daemon)
    daemon.handlers["cpg_multicast"] = lambda connection, ident, arguments: SILENCE
    daemon.on("ping", {"time": 1.0})


def multicast_often(group: BlockingGroup) -> None:
    for _ in range(100):
        group.multicast(bytes(1000))


def post_often(group: BlockingGroup, count: int) -> None:
    for _ in range(count):
        group.post(bytes(10_000), timeout_s=0.3)


def test_status(client: BlockingClient) -> None:
    assert client.welcome.incarnation == "a1"
    assert client.status().quorate
    assert [node.state for node in client.nodes()] == ["member", "member", "member", "never"]


def test_refusal_leaves_the_connection_usable(client: BlockingClient, daemon: FakeDaemon) -> None:
    daemon.on("cmap_get", FakeRefusal("not_exist", "no key a.b"))
    with pytest.raises(Refused, match=r"no key a\.b") as caught:
        client.cmap_get("a.b")
    assert caught.value.code == "not_exist"
    assert client.status().quorate


def test_group_delivers_in_order(client: BlockingClient, daemon: FakeDaemon) -> None:
    echo_group(daemon)
    with client.join("g") as group:
        for text in (b"1", b"2", b"3"):
            group.multicast(text, safe=True)
        events = [group.next_event(5.0) for _ in range(4)]
    assert isinstance(events[0], MembersChanged)
    assert [event.data for event in events if isinstance(event, Delivered)] == [b"1", b"2", b"3"]
    assert daemon.seen[-1] == ("cpg_leave", {"group": b"g"})
    assert ("cpg_multicast", {"group": b"g", "data": b"1", "guarantee": "safe"}) in daemon.seen


def test_next_event_gives_up_at_its_timeout(client: BlockingClient, daemon: FakeDaemon) -> None:
    echo_group(daemon)
    group = client.join(b"g")
    assert isinstance(group.next_event(5.0), MembersChanged)
    assert group.next_event(0.01) is None
    assert client.status().quorate


def test_two_subscriptions_get_their_own_events(client: BlockingClient, daemon: FakeDaemon) -> None:
    echo_group(daemon)
    one, two = client.join(b"1"), client.join(b"2")
    two.multicast(b"for two")
    one.multicast(b"for one")
    for group, text in ((one, b"for one"), (two, b"for two")):
        assert isinstance(group.next_event(5.0), MembersChanged)
        event = group.next_event(5.0)
        assert isinstance(event, Delivered)
        assert event.data == text


def test_track_yields_present_state_before_changes(client: BlockingClient, daemon: FakeDaemon) -> None:
    def track(connection: FakeConnection, ident: int, arguments: Frame) -> object:
        first = {"kind": "regular", "ring": RING, "members": [1, 2], "joined": [], "left": [], "reason": ""}
        after = first | {"members": [1], "left": [2], "reason": "token lost"}
        connection.send({"id": ident, "ok": {"membership": first, "quorum": None}})
        connection.event(ident, "membership", after)
        return SILENCE

    daemon.handlers["track"] = track
    daemon.on("untrack", {})
    with client.track() as tracker:
        events = [tracker.next_event(5.0), tracker.next_event(5.0)]
    assert [event.members for event in events if isinstance(event, Membership)] == [(1, 2), (1,)]
    assert daemon.seen[-1][0] == "untrack"


def test_cmap_track(client: BlockingClient, daemon: FakeDaemon) -> None:
    def track(connection: FakeConnection, ident: int, arguments: Frame) -> object:
        connection.event(
            ident, "cmap", {"event": "delete", "key": "a.b", "new": None, "old": {"type": "str", "value": "x"}}
        )
        return {}

    daemon.handlers["cmap_track"] = track
    changes = client.cmap_track("a.")
    assert changes.next_event(5.0) == CmapChanged("delete", "a.b", None, CmapValue("a.b", "str", "x"))


def test_multicast_waits_for_ready(client: BlockingClient, daemon: FakeDaemon) -> None:
    answers = [FakeRefusal("try_again"), FakeRefusal("try_again"), None]

    def multicast(connection: FakeConnection, ident: int, arguments: Frame) -> object:
        answer = answers.pop(0)
        if answer is not None:
            connection.send({"id": ident, "error": {"code": "try_again", "message": "full"}})
            connection.event(0, "ready", {})
            return SILENCE
        return {}

    echo_group(daemon)
    daemon.handlers["cpg_multicast"] = multicast
    client.join(b"g").multicast(b"x", timeout_s=30.0)
    assert not answers


def test_posts_are_not_waited_for(daemon: FakeDaemon) -> None:
    offer_quiet(daemon)
    with blocking.connect(daemon.path, timeout_s=5.0) as client, client.join(b"g") as group:
        for number in range(50):
            group.post(b"%d" % number, safe=number == 7)
        client.settle()
        posted = [given for do, given in daemon.seen if do == "cpg_multicast"]
    assert [given["data"] for given in posted] == [b"%d" % number for number in range(50)]
    assert [number for number, given in enumerate(posted) if given["guarantee"] == "safe"] == [7]


def test_refused_post_is_told_later_and_once(daemon: FakeDaemon) -> None:
    offer_quiet(daemon)
    with blocking.connect(daemon.path, timeout_s=5.0) as client:
        group = client.join(b"g")
        daemon.on("cpg_multicast", FakeRefusal("too_big", "too long"))
        group.post(b"x")
        with pytest.raises(Refused, match="too long"):
            client.settle()
        client.settle()
        group.post(b"x")
        assert client.status().quorate
        with pytest.raises(Refused, match="too long"):
            group.post(b"y")


def test_posts_to_an_older_daemon_are_multicasts(client: BlockingClient, daemon: FakeDaemon) -> None:
    echo_group(daemon)
    daemon.on("ping", {"time": 1.0})
    group = client.join(b"g")
    group.post(b"x")
    client.settle()
    assert ("cpg_multicast", {"group": b"g", "data": b"x", "guarantee": "agreed"}) in daemon.seen


def test_events_are_read_while_a_post_waits(daemon: FakeDaemon) -> None:
    """A daemon that takes nothing before its events are read."""
    offer_quiet(daemon)
    go_on = threading.Event()

    def multicast(connection: FakeConnection, ident: int, arguments: Frame) -> object:
        if arguments["data"] == b"first":
            for _ in range(40):
                connection.event(1, "deliver", {"group": b"g", "nodeid": 1, "pid": 1, "data": bytes(100_000)})
            go_on.wait(5.0)
        return SILENCE

    daemon.handlers["cpg_multicast"] = multicast
    with blocking.connect(daemon.path, timeout_s=5.0) as client:
        group = client.join(b"g")
        group.post(b"first")
        with pytest.raises(TryAgain):
            post_often(group, 1000)
        go_on.set()
        client.settle()
        events = [group.next_event(5.0) for _ in range(41)]
    assert sum(isinstance(event, Delivered) for event in events) == 40


def test_daemon_that_ends_while_a_post_waits(daemon: FakeDaemon) -> None:
    offer_quiet(daemon)

    def multicast(connection: FakeConnection, ident: int, arguments: Frame) -> object:
        connection.close("the daemon stops")
        return SILENCE

    daemon.handlers["cpg_multicast"] = multicast
    with blocking.connect(daemon.path, timeout_s=5.0) as client:
        group = client.join(b"g")
        with pytest.raises(CutOff, match="the daemon stops"):
            post_often(group, 10_000)


def test_multicast_gives_up_at_its_timeout(client: BlockingClient, daemon: FakeDaemon) -> None:
    echo_group(daemon)
    daemon.on("cpg_multicast", FakeRefusal("try_again", "synchronizing"))
    group = client.join(b"g")
    with pytest.raises(TryAgain, match="synchronizing"):
        group.multicast(b"x", timeout_s=0.05)


def test_cut_off_shows_its_reason_after_the_events_before_it(client: BlockingClient, daemon: FakeDaemon) -> None:
    echo_group(daemon)
    group = client.join(b"g")
    daemon.connections[0].close("client does not read: 9 bytes queued")
    assert isinstance(group.next_event(5.0), MembersChanged)
    with pytest.raises(CutOff, match="client does not read"):
        group.next_event(5.0)
    with pytest.raises(CutOff, match="client does not read"):
        client.status()


def test_loss_without_a_word(client: BlockingClient, daemon: FakeDaemon) -> None:
    daemon.stop()
    with pytest.raises(ConnectionLost):
        client.status()


def test_silent_daemon(daemon: FakeDaemon) -> None:
    daemon.on("status", SILENCE)
    with blocking.connect(daemon.path, timeout_s=0.05) as client, pytest.raises(ConnectionLost, match="did not answer"):
        client.status()


def test_events_that_nobody_takes_end_the_connection(
    client: BlockingClient, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocking, "QUEUED_BYTES_MAX", 10_000)
    echo_group(daemon)
    group = client.join(b"g")
    with pytest.raises(ConnectionLost, match="not taken"):
        multicast_often(group)


def test_taken_events_make_room(client: BlockingClient, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocking, "QUEUED_BYTES_MAX", 10_000)
    echo_group(daemon)
    group = client.join(b"g")
    for _ in range(100):
        group.multicast(bytes(1000))
        group.next_event(5.0)


def test_no_socket_at_all(tmp_path: Path) -> None:
    with pytest.raises(CannotConnect, match="no such socket") as caught:
        blocking.connect(tmp_path / "none")
    assert str(tmp_path / "none") in str(caught.value)


def test_nobody_listens(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "dead"))
    with pytest.raises(CannotConnect, match="nobody listens"):
        blocking.connect(tmp_path / "dead")


def test_path_too_long_for_a_socket(tmp_path: Path) -> None:
    with pytest.raises(CannotConnect, match="too long"):
        blocking.connect(tmp_path / ("x" * 200))


def test_somebody_else_listens(daemon: FakeDaemon) -> None:
    daemon.greet = lambda hello: {"id": 1, "ok": "?"}
    with pytest.raises(ProtocolError):
        blocking.connect(daemon.path)


def test_access_denied_by_the_daemon(daemon: FakeDaemon) -> None:
    daemon.greet = lambda hello: {"error": {"code": "access", "message": "uid 5 may not"}}
    with pytest.raises(Refused, match="uid 5"):
        blocking.connect(daemon.path)


def test_default_path_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOTEMD_SOCKET", raising=False)
    assert protocol.socket_path(None) == "/run/totemd/totemd.sock"
    monkeypatch.setenv("TOTEMD_SOCKET", "/x/y")
    assert protocol.socket_path(None) == "/x/y"
    assert protocol.socket_path("/a") == "/a"
