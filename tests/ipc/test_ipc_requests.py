"""Every request, with the real services behind it: its reply, its errors, and the events it subscribes to."""

import pytest

from ipc_world import ROOT, Client, World
from totemd.config.model import CmapEntry, CmapType
from totemd.ipc.ports import Credentials
from totemd.ipc.requests import REQUESTS
from totemd.limits import CPG_DATA_MAX, CPG_NAME_MAX
from totemd.wire import cpg as wire
from totemd.wire.cpg import CpgFragment, CpgReason

PID = ROOT.pid


@pytest.fixture
def world() -> World:
    world = World()
    world.form(1)
    return world


@pytest.fixture
def client(world: World) -> Client:
    return world.client()


def second(world: World) -> Client:
    return world.client(Credentials(815, 0, 0))


def member(pid: int, nodeid: int = 1) -> dict[str, object]:
    return {"nodeid": nodeid, "pid": pid}


def change(pid: int, reason: str, nodeid: int = 1) -> dict[str, object]:
    return {"nodeid": nodeid, "pid": pid, "reason": reason}


def members_event(
    ident: int,
    members: list[dict[str, object]],
    joined: list[dict[str, object]],
    left: list[dict[str, object]],
    group: bytes = b"g",
) -> dict[str, object]:
    return {
        "event": "members",
        "of": ident,
        "data": {"group": group, "members": members, "joined": joined, "left": left},
    }


def deliver_event(ident: int, data: bytes, pid: int = PID, nodeid: int = 1) -> dict[str, object]:
    return {"event": "deliver", "of": ident, "data": {"group": b"g", "nodeid": nodeid, "pid": pid, "data": data}}


def test_the_table_has_every_request_of_the_chapter() -> None:
    assert set(REQUESTS) == {
        *("ping", "status", "nodes", "track", "untrack", "expected", "votes", "cancel_wait_for_all"),
        "force_expected",
        *("cpg_join", "cpg_leave", "cpg_multicast", "cpg_members", "cpg_groups"),
        *("cmap_get", "cmap_set", "cmap_delete", "cmap_list", "cmap_adjust", "cmap_track"),
        *("stats", "kill", "shutdown", "reload"),
        *("cluster_invite", "cluster_remove", "cluster_leave"),
        *("config_show", "config_history", "config_validate", "config_propose", "config_rollback"),
        "config_rotate_key",
    }


# the node


def test_what_the_node_answers(world: World, client: Client) -> None:
    world.host.now = 12.5
    assert client.ok("ping") == {"time": 12.5}
    assert client.ok("status") == {"cluster_name": "lab", "nodeid": 1}
    assert client.ok("nodes") == {"nodes": [{"nodeid": 1, "local": True}]}
    assert client.ok("stats") == {"ring": {"tokens": 7}}


def test_arguments_may_be_left_out_altogether(client: Client) -> None:
    client.send({"id": 9, "do": "ping"}, {"id": 10, "do": "ping", "with": None})
    assert [frame["id"] for frame in client.take()] == [9, 10]


# track


def test_track_replies_with_the_present_and_follows_every_step(world: World, client: Client) -> None:
    now = client.ok("track", current=True)
    ring = {"rep": 1, "seq": 1, "id": "1.1"}
    assert now["membership"] == {
        "kind": "regular",
        "ring": ring,
        "members": [1],
        "joined": [],
        "left": [],
        "reason": "test",
    }
    assert now["quorum"] == {
        "quorate": False,
        "ring": ring,
        "expected_votes": 3,
        "total_votes": 1,
        "quorum": 2,
        "nodes": [{"nodeid": 1, "state": "member"}],
    }
    ident = client.last_ident
    world.form(1, 2)
    events = client.take()
    assert {event["of"] for event in events} == {ident}
    assert [event["event"] for event in events] == ["membership", "membership", "quorum", "synchronized"]
    transitional, regular, quorum, synchronized = (event["data"] for event in events)
    assert (transitional["kind"], transitional["members"], transitional["joined"]) == ("transitional", [1], [])
    assert (regular["kind"], regular["members"], regular["joined"]) == ("regular", [1, 2], [2])
    assert quorum["ring"] == synchronized["ring"] == regular["ring"] == {"rep": 1, "seq": 2, "id": "1.2"}


def test_expected_votes_are_an_event(world: World, client: Client) -> None:
    client.ok("track")
    ident = client.last_ident
    assert client.ok("expected", votes=5) == {}
    world.settle()
    assert client.take() == [{"event": "expected_votes", "of": ident, "data": {"expected_votes": 5}}]


def test_quorum_gained_and_lost_are_events(world: World, client: Client) -> None:
    assert client.ok("track", current=False) == {"membership": None, "quorum": None}
    client.ok("expected", votes=1)
    world.settle()
    (quorum,) = (event["data"] for event in client.take() if event["event"] == "quorum")
    assert (quorum["quorate"], quorum["quorum"], quorum["total_votes"]) == (True, 1, 1)


def test_track_without_a_provider_is_always_quorate() -> None:
    world = World(provider=False)
    client = world.client()
    now = client.ok("track")
    assert now["membership"] is None
    client.ok("untrack", id=client.last_ident)
    world.form(1)
    quorum = client.ok("track")["quorum"]
    assert quorum == {
        "quorate": True,
        "ring": {"rep": 1, "seq": 1, "id": "1.1"},
        "expected_votes": 0,
        "total_votes": 0,
        "quorum": 0,
        "nodes": [{"nodeid": 1, "state": "member"}],
    }
    world.form(1, 2)
    assert [event["event"] for event in client.take()] == ["membership", "membership", "synchronized"]
    client.session.closed()
    assert world.node.listeners == []


def test_untrack_ends_the_events(world: World, client: Client) -> None:
    client.ok("track")
    assert client.ok("untrack", id=client.last_ident) == {}
    world.form(1, 2)
    assert client.take() == []
    assert client.refused("untrack", id=1)[0] == "not_exist"


def test_untrack_is_not_for_groups(client: Client) -> None:
    ident = client.joined(b"g")
    code, text = client.refused("untrack", id=ident)
    assert code == "invalid_param"
    assert "cpg_leave" in text


def test_a_tracking_client_that_goes_is_forgotten(world: World, client: Client) -> None:
    client.ok("track")
    client.ok("cmap_track", prefix="a")
    client.session.closed()
    assert world.node.listeners == []
    world.form(1, 2)
    world.cmap.set_value("abc", 1)
    assert client.take() == []


# votes


def test_votes_without_a_provider_are_not_supported() -> None:
    client = World(provider=False).client()
    for do, given in (("expected", {"votes": 1}), ("votes", {"nodeid": 1, "votes": 1}), ("cancel_wait_for_all", {})):
        code, text = client.refused(do, **given)
        assert code == "not_supported"
        assert "quorum.provider" in text


def test_votes_are_set_and_refused(world: World, client: Client) -> None:
    client.ok("expected", votes=1)
    world.settle()
    assert client.ok("votes", nodeid=1, votes=1) == {}
    assert client.refused("votes", nodeid=77, votes=1)[0] == "name_not_found"
    assert client.refused("expected", votes=0)[0] == "bad_request"
    assert client.ok("cancel_wait_for_all") == {}
    world.host.room = 0
    assert client.refused("cancel_wait_for_all")[0] == "no_resources"


# groups


def test_join_then_events_then_leave(world: World, client: Client) -> None:
    assert client.ok("cpg_join", group="g") == {}
    ident = client.last_ident
    world.settle()
    assert client.take() == [members_event(ident, [member(PID)], [change(PID, "join")], [])]
    assert client.ok("cpg_members", group=b"g") == {"members": [member(PID)]}
    assert client.ok("cpg_groups") == {"groups": [{"group": b"g", "members": [member(PID)]}]}
    assert client.ok("cpg_leave", group=b"g") == {}
    assert client.refused("cpg_leave", group=b"g")[0] == "not_exist"
    assert client.refused("cpg_multicast", group=b"g", data=b"x", guarantee="agreed")[0] == "not_exist"
    world.settle()
    assert client.take() == [members_event(ident, [], [], [change(PID, "leave")])]
    assert client.session.subscriptions == {}
    assert client.ok("cpg_members", group=b"g") == {"members": []}
    client.joined(b"g")


def test_join_is_refused_with_the_service_s_codes(world: World, client: Client) -> None:
    assert client.refused("cpg_join", group=b"x" * (CPG_NAME_MAX + 1))[0] == "name_too_long"
    assert client.refused("cpg_join", group=b"g", pid=-1)[0] == "bad_request"
    assert client.session.subscriptions == {}
    client.joined(b"g")
    assert client.refused("cpg_join", group=b"g") == ("exist", "this connection is in the group already")
    assert client.refused("cpg_join", group=b"g", pid=5)[0] == "exist"
    assert world.client().refused("cpg_join", group=b"g")[0] == "exist"


def test_a_client_may_name_the_process(world: World, client: Client) -> None:
    client.ok("cpg_join", group=b"g", pid=99)
    world.settle()
    assert client.take()[0]["data"]["members"] == [member(99)]


def test_rejoining_waits_for_the_leave_and_is_told_when_to_ask_again(world: World, client: Client) -> None:
    client.joined(b"g")
    client.ok("cpg_leave", group=b"g")
    assert client.refused("cpg_join", group=b"g")[0] == "try_again"
    world.settle()
    assert [event["event"] for event in client.take()] == ["members", "ready"]
    client.joined(b"g")


def test_leaving_too_early_is_told_when_to_ask_again(world: World, client: Client) -> None:
    client.ok("cpg_join", group=b"g")
    assert client.refused("cpg_leave", group=b"g") == ("try_again", "the join is still under way")
    world.settle()
    assert [event["event"] for event in client.take()] == ["members", "ready"]
    client.ok("cpg_leave", group=b"g")


def test_what_is_not_joined_cannot_be_used(client: Client) -> None:
    code, text = client.refused("cpg_multicast", group=b"g", data=b"x")
    assert (code, "cpg_join" in text) == ("not_exist", True)
    assert client.refused("cpg_leave", group=b"g")[0] == "not_exist"


@pytest.mark.parametrize(
    ("given", "safe"),
    [
        ({"group": b"g", "data": b"x"}, False),
        ({"group": b"g", "data": b"x", "guarantee": "agreed"}, False),
        ({"group": b"g", "data": b"x", "guarantee": "safe"}, True),
        ({"group": "g", "data": "x", "guarantee": "safe"}, True),
        ({"group": b"g", "data": "x", "guarantee": None}, False),
    ],
)
def test_multicast_in_every_spelling(world: World, client: Client, given: dict[str, object], safe: bool) -> None:
    ident = client.joined(b"g")
    world.host.safe.clear()
    assert client.ok("cpg_multicast", **given) == {}
    assert world.host.safe == [safe]
    world.settle()
    assert client.take() == [deliver_event(ident, b"x")]


@pytest.mark.parametrize(
    "given",
    [
        {"group": b"g", "data": b"x", "garantee": "safe"},
        {"group": b"g", "data": b"x", "guarantee": "safe", "more": 1},
        {"group": b"g", "data": b"x", "guarantee": "SAFE"},
        {"group": b"g", "data": None, "guarantee": "safe"},
        {"group": 5, "data": b"x", "guarantee": "safe"},
    ],
)
def test_a_wrong_multicast_is_not_sent(world: World, client: Client, given: dict[str, object]) -> None:
    client.joined(b"g")
    world.host.safe.clear()
    assert client.refused("cpg_multicast", **given)[0] == "bad_request"
    assert world.host.safe == []


def test_multicast_has_a_size_limit(world: World, client: Client) -> None:
    ident = client.joined(b"g")
    assert (
        client.refused("cpg_multicast", group=b"g", data=b"x" * (CPG_DATA_MAX + 1), guarantee="agreed")[0] == "too_big"
    )
    client.ok("cpg_multicast", group=b"g", data=b"x" * CPG_DATA_MAX, guarantee="agreed")
    world.settle()
    assert client.take() == [deliver_event(ident, b"x" * CPG_DATA_MAX)]


def test_two_sessions_in_one_group_see_the_same_order(world: World) -> None:
    one, two = world.client(), second(world)
    first_ident = one.joined(b"g")
    one.take()
    two.ok("cpg_join", group=b"g")
    second_ident = two.last_ident
    one.ok("cpg_multicast", group=b"g", data=b"early", guarantee="agreed")
    two.ok("cpg_multicast", group=b"g", data=b"late", guarantee="agreed")
    world.settle()
    both = [member(815), member(PID)]
    assert one.take() == [
        members_event(first_ident, both, [change(815, "join")], []),
        deliver_event(first_ident, b"early"),
        deliver_event(first_ident, b"late", pid=815),
    ]
    assert two.take() == [
        members_event(second_ident, both, [change(815, "join")], []),
        deliver_event(second_ident, b"early"),
        deliver_event(second_ident, b"late", pid=815),
    ]


def test_one_session_in_two_groups(world: World, client: Client) -> None:
    first_ident, other_ident = client.joined(b"g"), client.joined(b"h")
    client.ok("cpg_multicast", group=b"h", data=b"x", guarantee="agreed")
    world.settle()
    (event,) = client.take()
    assert (event["of"], event["data"]["group"]) == (other_ident, b"h")
    client.ok("cpg_leave", group=b"h")
    world.settle()
    client.take()
    assert list(client.session.groups) == [b"g"]
    assert list(client.session.subscriptions) == [first_ident]


def test_a_client_that_dies_leaves_its_groups_as_procdown(world: World) -> None:
    watcher, dying = world.client(), second(world)
    ident = watcher.joined(b"g")
    dying.joined(b"g")
    dying.joined(b"h")
    watcher.take()
    dying.session.closed()
    world.settle()
    assert watcher.take() == [members_event(ident, [member(PID)], [], [change(815, "procdown")])]
    assert dying.take() == []
    assert [group["group"] for group in watcher.ok("cpg_groups")["groups"]] == [b"g"]


def test_other_nodes_processes_come_speak_and_go(world: World, client: Client) -> None:
    ident = client.joined(b"g")
    world.begin_ring(1, 2)
    world.finish_ring((2, wire.encode_join_list(wire.JoinList((wire.JoinListEntry(7, b"g"),)))))
    world.deliver(2, wire.encode_mcast(wire.Mcast(b"g", 7, 2, 0, b"hello")))
    first = wire.PartialMcast(b"g", 7, CpgFragment.FIRST, 4, 2, 0, b"ab")
    world.deliver(2, wire.encode_partial_mcast(first))
    world.deliver(2, wire.encode_proc_leave(wire.ProcChange(b"g", 7, CpgReason.LEAVE)))
    world.deliver(2, wire.encode_proc_join(wire.ProcChange(b"g", 8, CpgReason.JOIN)))
    world.form(1)
    own = member(PID)
    assert client.take() == [
        members_event(ident, [own, member(7, 2)], [change(7, "nodeup", 2)], []),
        deliver_event(ident, b"hello", pid=7, nodeid=2),
        {
            "event": "fragment",
            "of": ident,
            "data": {"group": b"g", "nodeid": 2, "pid": 7, "part": "first", "total": 4, "data": b"ab"},
        },
        members_event(ident, [own], [], [change(7, "leave", 2)]),
        members_event(ident, [own, member(8, 2)], [change(8, "join", 2)], []),
        members_event(ident, [own], [], [change(8, "nodedown", 2)]),
    ]


def test_a_message_is_encoded_once_for_all_who_hear_it(world: World) -> None:
    clients = [world.client(Credentials(pid, 0, 0)) for pid in range(1, 5)]
    for client in clients:
        client.joined(b"g")
    for client in clients:
        client.take()
    clients[0].ok("cpg_multicast", group=b"g", data=b"x" * 100_000, guarantee="agreed")
    world.settle()
    chunks = [client.session.take_output()[-1] for client in clients]
    assert all(chunk is chunks[0] for chunk in chunks)


def test_equal_messages_one_after_the_other_are_not_mixed_up(world: World, client: Client) -> None:
    ident = client.joined(b"g")
    for data in (b"a", b"a", b"b", b"a"):
        client.ok("cpg_multicast", group=b"g", data=data, guarantee="agreed")
    world.settle()
    assert client.take() == [deliver_event(ident, data) for data in (b"a", b"a", b"b", b"a")]


# cmap


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("i8", -5),
        ("u8", 5),
        ("i16", -300),
        ("u16", 65535),
        ("i32", -1),
        ("u32", 2**32 - 1),
        ("i64", -(2**63)),
        ("u64", 2**64 - 1),
        ("flt", 0.5),
        ("dbl", 0.1),
        ("str", "grüße"),
        ("bin", b"\x00\xff"),
    ],
)
def test_cmap_keeps_every_type(client: Client, word: str, value: object) -> None:
    assert client.ok("cmap_set", key="a.key", type=word, value=value) == {}
    assert client.ok("cmap_get", key="a.key") == {"key": "a.key", "type": word, "value": value}


def test_cmap_chooses_the_type_that_fits(client: Client) -> None:
    client.ok("cmap_set", key="a.key", type="u8", value=1)
    client.ok("cmap_set", key="a.key", value=2)
    assert client.ok("cmap_get", key="a.key")["type"] == "u8"
    client.ok("cmap_set", key="b.key", value="text")
    assert client.ok("cmap_get", key="b.key")["type"] == "str"


def test_cmap_list_adjust_delete(client: Client) -> None:
    client.ok("cmap_set", key="t.one", type="u8", value=255)
    client.ok("cmap_set", key="t.two", value="x")
    assert client.ok("cmap_adjust", key="t.one", step=2) == {}
    assert client.ok("cmap_list", prefix="t.") == {
        "entries": [{"key": "t.one", "type": "u8", "value": 1}, {"key": "t.two", "type": "str", "value": "x"}]
    }
    assert len(client.ok("cmap_list")["entries"]) > 2
    assert client.ok("cmap_delete", key="t.two") == {}
    assert client.refused("cmap_get", key="t.two") == ("not_exist", "there is no key t.two")


@pytest.mark.parametrize(
    ("do", "given", "code"),
    [
        ("cmap_get", {"key": "ab"}, "not_exist"),
        ("cmap_get", {"key": "a b c"}, "not_exist"),
        ("cmap_get", {"key": "x" * 256}, "not_exist"),
        ("cmap_set", {"key": "ab", "value": 1}, "name_too_long"),
        ("cmap_set", {"key": "a b c", "value": 1}, "name_too_long"),
        ("cmap_set", {"key": "x" * 256, "value": 1}, "name_too_long"),
        ("cmap_set", {"key": "totem.cluster_name", "value": "x"}, "access"),
        ("cmap_set", {"key": "a.key", "type": "u8", "value": 256}, "invalid_param"),
        ("cmap_set", {"key": "a.key", "type": "str", "value": 5}, "invalid_param"),
        ("cmap_set", {"key": "a.key", "type": "u7", "value": 5}, "bad_request"),
        ("cmap_set", {"key": "a.key"}, "bad_request"),
        ("cmap_delete", {"key": "no.such"}, "not_exist"),
        ("cmap_adjust", {"key": "no.such", "step": 1}, "not_exist"),
        ("cmap_adjust", {"key": "no.such", "step": 2**31}, "bad_request"),
        ("cmap_list", {"prefix": "a b"}, "name_too_long"),
    ],
)
def test_cmap_refuses(client: Client, do: str, given: dict[str, object], code: str) -> None:
    assert client.refused(do, **given)[0] == code
    assert client.session.subscriptions == {}


def test_cmap_track_tells_of_add_modify_delete(world: World, client: Client) -> None:
    client.ok("cmap_track", prefix="t.")
    whole = client.last_ident
    client.ok("cmap_track", prefix="t.one", exact=True)
    exact = client.last_ident
    world.cmap.set_value("t.one", 1)
    world.cmap.set_value("t.one", 2)
    world.cmap.set_value("t.one.more", b"x")
    world.cmap.delete("t.one")
    one, two = {"type": "u32", "value": 1}, {"type": "u32", "value": 2}
    steps = [
        {"event": "add", "key": "t.one", "new": one, "old": None},
        {"event": "modify", "key": "t.one", "new": two, "old": one},
        {"event": "add", "key": "t.one.more", "new": {"type": "bin", "value": b"x"}, "old": None},
        {"event": "delete", "key": "t.one", "new": None, "old": two},
    ]
    events = client.take()
    assert [event["data"] for event in events if event["of"] == whole] == steps
    assert [event["data"] for event in events if event["of"] == exact] == [steps[0], steps[1], steps[3]]
    client.ok("untrack", id=whole)
    world.cmap.set_value("t.one", 3)
    assert [event["of"] for event in client.take()] == [exact]


def test_statistics_are_a_map_of_their_own(world: World, client: Client) -> None:
    world.cmap.statistics.add_source("stats.t.", Ticks(), cleared_by="totem")
    assert client.ok("cmap_get", key="stats.t.ticks", map="stats") == {
        "key": "stats.t.ticks",
        "type": "u64",
        "value": 1,
    }
    assert client.ok("cmap_list", map="stats", prefix="stats.")["entries"][0]["value"] == 2
    assert client.refused("cmap_get", key="stats.t.ticks")[0] == "not_exist"
    assert client.refused("cmap_get", key="stats.t.ticks", map="other")[0] == "bad_request"
    client.ok("cmap_track", prefix="stats.t.", map="stats")
    ident = client.last_ident
    world.cmap.statistics.came(["stats.t.ticks"])
    assert [(event["of"], event["data"]["event"]) for event in client.take()] == [(ident, "add")]
    client.ok("untrack", id=ident)
    world.cmap.statistics.came(["stats.t.ticks"])
    assert client.take() == []


class Ticks:
    """One statistic, which counts how often it is read."""

    def __init__(self) -> None:
        self.count = 0

    def names(self) -> list[str]:
        return ["stats.t.ticks"]

    def find(self, key: str) -> CmapEntry | None:
        self.count += 1
        return CmapEntry(CmapType.U64, self.count)

    def clear(self) -> None:
        self.count = 0


# cfg


def test_kill_reaches_a_member_only(world: World, client: Client) -> None:
    assert client.refused("kill", nodeid=2)[0] == "not_exist"
    assert client.refused("kill", nodeid=1, reason="x" * 256)[0] == "name_too_long"
    assert client.ok("kill", nodeid=1, reason="test") == {}
    world.settle()
    assert world.host.shutdowns == [("killed by node 1: test", 255, True)]


def test_shutdown_is_answered_and_done(world: World, client: Client) -> None:
    assert client.ok("shutdown") == {}
    world.settle()
    assert world.host.shutdowns == [("shut down by the administrator", 0, False)]


class Voter:
    def push(self, event: object) -> None: ...


def test_shutdown_waits_for_the_voters(world: World, client: Client) -> None:
    voter = Voter()
    world.cfg.track_start(voter)
    ident = client.ask("shutdown")
    assert client.take() == []
    assert client.refused("shutdown")[0] == "exist"
    assert client.ok("ping")
    world.cfg.reply_to_shutdown(voter, agreed=False)
    (answer,) = client.take()
    assert (answer["id"], answer["error"]["code"]) == (ident, "busy")
    ident = client.ask("shutdown", kind="regardless")
    world.cfg.reply_to_shutdown(voter, agreed=False)
    assert client.take() == [{"id": ident, "ok": {}}]


def test_who_asks_for_a_shutdown_and_goes_has_not_asked(world: World, client: Client) -> None:
    voter = Voter()
    world.cfg.track_start(voter)
    client.ask("shutdown")
    client.session.closed()
    assert world.client().ok("ping")
    other = second(world)
    other.ask("shutdown")
    world.cfg.reply_to_shutdown(voter, agreed=True)
    world.settle()
    assert len(world.host.shutdowns) == 1
    assert client.take() == []


def test_reload_is_answered_when_it_is_done(world: World, client: Client) -> None:
    first = client.ask("reload")
    world.settle()
    assert client.take() == []
    world.host.reloads.pop()(None)
    assert client.take() == [{"id": first, "ok": {}}]
    again = client.ask("reload")
    world.settle()
    world.host.reloads.pop()("corosync.conf:3: totem.token: not a number")
    (answer,) = client.take()
    assert answer == {
        "id": again,
        "error": {"code": "failed_operation", "message": "corosync.conf:3: totem.token: not a number"},
    }


def test_requests_that_wait_are_bounded_and_have_ids_of_their_own(world: World, client: Client) -> None:
    ids = [client.ask("reload") for _ in range(16)]
    assert client.refused("reload")[0] == "busy"
    client.send({"id": ids[0], "do": "reload"})
    assert client.take()[0]["error"]["code"] == "bad_request"
    world.settle()
    while world.host.reloads:
        world.host.reloads.pop()(None)
    assert sorted(frame["id"] for frame in client.take() if "ok" in frame) == ids
    client.ask("reload")


def test_a_reload_that_ends_after_its_client_is_no_error(world: World, client: Client) -> None:
    client.ask("reload")
    world.settle()
    client.session.closed()
    world.host.reloads.pop()(None)
    assert client.take() == []


def test_nothing_is_promised_by_a_reload_that_cannot_start(world: World, client: Client) -> None:
    world.host.room = 0
    for _ in range(20):
        assert client.refused("reload")[0] == "try_again"
