"""Whole rings: formation, order, loss, crash, partition and merge, SAFE (protocol/, chapters 2 to 4)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from totemd.config.model import TotemParameters
from totemd.totem.api import ConfigurationChanged, ConfigurationKind
from totemd.totem.core import State
from totemd.wire.packets import LEAVE_SENDER, Join, decode_packet

Cluster = Any


def regular(member: Any) -> list[ConfigurationChanged]:
    return [
        entry
        for entry in member.log
        if isinstance(entry, ConfigurationChanged) and entry.kind is ConfigurationKind.REGULAR
    ]


def epochs(member: Any) -> dict[tuple[int, int], list[tuple[int, bytes]]]:
    """Messages by the regular configuration in (or in the transition from) which they were delivered."""
    result: dict[tuple[int, int], list[tuple[int, bytes]]] = {}
    current = (0, 0)
    for entry in member.log:
        if isinstance(entry, ConfigurationChanged):
            if entry.kind is ConfigurationKind.REGULAR:
                current = (entry.ring.rep, entry.ring.seq)
                assert current not in result
                result[current] = []
        else:
            result.setdefault(current, []).append(entry)
    return result


def check_order(cluster: Any) -> None:
    """Any two nodes deliver the messages of one configuration in one order, without gaps between them; nodes that go
    on together deliver the same ones."""
    members = list(cluster.members.values())
    for index, first in enumerate(members):
        for second in members[index + 1 :]:
            a, b = epochs(first), epochs(second)
            next_of_a, next_of_b = successors(first), successors(second)
            for ring in a.keys() & b.keys():
                short, long = sorted((a[ring], b[ring]), key=len)
                both = set(short) & set(long)
                assert [m for m in short if m in both] == [m for m in long if m in both]
                if ring in next_of_a and next_of_a[ring] == next_of_b.get(ring):
                    assert a[ring] == b[ring], f"{first.nodeid} and {second.nodeid} differ in {ring}"


def successors(member: Any) -> dict[tuple[int, int], tuple[int, int]]:
    rings = [(change.ring.rep, change.ring.seq) for change in regular(member)]
    return dict(pairwise(rings))


@pytest.mark.parametrize("nodes", [1, 2, 3, 8, 16, 32])
def test_all_started_at_once_form_one_ring(make_cluster: Cluster, nodes: int) -> None:
    cluster = make_cluster(nodes, seed=nodes)
    cluster.start()
    assert cluster.run(10.0, cluster.formed)
    assert cluster.now < 0.5, cluster.now


@pytest.mark.parametrize("seed", range(10))
def test_a_lossy_start_still_forms_one_ring(make_cluster: Cluster, seed: int) -> None:
    cluster = make_cluster(8, seed=seed, loss=0.1)
    cluster.start()
    assert cluster.run(60.0, cluster.formed)


def test_messages_have_one_order_on_all_nodes(make_cluster: Cluster) -> None:
    cluster = make_cluster(4, seed=1)
    cluster.start()
    assert cluster.run(5.0, cluster.formed)
    cluster.run(0.5)
    for count in range(300):
        for nodeid, member in cluster.members.items():
            member.send(b"%d of %d" % (count, nodeid))
        cluster.run(0.001)
    cluster.run(2.0)
    first = cluster.members[1].messages
    assert len(first) == 1200
    assert all(member.messages == first for member in cluster.members.values())


@pytest.mark.parametrize("seed", range(6))
def test_loss_costs_neither_order_nor_messages(make_cluster: Cluster, seed: int) -> None:
    cluster = make_cluster(5, seed=seed)
    cluster.start()
    assert cluster.run(5.0, cluster.formed)
    cluster.run(0.5)
    # Data only: losing tokens of so short a token timeout would change the membership.
    cluster.drop = lambda source, target, data: data[3] == 1 and cluster.random.random() < 0.3
    for count in range(200):
        for nodeid, member in cluster.members.items():
            member.send(b"%d of %d" % (count, nodeid), safe=count % 7 == 0)
        cluster.run(0.002)
    cluster.run(5.0)
    first = cluster.members[1].messages
    assert len(first) == 1000
    assert all(member.messages == first for member in cluster.members.values())
    assert all(len(regular(member)) == len(regular(cluster.members[1])) for member in cluster.members.values())


@pytest.mark.parametrize("victim", [1, 2, 4])
def test_a_crash_is_noticed_and_the_rest_goes_on(make_cluster: Cluster, victim: int) -> None:
    cluster = make_cluster(4, seed=victim)
    cluster.start()
    assert cluster.run(5.0, cluster.formed)
    cluster.run(1.0)
    started = cluster.now
    cluster.crash(victim)
    assert cluster.run(5.0, cluster.formed)
    # Token timeout, then consensus timeout, as corosync's formula has it.
    assert cluster.now - started < 1.0 + 1.2 + 0.3
    survivor = next(member for member in cluster.members.values() if member.alive)
    assert f"no longer answers: {victim}" in regular(survivor)[-1].reason
    cluster.members[victim].start()
    assert cluster.run(5.0, cluster.formed)
    assert regular(cluster.members[victim])[-1].members == (1, 2, 3, 4)


def test_a_leave_needs_no_timeout(make_cluster: Cluster) -> None:
    cluster = make_cluster(3)
    cluster.start()
    assert cluster.run(5.0, cluster.formed)
    cluster.run(1.0)
    leaver = cluster.members[2]
    leaver.ring.leave(cluster.now)
    cluster.perform(leaver)
    leaver.alive = False
    started = cluster.now
    assert cluster.run(5.0, lambda: cluster.formed(1, 3))
    assert cluster.now - started < 0.1
    assert "left with a goodbye: 2" in regular(cluster.members[1])[-1].reason


@pytest.mark.parametrize("seed", range(20))
def test_partitions_crashes_and_loss_keep_virtual_synchrony(make_cluster: Cluster, seed: int) -> None:
    cluster = make_cluster(5, seed=seed, loss=0.02)
    cluster.start()
    cluster.run(3.0)
    sent = 0
    for _ in range(12):
        choice = cluster.random.randrange(6)
        if choice == 0:
            nodes = list(cluster.members)
            cluster.random.shuffle(nodes)
            cut = cluster.random.randrange(1, 5)
            cluster.partition(tuple(nodes[:cut]), tuple(nodes[cut:]))
        elif choice == 1:
            cluster.partition()
        elif choice == 2:
            victim = cluster.random.choice(list(cluster.members))
            cluster.members[victim].ring.leave(cluster.now)
            cluster.perform(cluster.members[victim])
            # A new life is another process in the sense of virtual synchrony: judge what went before.
            check_order(cluster)
            cluster.members[victim].start()
        for _ in range(cluster.random.randrange(40)):
            for member in cluster.members.values():
                sent += 1
                member.send(b"%d" % sent, safe=cluster.random.random() < 0.2)
            cluster.run(cluster.random.uniform(0.0, 0.05))
        cluster.run(cluster.random.uniform(0.0, 3.0))
        check_order(cluster)
    cluster.partition()
    cluster.loss = 0.0
    assert cluster.run(60.0, cluster.formed)
    cluster.run(5.0)
    check_order(cluster)


def test_a_safe_message_waits_until_everybody_has_it(make_cluster: Cluster) -> None:
    cluster = make_cluster(3, seed=3)
    cluster.start()
    assert cluster.run(5.0, cluster.formed)
    cluster.run(1.0)
    # Node 3 hears no data: an AGREED message is delivered by the others, a SAFE one must not be.
    cluster.drop = lambda source, target, data: target == 3 and data[3] == 1
    cluster.members[1].send(b"agreed")
    cluster.members[1].send(b"safe", safe=True)
    cluster.members[1].send(b"behind the safe one")
    cluster.run(0.1)
    assert cluster.members[2].messages == [(1, b"agreed")]
    assert cluster.members[1].messages == [(1, b"agreed")]
    cluster.drop = lambda source, target, data: False
    # The idle ring's token is parked most of the time, so the repair takes a few hold times.
    cluster.run(3.0)
    for member in cluster.members.values():
        assert [payload for _, payload in member.messages] == [b"agreed", b"safe", b"behind the safe one"]


def test_a_safe_message_of_a_broken_ring_comes_after_the_transitional_configuration(make_cluster: Cluster) -> None:
    cluster = make_cluster(3, seed=4)
    cluster.start()
    assert cluster.run(5.0, cluster.formed)
    cluster.run(1.0)
    cluster.drop = lambda source, target, data: target == 3 and data[3] == 1
    cluster.members[1].send(b"safe", safe=True)
    cluster.run(0.05)
    cluster.crash(3)
    assert cluster.run(5.0, lambda: cluster.formed(1, 2))
    for nodeid in (1, 2):
        log = cluster.members[nodeid].log
        place = log.index((1, b"safe"))
        before = log[place - 1]
        assert isinstance(before, ConfigurationChanged)
        assert before.kind is ConfigurationKind.TRANSITIONAL
        assert before.members == (1, 2)


def test_a_node_that_cannot_receive_leaves_the_ring_to_itself(make_cluster: Cluster) -> None:
    cluster = make_cluster(3, seed=5, parameters=TotemParameters(fail_recv_const_rotations=20))
    cluster.start()
    assert cluster.run(5.0, cluster.formed)
    cluster.run(1.0)
    cluster.drop = lambda source, target, data: target == 3 and data[3] == 1
    cluster.members[1].send(b"unheard")
    assert cluster.run(60.0, lambda: cluster.members[3].ring.members == (3,))
    cluster.drop = lambda source, target, data: False
    assert cluster.run(30.0, cluster.formed)


def test_an_idle_ring_parks_its_token_and_wakes_at_once(make_cluster: Cluster) -> None:
    cluster = make_cluster(3, seed=6)
    cluster.start()
    assert cluster.run(5.0, cluster.formed)
    cluster.run(1.0)
    before = cluster.members[1].ring.stats.orf_token_rx
    cluster.run(1.8)
    assert cluster.members[1].ring.stats.orf_token_rx - before <= 12
    started = cluster.now
    cluster.members[3].send(b"wake")
    assert cluster.run(1.0, lambda: all(member.messages for member in cluster.members.values()))
    assert cluster.now - started < 0.01


@pytest.mark.parametrize("nodes", [1, 3])
def test_a_ring_on_which_only_the_representative_sends_is_not_idle(make_cluster: Cluster, nodes: int) -> None:
    cluster = make_cluster(nodes, seed=6)
    cluster.start()
    assert cluster.run(5.0, cluster.formed)
    cluster.run(1.0)
    started = cluster.now
    for number in range(1000):
        assert cluster.members[1].ring.submit(b"%d" % number, False)
    cluster.perform(cluster.members[1])
    assert cluster.run(20.0, lambda: all(len(member.messages) == 1000 for member in cluster.members.values()))
    # 59 visits at least, with 17 messages each: none may wait for the hold timer
    assert cluster.now - started < 1.0


def test_ring_numbers_grow_over_restarts(make_cluster: Cluster) -> None:
    cluster = make_cluster(2, seed=7)
    cluster.start()
    assert cluster.run(5.0, cluster.formed)
    seen = [change.ring.seq for change in regular(cluster.members[2])]
    for _ in range(5):
        cluster.crash(2)
        cluster.run(0.3)
        cluster.members[2].start()
        assert cluster.run(10.0, cluster.formed)
        again = [change.ring.seq for change in regular(cluster.members[2])]
        assert min(again) > max(seen)
        seen += again


def test_a_leave_is_marked_by_sender_zero_and_lists_only_the_leaver(make_cluster: Cluster) -> None:
    cluster = make_cluster(2)
    sent: list[bytes] = []
    cluster.start()
    assert cluster.run(5.0, cluster.formed)

    def record(source: int, target: int, data: bytes) -> bool:
        sent.append(data)
        return True

    cluster.drop = record
    cluster.members[2].ring.leave(cluster.now)
    cluster.perform(cluster.members[2])
    leave = decode_packet(sent[-1])
    assert isinstance(leave, Join)
    assert (leave.sender, leave.system_from, leave.failed_list, leave.proc_list) == (LEAVE_SENDER, 2, (2,), (1,))
    assert cluster.members[2].ring.state is State.LEFT
