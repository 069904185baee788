"""The trio client against a scripted daemon on a real socket."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from fake_daemon import SILENCE, FakeConnection, FakeDaemon, FakeRefusal, Frame, echo_group
from totemd.client import (
    CannotConnect,
    Client,
    ConnectionLost,
    CutOff,
    DaemonRestarted,
    Delivered,
    Group,
    MembersChanged,
    Membership,
    Refused,
    _link,
    _trio,
    open_client,
)

pytestmark = pytest.mark.trio

RING = {"rep": 1, "seq": 9, "id": "1.9"}


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    with FakeDaemon(tmp_path / "socket") as daemon:
        echo_group(daemon)
        yield daemon


async def multicast_often(group: Group) -> None:
    for _ in range(100):
        await group.multicast(bytes(1_000))


async def collect(group: Group, events: list[object]) -> None:
    async for event in group:
        events.append(event)


async def test_status(daemon: FakeDaemon) -> None:
    async with open_client(daemon.path) as client:
        assert client.welcome.nodeid == 1
        status = await client.status()
    assert status.quorate


async def test_many_requests_at_once(daemon: FakeDaemon) -> None:
    daemon.handlers["cmap_get"] = lambda connection, ident, arguments: {"type": "str", "value": arguments["key"] * 2}
    found = {}

    async def ask(client: Client, key: str) -> None:
        found[key] = (await client.cmap_get(key)).value

    async with open_client(daemon.path) as client, trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(ask, client, f"key{number}")
    assert found == {f"key{number}": f"key{number}" * 2 for number in range(50)}


async def test_refusals_come_out_bare(daemon: FakeDaemon) -> None:
    daemon.on("expected", FakeRefusal("invalid_param", "too few"))
    with pytest.raises(Refused, match="too few"):
        async with open_client(daemon.path) as client:
            await client.expected(1)


async def test_no_daemon(tmp_path: Path) -> None:
    with pytest.raises(CannotConnect, match="no such socket"):
        async with open_client(tmp_path / "none"):
            raise AssertionError


async def test_group(daemon: FakeDaemon) -> None:
    async with open_client(daemon.path) as client:
        async with client.join("g") as group:
            for text in (b"1", b"2"):
                await group.multicast(text, safe=True)
            events = [await group.next_event() for _ in range(3)]
            assert [member.nodeid for member in group.members] == [1]
        await client.status()
    assert isinstance(events[0], MembersChanged)
    assert [event.data for event in events if isinstance(event, Delivered)] == [b"1", b"2"]
    assert ("cpg_leave", {"group": b"g"}) in daemon.seen


async def test_refused_join(daemon: FakeDaemon) -> None:
    daemon.on("cpg_join", FakeRefusal("exist", "joined already"))
    async with open_client(daemon.path) as client:
        with pytest.raises(Refused, match="joined already"):
            async with client.join("g"):
                raise AssertionError
        assert (await client.status()).quorate


async def test_cancelled_join_is_taken_back(daemon: FakeDaemon) -> None:
    daemon.on("cpg_join", SILENCE)
    async with open_client(daemon.path) as client:
        with trio.move_on_after(0.05) as scope:
            async with client.join("g"):
                raise AssertionError
        assert scope.cancelled_caught
    assert ("cpg_leave", {"group": b"g"}) in daemon.seen


async def test_track_yields_present_state_before_changes(daemon: FakeDaemon) -> None:
    def track(connection: FakeConnection, ident: int, arguments: Frame) -> object:
        first = {"kind": "regular", "ring": RING, "members": [1, 2], "joined": [], "left": [], "reason": ""}
        connection.send({"id": ident, "ok": {"membership": first, "quorum": None}})
        connection.event(ident, "membership", first | {"members": [1], "left": [2]})
        return SILENCE

    daemon.handlers["track"] = track
    daemon.on("untrack", {})
    async with open_client(daemon.path) as client, client.track() as tracker:
        events = [await tracker.next_event(), await tracker.next_event()]
    assert [event.members for event in events if isinstance(event, Membership)] == [(1, 2), (1,)]
    assert daemon.seen[-1][0] == "untrack"


async def test_multicast_waits_for_ready(daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_link, "READY_POLL_S", 3600.0)
    refusals = 3

    def multicast(connection: FakeConnection, ident: int, arguments: Frame) -> object:
        nonlocal refusals
        if not refusals:
            return {}
        refusals -= 1
        connection.send({"id": ident, "error": {"code": "try_again", "message": "full"}})
        connection.event(0, "ready", {})
        return SILENCE

    daemon.handlers["cpg_multicast"] = multicast
    async with open_client(daemon.path) as client, client.join("g") as group:
        await group.multicast(b"x")
    assert refusals == 0


async def test_posts_are_not_waited_for_and_refusals_are_told(daemon: FakeDaemon) -> None:
    hello = {"protocol": 1, "server": "totemd", "version": "1", "nodeid": 1, "cluster_name": "lab"}
    daemon.greet = lambda _: {"hello": {**hello, "incarnation": "a1", "features": ["quiet"]}}
    daemon.on("ping", {"time": 1.0})
    daemon.handlers["cpg_multicast"] = lambda connection, ident, arguments: SILENCE
    async with open_client(daemon.path) as client, client.join(b"g") as group:
        for number in range(100):
            await group.post(b"%d" % number)
        await client.settle()
        posted = [given["data"] for do, given in daemon.seen if do == "cpg_multicast"]
        assert posted == [b"%d" % number for number in range(100)]
        daemon.on("cpg_multicast", FakeRefusal("too_big", "too long"))
        await group.post(b"x")
        with pytest.raises(Refused, match="too long"):
            await client.settle()
        await client.settle()


async def test_posts_to_an_older_daemon_are_multicasts(daemon: FakeDaemon) -> None:
    daemon.on("ping", {"time": 1.0})
    async with open_client(daemon.path) as client, client.join(b"g") as group:
        await group.post(b"x", safe=True)
        await client.settle()
    assert ("cpg_multicast", {"group": b"g", "data": b"x", "guarantee": "safe"}) in daemon.seen


async def test_multicast_has_the_callers_deadline(daemon: FakeDaemon) -> None:
    daemon.on("cpg_multicast", FakeRefusal("try_again"))
    async with open_client(daemon.path) as client, client.join("g") as group:
        with pytest.raises(trio.TooSlowError), trio.fail_after(0.05):
            await group.multicast(b"x")
        assert (await client.status()).quorate


async def test_cut_off_shows_its_reason_after_the_events_before_it(daemon: FakeDaemon) -> None:
    async with open_client(daemon.path) as client, client.join("g") as group:
        await group.multicast(b"x")
        daemon.connections[0].close("client does not read: 9 bytes queued")
        events: list[object] = []
        with pytest.raises(CutOff, match="client does not read"):
            await collect(group, events)
        with pytest.raises(CutOff):
            await client.status()
    assert len(events) == 2


async def test_reply_in_flight_when_the_daemon_goes(daemon: FakeDaemon) -> None:
    daemon.handlers["status"] = lambda connection, ident, arguments: connection.close()
    async with open_client(daemon.path) as client:
        with pytest.raises(ConnectionLost):
            await client.status()


async def test_unread_events_stop_the_reading(daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_link, "QUEUED_BYTES_PAUSE", 2_000)
    sent = trio.Event()
    token = trio.lowlevel.current_trio_token()

    def join(connection: FakeConnection, ident: int, arguments: Frame) -> object:
        connection.send({"id": ident, "ok": {}})
        for number in range(1000):
            data = {"group": b"g", "nodeid": 1, "pid": 1, "data": b"%03d" % number + bytes(50_000)}
            connection.event(ident, "deliver", data)
        token.run_sync_soon(sent.set)
        return SILENCE

    daemon.handlers["cpg_join"] = join
    async with open_client(daemon.path) as client, client.join("g") as group:
        # Nobody iterates: the client must leave most of it to the socket, so the daemon cannot get rid of it.
        with trio.move_on_after(0.3):
            await sent.wait()
        assert not sent.is_set()
        assert client._backlog.queued_bytes < 2_000_000
        numbers = [
            event.data[:3] for event in [await group.next_event() for _ in range(1000)] if isinstance(event, Delivered)
        ]
        await sent.wait()
    assert numbers == [b"%03d" % number for number in range(1000)]


async def test_awaited_reply_is_found_behind_unread_events(daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_link, "QUEUED_BYTES_PAUSE", 2_000)
    async with open_client(daemon.path) as client, client.join("g") as group:
        await multicast_often(group)
        with trio.fail_after(30):
            events = [await group.next_event() for _ in range(101)]
    assert len(events) == 101


async def test_events_that_nobody_takes_end_the_connection(daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_link, "QUEUED_BYTES_MAX", 50_000)
    async with open_client(daemon.path) as client, client.join("g") as group:
        with pytest.raises(ConnectionLost, match="not taken"):
            await multicast_often(group)


async def test_restart_is_an_event_and_groups_are_joined_again(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with FakeDaemon(path, incarnation="a1") as first:
        echo_group(first)
        async with open_client(path, reconnect=True) as client, client.join("g") as group, client.join("h") as other:
            assert isinstance(await group.next_event(), MembersChanged)
            assert isinstance(await other.next_event(), MembersChanged)
            first.connections[0].event(0, "closing", {"reason": "the daemon ends"})
            first.stop()
            with FakeDaemon(path, incarnation="b2") as second:
                echo_group(second)
                event = await group.next_event()
                assert event == DaemonRestarted("b2", "a1", "the daemon ends")
                assert await other.next_event() == event
                assert isinstance(await group.next_event(), MembersChanged)
                await other.multicast(b"again")
                assert isinstance(await other.next_event(), MembersChanged)
                delivered = await other.next_event()
                assert isinstance(delivered, Delivered)
                assert delivered.data == b"again"
                assert client.welcome.incarnation == "b2"


async def test_requests_wait_for_the_new_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_trio, "RECONNECT_DELAY_MIN_S", 0.01)
    path = tmp_path / "socket"
    with FakeDaemon(path) as first:
        async with open_client(path, reconnect=True) as client:
            first.stop()
            with pytest.raises(ConnectionLost):
                # Until the loss is noticed requests fail as lost; afterwards they wait.
                await client.status()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.status)
                await trio.sleep(0.05)
                with FakeDaemon(path, incarnation="b2") as second:
                    while not second.seen:
                        await trio.sleep(0.01)
                    nursery.cancel_scope.cancel()


async def test_group_that_cannot_be_joined_again_fails_alone(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with FakeDaemon(path) as first:
        echo_group(first)
        async with open_client(path, reconnect=True) as client, client.join("g") as group:
            first.stop()
            with FakeDaemon(path, incarnation="b2") as second:
                second.on("cpg_join", FakeRefusal("no_resources", "too many groups"))
                with pytest.raises(Refused, match="too many groups"):
                    await collect(group, [])
                assert (await client.status()).quorate


async def test_end_of_the_client_while_reconnecting(daemon: FakeDaemon) -> None:
    async with open_client(daemon.path, reconnect=True) as client, client.join("g") as group:
        daemon.stop()
        assert isinstance(await group.next_event(), MembersChanged)
        with trio.move_on_after(0.2):
            await group.next_event()
