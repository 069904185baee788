"""corosync's own libraries, unmodified, give the same results and events on a totemd cluster as on a real one.

Every scenario leads programs in C (tests/integration/clients) through the same calls on both clusters, and compares
what they write down. DELIBERATE lists what totemd does better, with the reason; anything else that differs fails.
"""

import itertools
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from totemd_lab.beside import Beside, Mask, wait_ready
from totemd_lab.faults import heal, partition
from totemd_lab.players import LIBRARIES, MASKS, Player, Stage
from totemd_lab.ring import Lab

pytestmark = [pytest.mark.root, pytest.mark.corosync]

Scenario = Callable[[Stage], None]
scenarios: list[Scenario] = []


def ascending(match: re.Match[str]) -> str:
    """The same list, sorted by node."""
    return f"{match[1]}[{' '.join(sorted(match[2].split(), key=lambda entry: int(entry.split(':')[0])))}]"


def by_track(match: re.Match[str]) -> str:
    """The events of one change, sorted."""
    lines = match[0].splitlines(keepends=True)
    groups = itertools.groupby(lines, key=lambda line: line.partition(" event ")[2])
    return "".join(line for _, group in groups for line in sorted(group))


DELIBERATE = [
    Mask(r"^(= 1(?: \[.*\])?) 27 (?:1|27) 1 9 9$", r"\1 27 AGAIN 1 9 9", "an iteration at its end stays there"),
    Mask(r"^(! members .* joined)\[(.*)\]$", ascending, "in ascending order, not as the nodes' lists came in"),
    Mask(r"^(! quorum \d .*)\[(.*)\]$", ascending, "in ascending order, not as the nodes became known"),
    Mask(r"(?:^! change .*\n)+", by_track, "one change's trackers in the order of their registration"),
]


def scenario(play: Scenario) -> Scenario:
    """Have the function played on both clusters."""
    scenarios.append(play)
    return play


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beside]:
    """Both clusters."""
    with closing(Beside(tmp_path_factory.mktemp("beside"))) as both:
        yield both


@pytest.mark.parametrize("play", scenarios, ids=lambda play: play.__name__)
def test_same_transcript(
    beside: Beside, programs: Path, tmp_path_factory: pytest.TempPathFactory, play: Scenario
) -> None:
    def script(lab: Lab) -> str:
        with closing(Stage(lab, programs, tmp_path_factory.mktemp("stage"))) as stage:
            play(stage)
            return stage.transcript()

    beside.compare(script, [*MASKS, *DELIBERATE])


def calls(player: Player, *lines: str) -> None:
    """Make calls one after the other."""
    for line in lines:
        player.call(line)


def all_see(players: list[Player], pattern: str) -> None:
    """All get such an event."""
    for player in players:
        player.event(pattern)


def crash(lab: Lab, *nodeids: int) -> None:
    """Kill daemons and wait until the others have missed them."""
    for nodeid in nodeids:
        lab.node(nodeid).kill()
    lab.wait_formed()


def back(lab: Lab, *nodeids: int) -> None:
    """Start daemons and wait until all is as it was."""
    lab.start([lab.node(nodeid) for nodeid in nodeids])
    wait_ready(lab)


# libcpg


@scenario
def cpg_errors(stage: Stage) -> None:
    a = stage.player("A", "cpg", 1)
    calls(a, "open 0 7 0 0", "open 0", "local 0", "limit 0", "flow 0", "context 0", "context 0 77", "context 0")
    calls(a, "leave 0 g", "members 0 g", "iterate 0 1", "iterate 0 3", "iterate 0 2 g", "iterate 0 2", "iterate 0 9")
    calls(a, "dispatch 0 2", "dispatch 0 4", f"join 0 {'n' * 129}", "open 1", f"join 1 {'n' * 128}")
    a.event("joined.1:")
    calls(a, f"members 1 {'n' * 128}", "iterate 1 1", f"leave 1 {'n' * 128}")
    a.event("members 1.*left.1:")
    calls(a, "close 1", "open 2 1 0 55", "context 2", "join 2 g")
    a.event("members 2.*joined.1:")
    calls(a, "join 2 g", "join 2 other", "open 3", "join 3 g", "close 3", "send 2 5 5")
    a.event("message 2")
    calls(a, "close 2", "close 2", "join 2 g", "leave 2 g", "send 2 1 1", "members 2 g", "local 2", "limit 2", "flow 2")
    calls(a, "context 2", "context 2 1", "iterate 2 1", "dispatch 2 2", "dispatch 2 4", "zero_copy 2 10 1")
    calls(a, "join 7 g", "close 7", "dispatch 7 2")


@scenario
def cpg_iteration_handles(stage: Stage) -> None:
    a, b = stage.player("A", "cpg", 1), stage.player("B", "cpg", 2)
    calls(a, "open 0", "join 0 cib%00")
    a.event("joined.1:")
    calls(a, "open 1", "join 1 another")
    a.event("joined.1:")
    calls(b, "open 0", "join 0 cib%00")
    all_see([a, b], "joined.2:")
    calls(b, "open 1", "join 1 z%ffz")
    b.event("members 1.*joined")
    calls(b, "iterate 0 1", "iterate 0 2 cib%00", "iterate 0 2 cib", "iterate 0 2 none", "iterate 0 3")
    calls(b, "iteration 0", "next 0", "next 0")
    calls(a, "iterate 0 3", "members 0 cib%00", "members 0 cib", "members 0 another", "close 1")
    calls(b, "next 0", "next 0", "next 0", "members 0 cib%00")


@scenario
def cpg_events(stage: Stage) -> None:
    players = [stage.player(name, "cpg", node) for name, node in (("A", 1), ("B", 2), ("C", 3), ("D", 1))]
    a, b, c, d = players
    for count, player in enumerate(players, 1):
        calls(player, "open 0 1 1 0", "join 0 g")
        all_see(players[:count], "members 0 g.*joined.[123]")
    for index, player in enumerate(players):
        calls(player, f"send 0 {10 + index} {index}")
        all_see(players, f"message 0 g .* {10 + index} ")
    calls(b, "leave 0 g")
    all_see(players, "members 0 g.*left.2")
    calls(b, "members 0 g", "close 0", "open 0", "join 0 g")
    all_see(players, "members 0 g.*joined.2")
    calls(c, "close 0")
    all_see([a, b, d], "left.3:.*:5")
    d.kill()
    all_see([a, b], "left.1:.*:5")
    calls(a, "members 0 g", "send 0 3 3")
    all_see([a, b], "message 0 g .* 3 ")
    calls(c, "open 0", "join 0 g")
    all_see([a, b, c], "joined.3")
    calls(c, "send 0 4 4", "leave 0 g")
    all_see([a, b, c], "left.3:.*:2")


@scenario
def cpg_node_crash(stage: Stage) -> None:
    lab = stage.lab
    players = [stage.player(name, "cpg", node) for name, node in (("A", 1), ("B", 2), ("C", 3), ("E", 3))]
    a, b, c, e = players
    for count, player in enumerate(players, 1):
        calls(player, "open 0 1 0 0", "join 0 g")
        all_see(players[:count], "members 0 g.*joined.[123]")
    crash(lab, 3)
    all_see([a, b], "left.3:")
    all_see([a, b], "ring 0")
    all_see([c, e], "dispatch 0 ")
    calls(c, "send 0 1 1", "local 0", "members 0 g", "dispatch 0 2", "leave 0 g", "close 0", "close 0", "open 1")
    calls(a, "members 0 g", "iterate 0 3", "send 0 5 5")
    all_see([a, b], "message")
    back(lab, 3)
    all_see([a, b], "ring 0")
    f = stage.player("F", "cpg", 3)
    calls(f, "open 0 1 0 0", "join 0 g")
    all_see([a, b, f], "joined.3")
    calls(f, "iterate 0 3", "send 0 6 6")
    all_see([a, b, f], "message")


@scenario
def cpg_partition(stage: Stage) -> None:
    lab = stage.lab
    players = [stage.player(name, "cpg", node) for name, node in (("A", 1), ("B", 2), ("C", 3))]
    a, b, c = players
    for count, player in enumerate(players, 1):
        calls(player, "open 0 1 0 0", "join 0 g")
        all_see(players[:count], "members 0 g.*joined.[123]")
    partition(lab.nodes[:2], lab.nodes[2:])
    all_see([a, b], "left.3:.*:3")
    all_see([a, b, c], "ring 0")
    lab.wait_formed(lab.nodes[:2])
    lab.wait_formed(lab.nodes[2:])
    calls(a, "send 0 7 7")
    all_see([a, b], "message")
    calls(c, "send 0 8 8")
    c.event("message")
    calls(c, "members 0 g", "open 1", "join 1 while_apart")
    c.event("members 1")
    for node in lab.nodes:
        heal(node)
    all_see([a, b, c], "ring 0")
    lab.wait_formed()
    calls(b, "members 0 g", "iterate 0 3", "send 0 9 9")
    all_see([a, b, c], "message 0 g .* 9 ")


@scenario
def cpg_large_messages(stage: Stage) -> None:
    a, b = stage.player("A", "cpg", 1), stage.player("B", "cpg", 2)
    calls(a, "open 0", "join 0 g")
    a.event("members")
    calls(b, "open 0", "join 0 g")
    all_see([a, b], "joined.2")
    lengths = ["0 0", "1 1", "1400 1", "65536 5", "1000000 6", "1047552 2", "1047553 3", "1047552 4 7", "3000000 5 3"]
    for words in lengths:
        calls(a, f"send 0 {words}")
        all_see([a, b], "message")
    for length in (0, 100, 100000, 1000000, 1047552):
        calls(b, f"zero_copy 0 {length} 9")
        all_see([a, b], "message")


@scenario
def cpg_client_that_stops_reading(stage: Stage) -> None:
    a, b, c = (stage.player(name, "cpg", node) for name, node in (("A", 1), ("B", 1), ("C", 2)))
    for count, player in enumerate((a, b, c), 1):
        calls(player, "open 0", "join 0 g")
        all_see([a, b, c][:count], "members 0 g.*joined.[12]")
    calls(b, "auto 0 0")
    calls(c, "count 0")
    calls(a, "count 0", "burst 0 3000 1000")
    calls(a, "counted 0 3000", "members 0 g")
    calls(c, "counted 0 3000")
    calls(b, "readable 0", "local 0", "members 0 g", "count 0", "counted 0 3000", "dispatch 0 4", "auto 0 1")
    calls(b, "send 0 1 1")
    all_see([a, b, c], "message 0 g .* 1 ")


@scenario
def cpg_sender_that_does_not_stop(stage: Stage) -> None:
    players = [stage.player(name, "cpg", node) for name, node in (("A", 1), ("B", 2), ("C", 3))]
    for count, player in enumerate(players, 1):
        calls(player, "open 0", "join 0 g")
        all_see(players[:count], "members 0 g.*joined.[123]")
    a, b, _ = players
    for player in players:
        calls(player, "count 0")
    a.begin("burst 0 4000 1000")
    calls(b, "burst 0 10 100000")
    a.result()
    # The order of the two bursts is not the same twice; every sender's own is.
    totals = [player.call("counted 0 4010") for player in players]
    assert totals[0] == totals[1] == totals[2]
    stage.ignore("counted")


# libquorum


@scenario
def quorum_errors(stage: Stage) -> None:
    a = stage.player("A", "quorum", 1)
    calls(a, "open 0 5 0", "open 0", "quorate 0", "untrack 0", "track 0 0", "track 0 1")
    a.event("quorum0")
    calls(a, "untrack 0", "track 0 2", "track 0 2", "track 0 1", "untrack 0", "untrack 0", "track 0 4", "track 0 9")
    calls(a, "context 0", "context 0 5", "context 0", "dispatch 0 2", "dispatch 0 4", "close 0", "close 0")
    calls(a, "quorate 0", "track 0 1", "untrack 0", "context 0", "dispatch 0 2", "dispatch 7 2", "close 7")
    calls(a, "open 1 1 66", "context 1", "quorate 1", "track 1 1")
    a.event("quorum1")
    calls(a, "track 1 3")
    a.event("quorum1")
    calls(a, "track 1 3")
    calls(a, "untrack 1", "close 1", "open 2 0 3", "context 2", "quorate 2", "track 2 5")
    a.event("quorum0")
    calls(a, "auto 2 0", "untrack 2", "track 2 1", "track 2 1", "dispatch 2 1", "dispatch 2 2", "dispatch 2 4")


@scenario
def quorum_events(stage: Stage) -> None:
    lab = stage.lab
    players = [stage.player(name, "quorum", node) for name, node in (("A", 1), ("B", 2))]
    for player in players:
        calls(player, "open 0", "track 0 3", "open 1 1 0", "track 1 3", "open 2 1 0", "track 2 4")
        player.event("quorum0")
        player.event("quorum1 1")
    lab.node(3).terminate()
    lab.wait_formed()
    for player in players:
        player.event("quorum1 2")
    back(lab, 3)
    for player in players:
        player.event("quorum1 2")
    crash(lab, 3)
    for player in players:
        player.event("quorum1 2")
        calls(player, "quorate 0", "quorate 1")
    crash(lab, 2)
    all_see(players[:1], "quorum1 2")
    players[1].event("dispatch 2 ")
    calls(players[1], "quorate 0", "track 0 1", "close 0")
    calls(players[0], "quorate 0", "untrack 0", "untrack 1", "untrack 2")
    back(lab, 2, 3)


# libvotequorum


@scenario
def votequorum_errors(stage: Stage) -> None:
    a = stage.player("A", "votequorum", 1)
    calls(a, "open 0", *[f"info 0 {nodeid}" for nodeid in (0, 1, 2, 3, 9, 4294967295)])
    calls(a, "expected 0 0", "expected 0 2", "expected 0 9", "votes 0 9 1", "votes 0 4294967295 1")
    calls(a, "votes 0 1 1", "votes 0 2 1", "info 0 2", "untrack 0", "track 0 88 0", "untrack 0", "track 0 99 1")
    a.event("quorum 0")
    calls(a, "untrack 0", "track 0 99 2", "track 0 99 2", "track 0 98 1", "untrack 0", "untrack 0", "track 0 5 4")
    calls(a, "context 0", "context 0 3", "context 0", "dispatch 0 2", "dispatch 0 4")
    device = "device" * 10
    calls(a, "register 0 dev", "register 0 %%", f"register 0 {device * 5}", "unregister 0 dev", "rename 0 dev ice")
    calls(a, "poll 0 dev 1", "poll 0 dev 1 stale", "master_wins 0 dev 1")
    calls(a, "close 0", "close 0", "info 0 1", "expected 0 3", "votes 0 1 1", "track 0 1 1", "untrack 0", "context 0")
    calls(a, "register 0 dev", "poll 0 dev 1", "dispatch 0 2", "dispatch 7 2")


@scenario
def votequorum_events(stage: Stage) -> None:
    lab = stage.lab
    players = [stage.player(name, "votequorum", node) for name, node in (("A", 1), ("B", 2))]
    a, b = players
    for player in players:
        calls(player, "open 0", "track 0 12345678901 3")
        player.event("quorum 0")
    calls(a, "expected 0 5")
    all_see(players, "expected 0 .* 5$")
    calls(b, "info 0 1", "expected 0 3")
    all_see(players, "expected 0 .* 3$")
    calls(a, "votes 0 3 3")
    all_see(players, "expected 0 .* 5$")
    stage.settle(1, "info 0 0", "total 5 ")
    stage.settle(2, "info 0 0", "total 5 ")
    calls(b, "info 0 3", "info 0 0", "votes 0 3 1")
    stage.settle(1, "info 0 0", "total 3 ")
    stage.settle(2, "info 0 0", "total 3 ")
    calls(a, "info 0 3", "expected 0 3")
    all_see(players, "expected 0 .* 3$")
    lab.node(3).terminate()
    lab.wait_formed()
    all_see(players, "quorum 0")
    calls(a, "info 0 3", "info 0 0", "votes 0 3 1")
    stage.settle(1, "info 0 0", "total 2 ")
    crash(lab, 2)
    a.event("quorum 0")
    b.event("dispatch 0 ")
    calls(b, "info 0 0", "expected 0 3", "track 0 1 1")
    calls(a, "info 0 0", "info 0 2", "expected 0 3", "expected 0 1")
    a.event("expected")
    a.event("quorum 0")
    calls(a, "info 0 0", "untrack 0")
    back(lab, 2, 3)
    calls(a, "info 0 0")


# libcmap


@scenario
def cmap_errors(stage: Stage) -> None:
    a = stage.player("A", "cmap", 1)
    calls(a, "open 0 9", "open 0", "context 0", "context 0 9", "context 0", "dispatch 0 2", "dispatch 0 4")
    for kind in range(14):
        # A real node takes an unknown type if the value is empty.
        lengths = (0, 1, 2, 3, 4, 5, 8, 9) if 0 < kind < 13 else (1, 4)
        calls(a, *[f"set 0 e.{kind} {kind} abcdefghi {length}" for length in lengths], f"get 0 e.{kind} 100")
    calls(a, "set 0 e.max 12 v 16384", "get 0 e.max", "set 0 e.max 12 v 16385", "get 0 e.max", "delete 0 e.max")
    calls(a, "set 0 e.max 11 v 16384", "get 0 e.max", "set 0 e.max 11 v 16385", "set 0 e.max 11 v 66000")
    calls(
        a,
        "set_u32 0 e.num 7",
        "get_typed 0 e.num",
        "set_string 0 e.str text",
        "get_typed 0 e.str",
        "get_typed 0 no.key",
    )
    calls(a, "get 0 e.str", "get 0 e.str 4", "get 0 e.str 5", "get 0 e.str 6", "set_string 0 e.str %%", "get 0 e.str 9")
    calls(a, "set 0 e.str 11 text%00more", "get 0 e.str 20", "set 0 e.str 11 text%00", "get 0 e.str 20")
    calls(a, "set 0 e.i8 1 %7f", "increment 0 e.i8", "get_typed 0 e.i8", "decrement 0 e.i8", "get_typed 0 e.i8")
    calls(a, "set 0 e.u8 2 %00", "decrement 0 e.u8", "get_typed 0 e.u8", "increment 0 e.str", "increment 0 no.key")
    calls(a, "increment 0 totem.version", "set_u32 0 totem.version 3", "delete 0 totem.version", "delete 0 no.key")
    for key in ("ab", "abc", "a%20b", "k" * 255, "k" * 256, "a/b:c_d-e.F0", "%%", "gr%c3%bcn"):
        calls(a, f"set_u32 0 {key} 1", f"get 0 {key} 4", f"increment 0 {key}", f"delete 0 {key}")
    calls(a, "iterate 0 none.", "iterate 0 e.", "iterate 0 totem.", "iterate 0 e", f"iterate 0 {'k' * 256}")
    calls(a, "next 0", "end 0", "iteration 0 e.", "next 0", "delete 0 e.num", "set_u32 0 e.aa 1", "set_u32 0 e.zz 1")
    calls(a, *["next 0"] * 6, "end 0", "end 0", "untrack 0 0")
    calls(a, "track 0 1 7 e.key", "track 0 2 0 e.key", "track 0 3 16 e.key", "track 0 4 15", f"track 0 5 7 {'k' * 256}")
    calls(a, "track 0 6 15 e", "track 0 7 7 no.such.key", "untrack 0 4", "untrack 0 4", "untrack 0 6", "untrack 0 7")
    calls(a, *[f"delete 0 e.{kind}" for kind in range(1, 13)], *[f"delete 0 e.{key}" for key in ("aa", "zz", "str")])
    calls(a, "delete 0 e.i8", "delete 0 e.u8", "delete 0 e.max", "iterate 0 e.")
    calls(a, "close 0", "close 0", "get 0 totem.version", "set_u32 0 e.x 1", "delete 0 e.x", "increment 0 e.x")
    calls(a, "iterate 0 e.", "track 0 1 7 e.key", "untrack 0 1", "context 0", "dispatch 0 2", "dispatch 7 2", "close 7")


@scenario
def cmap_events(stage: Stage) -> None:
    a, b = stage.player("A", "cmap", 1), stage.player("B", "cmap", 1)
    calls(
        a, "open 0", "track 0 1 7 w.key", "track 0 2 15 w.", "track 0 3 4 w.key", "track 0 4 9 w", "track 0 5 2 w.key"
    )
    calls(b, "open 0", "set_u32 0 w.key 1", "set_u32 0 w.key 1", "set_u32 0 w.key 2", "set_string 0 w.key text")
    calls(
        b,
        "set_string 0 w.key.more x",
        "increment 0 w.key",
        "delete 0 w.key",
        "delete 0 w.key",
        "set_u32 0 w.key 4294967295",
    )
    calls(b, "increment 0 w.key", "set 0 w.key 12 %00%01%02", "delete 0 w.key.more")
    calls(b, "set_u32 0 w.end 1")
    a.event("w.end")
    calls(a, "untrack 0 2", "untrack 0 1", "set_u32 0 w.key 9")
    a.event("track 5 event 2 w.key new .6")
    calls(b, "delete 0 w.key", "delete 0 w.end")
    a.event("track 4 event 1 w.end")
    calls(a, "auto 0 0")
    for number in range(200):
        b.call(f"set 0 w.key 12 {number} 10000")
    calls(b, "delete 0 w.key")
    calls(a, "readable 0", "dispatch 0 1", "auto 0 1")
    a.event("track 4 event 1 w.key")
    calls(a, "auto 0 0", "readable 0", "dispatch 0 4", "dispatch 0 2")


@scenario
def cmap_statistics(stage: Stage) -> None:
    a, b = stage.player("A", "cmap", 1), stage.player("B", "cmap", 1)
    calls(a, "open 0 1", "get 0 stats.srp.mcast_tx", "get 0 stats.none", "set_u32 0 stats.srp.mcast_tx 1")
    calls(
        a,
        "delete 0 stats.srp.mcast_tx",
        "increment 0 stats.srp.mcast_tx",
        "set_u32 0 stats.new 1",
        "delete 0 stats.none",
    )
    calls(a, "set_u32 0 stats.clear.totem 1", "set_string 0 stats.clear.all x", "set_u32 0 stats.clear.other 1")
    calls(
        a, "track 0 1 2 stats.srp.mcast_tx", "track 0 2 15 stats.ipcs.", "track 0 3 8 stats.", "track 0 4 2 stats.none"
    )
    calls(
        a, "iterate 0 stats.srp.", "iterate 0 stats.pg.", "get 0 totem.version", "untrack 0 1", "untrack 0 2", "close 0"
    )
    calls(b, "open 0 0", "get 0 stats.srp.mcast_tx", "iterate 0 stats.")


@scenario
def cmap_access(stage: Stage) -> None:
    other = ["setpriv", "--reuid=1234", "--regid=4321", "--clear-groups"]
    root = stage.player("R", "cmap", 1)
    clients = {library: stage.player(library, library, 1, other) for library in LIBRARIES}
    calls(root, "open 0")
    for client in clients.values():
        calls(client, "open 0")
    calls(root, "set 0 uidgid.uid.1234 2 %01")
    for client in clients.values():
        calls(client, "open 1")
    calls(root, "delete 0 uidgid.uid.1234")
    for client in clients.values():
        calls(client, "open 2")
    calls(clients["cpg"], "local 1", "join 1 g")
    clients["cpg"].event("members")
    calls(clients["cmap"], "set_u32 1 w.key 1", "delete 1 w.key", "set_u32 1 totem.version 1")
    calls(root, "set 0 uidgid.gid.4321 2 %01")
    calls(clients["cfg"], "open 2", "local 2")
    calls(root, "set 0 uidgid.gid.4321 2 %00")
    calls(clients["cfg"], "open 3")
    calls(root, "delete 0 uidgid.gid.4321")


# libcfg


@scenario
def cfg_errors(stage: Stage) -> None:
    a = stage.player("A", "cfg", 1)
    calls(a, "open 0", "local 0", "rings 0", "dispatch 0 2", "dispatch 0 4")
    for nodeid in (0, 1, 2, 3, 9):
        calls(a, f"node 0 {nodeid}", f"addresses 0 {nodeid}")
    calls(a, "node 0 1 0", "node 0 1 2", "kill 0 9 reason", "kill 0 0 reason", "reply 0 0", "reply 0 1")
    calls(a, "untrack 0", "track 0 0", "track 0 0", "untrack 0", "untrack 0", "reopen 0", "reload 0")
    calls(a, "close 0", "close 0", "local 0", "rings 0", "node 0 1", "addresses 0 1", "kill 0 9 x", "reply 0 1")
    calls(a, "track 0 0", "untrack 0", "reload 0", "reopen 0", "shutdown 0 0", "dispatch 0 2", "dispatch 7 2")


@scenario
def cfg_shutdown_is_voted(stage: Stage) -> None:
    a, b, c = (stage.player(name, "cfg", 3) for name in "ABC")
    for player in (a, b, c):
        calls(player, "open 0")
    calls(a, "track 0 0")
    calls(b, "track 0 0")
    c.begin("shutdown 0 0")
    all_see([a, b], "shutdown")
    calls(b, "shutdown 0 0")
    calls(a, "reply 0 1")
    calls(b, "reply 0 0")
    c.result()
    calls(b, "reply 0 1")
    c.begin("shutdown 0 0")
    all_see([a, b], "shutdown")
    calls(a, "reply 0 0")
    calls(b, "untrack 0")
    c.result()
    c.begin("shutdown 0 0")
    a.event("shutdown")
    calls(b, "track 0 0")
    b.event("shutdown")
    b.kill()
    calls(a, "reply 0 0")
    c.result()
    d = stage.player("D", "cfg", 3)
    calls(d, "open 0")
    d.begin("shutdown 0 0")
    a.event("shutdown")
    d.kill()
    calls(c, "local 0")
    c.begin("shutdown 0 1")
    a.event("shutdown")
    calls(a, "reply 0 0")
    c.result()
    a.event("dispatch")
    stage.lab.node(3).wait_end(10)
    stage.lab.wait_formed()
    back(stage.lab, 3)


@scenario
def cfg_kill_and_immediate_shutdown(stage: Stage) -> None:
    a, b = stage.player("A", "cfg", 1), stage.player("B", "cfg", 2)
    calls(a, "open 0")
    calls(b, "open 0", "track 0 0", "kill 0 3 reason")
    stage.lab.node(3).wait_end(10)
    stage.lab.wait_formed()
    calls(a, "node 0 3", "rings 0", "kill 0 3 again", "addresses 0 3")
    calls(b, "shutdown 0 2")
    b.event("dispatch")
    stage.lab.node(2).wait_end(10)
    back(stage.lab, 2, 3)
    calls(a, "node 0 3", "rings 0")
