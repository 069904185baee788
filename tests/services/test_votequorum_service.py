"""The quorum and votequorum services of a small cluster: boots, crashes, partitions, options, events, hostile peers."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service_cluster import FakeHost, Recorder
from totemd.config.model import CmapEntry, CmapType, QuorumSettings, TieBreaker
from totemd.errors import BadPacket, Code, ServiceError
from totemd.ids import RingId
from totemd.limits import PROCESSOR_COUNT_MAX
from totemd.services.quorum import (
    MODEL_MEMBERSHIP,
    MODEL_NOTIFICATION,
    MembershipChanged,
    Quorum,
    QuorumNotification,
)
from totemd.services.votequorum.electorate import VoterState
from totemd.services.votequorum.events import (
    ExpectedVotesChanged,
    InfoFlag,
    NodelistChanged,
    NodeStanding,
    QuorumChanged,
)
from totemd.services.votequorum.service import VoteQuorum, decode_ev_tracking, encode_ev_tracking
from totemd.wire.votequorum import (
    NODE_QUORATE,
    NodeInfo,
    QdeviceReg,
    Reconfigure,
    encode_nodeinfo,
    encode_qdevice_reg,
    encode_reconfigure,
)
from voting_cluster import VotingCluster

MEMBER, DEAD, LEAVING = VoterState.MEMBER, VoterState.DEAD, VoterState.LEAVING
WINDOW = "votequorum.window"
DEVICE = "votequorum.device"


def refused(code: Code, call: Callable[[], object]) -> None:
    with pytest.raises(ServiceError) as error:
        call()
    assert error.value.code is code


# --- membership


@pytest.mark.parametrize("size", range(2, 8))
def test_majority_is_quorate_through_crash_partition_and_merge(size: int) -> None:
    cluster = VotingCluster(size)
    everyone = range(1, size + 1)
    quorum = size // 2 + 1
    for count in range(1, size + 1):
        cluster.form(range(1, count + 1))
        assert cluster.quorate() == (list(range(1, count + 1)) if count >= quorum else [])
    for split in range(1, size):
        cluster.form(range(1, split + 1), range(split + 1, size + 1))
        majority = [
            n for part in (range(1, split + 1), range(split + 1, size + 1)) if len(part) >= quorum for n in part
        ]
        assert cluster.quorate() == majority
        cluster.form(everyone)
        assert cluster.quorate() == list(everyone)
    cluster.form(range(1, quorum))
    assert cluster.quorate() == []
    assert {node.votes.get_info().quorum for node in cluster.nodes.values()} <= {quorum}


def test_events_of_a_membership_change_come_in_corosyncs_order() -> None:
    cluster = VotingCluster(3)
    cluster.form([1, 2, 3])
    cluster.forget_events()
    cluster.form([1, 2])
    ring = RingId(1, 8)
    nodes = (NodeStanding(1, MEMBER, 1), NodeStanding(2, MEMBER, 1), NodeStanding(3, DEAD, 1))
    for nodeid in (1, 2):
        assert cluster[nodeid].events.take() == [
            MembershipChanged(ring, (1, 2), (), (3,)),
            NodelistChanged(ring, (1, 2)),
            QuorumNotification(True, ring, (1, 2)),
            QuorumChanged(True, nodes),
        ]


def test_member_that_restarted_within_one_change_both_joined_and_left() -> None:
    cluster = VotingCluster(3)
    cluster.form([1, 2, 3])
    quorum = cluster[1].quorum
    events = Recorder()
    quorum.track_start(events, MODEL_MEMBERSHIP, current=False, changes=True)
    quorum.sync_init((1, 2), (1, 2, 3), RingId(1, 12))
    quorum.sync_activate()
    assert events.take() == [MembershipChanged(RingId(1, 12), (1, 2, 3), (3,), (3,))]


def test_aborted_round_changes_nothing_that_was_told() -> None:
    cluster = VotingCluster(3)
    cluster.form([1, 2, 3])
    cluster.forget_events()
    cluster.begin((1, 2, 3))
    for node in cluster.nodes.values():
        node.quorum.sync_abort()
        node.votes.sync_abort()
    assert cluster.quorate() == [1, 2, 3]
    cluster.form([1], [2, 3])
    assert cluster.quorate() == [2, 3]
    assert cluster[2].events.take()[0] == MembershipChanged(RingId(2, 16), (2, 3), (), (1,))


def test_without_a_provider_every_configuration_is_quorate() -> None:
    quorum = Quorum(FakeHost(1), has_provider=False)
    assert quorum.get_quorate()
    assert quorum.get_type() == 0
    events = Recorder()
    quorum.track_start(events, MODEL_MEMBERSHIP, current=True, changes=True)
    quorum.sync_init((1,), (1, 2), RingId(1, 4))
    assert quorum.sync_process()
    quorum.sync_activate()
    assert [type(event) for event in events.take()] == [MembershipChanged, QuorumNotification, MembershipChanged]
    assert quorum.membership == MembershipChanged(RingId(1, 4), (1, 2), (), ())


def test_tracking_rules_of_both_services() -> None:
    cluster = VotingCluster(2)
    cluster.form([1, 2])
    node = cluster[1]
    simple = Recorder()
    node.quorum.track_start(simple, MODEL_NOTIFICATION, current=True, changes=True)
    refused(Code.EXIST, lambda: node.quorum.track_start(simple, MODEL_NOTIFICATION, current=True, changes=True))
    refused(Code.EXIST, lambda: node.quorum.track_start(simple, MODEL_NOTIFICATION, current=False, changes=False))
    assert simple.take() == [QuorumNotification(True, RingId(1, 4), (1, 2))] * 2
    refused(Code.INVALID_PARAM, lambda: node.quorum.track_start(simple, 2, current=True, changes=True))
    voting = Recorder()
    refused(Code.NOT_EXIST, lambda: node.votes.track_stop(voting))
    node.votes.track_start(voting, current=True, changes=False)
    nodes = (NodeStanding(1, MEMBER, 1), NodeStanding(2, MEMBER, 1))
    assert voting.take() == [NodelistChanged(RingId(1, 4), (1, 2)), QuorumChanged(True, nodes)]
    node.votes.track_start(voting, current=False, changes=True)
    refused(Code.EXIST, lambda: node.votes.track_start(voting, current=False, changes=True))
    cluster.form([1])
    assert [type(e) for e in simple.take()] == [QuorumNotification]
    assert [type(e) for e in voting.take()] == [NodelistChanged, QuorumChanged]
    node.quorum.track_stop(simple)
    node.quorum.track_stop(simple)
    node.votes.track_stop(voting)
    cluster.form([1, 2])
    assert simple.events == []
    assert voting.events == []


# --- options


def test_wait_for_all_boot_waits_and_later_losses_do_not_matter() -> None:
    cluster = VotingCluster(5, QuorumSettings(expected_votes=5, wait_for_all=True))
    cluster.form([1, 2, 3, 4])
    assert cluster.quorate() == []
    assert cluster[1].votes.runtime_keys()["runtime.votequorum.wait_for_all_status"].value == 1
    assert any("waiting for all" in text for _, text in cluster[1].host.logs)
    cluster.form([1, 2, 3, 4, 5])
    assert cluster.quorate() == [1, 2, 3, 4, 5]
    cluster.form([1, 2, 3])
    assert cluster.quorate() == [1, 2, 3]
    cluster.form([1, 2, 3, 4])
    assert cluster.quorate() == [1, 2, 3, 4]
    cluster.form([1, 2])
    cluster.form([1, 2, 3])
    assert cluster.quorate() == []
    cluster[2].votes.cancel_wait_for_all()
    cluster.settle()
    assert cluster.quorate() == [1, 2, 3]


def test_two_node_boot_and_survival() -> None:
    cluster = VotingCluster(2, QuorumSettings(expected_votes=2, two_node=True, wait_for_all=True))
    cluster.form([1])
    assert cluster.quorate() == []
    cluster.form([1, 2])
    assert cluster.quorate() == [1, 2]
    info = cluster[1].votes.get_info()
    assert (info.quorum, info.total_votes, info.expected_votes) == (1, 2, 2)
    assert cluster[1].votes.flags() == ("2Node", "Quorate", "WaitForAll")
    cluster.form([2])
    assert cluster.quorate() == [2]
    cluster.form([1, 2])
    assert cluster.quorate() == [1, 2]


def test_expected_votes_change_reaches_all_and_may_gain_quorum() -> None:
    cluster = VotingCluster(5)
    cluster.form([1, 2, 3, 4, 5])
    cluster.form([1, 2])
    cluster.forget_events()
    refused(Code.INVALID_PARAM, lambda: cluster[1].votes.set_expected(1))
    refused(Code.INVALID_PARAM, lambda: cluster[1].votes.set_expected(2**32))
    cluster[1].votes.set_expected(3)
    assert cluster.quorate() == []
    cluster.settle()
    assert cluster.quorate() == [1, 2]
    for nodeid in (1, 2):
        events = cluster[nodeid].events.take()
        assert events[0] == ExpectedVotesChanged(3)
        assert [type(event) for event in events[1:]] == [QuorumNotification, QuorumChanged]
        assert cluster[nodeid].votes.get_info().expected_votes == 3
    refused(Code.INVALID_PARAM, lambda: cluster[1].votes.set_expected(4))


def test_full_queue_refuses_requests_but_keeps_announcements() -> None:
    cluster = VotingCluster(3)
    cluster.form([1, 2, 3])
    host = cluster[1].host
    host.room = 0
    refused(Code.NO_RESOURCES, lambda: cluster[1].votes.set_expected(3))
    cluster[1].votes.reconfigure(QuorumSettings(expected_votes=4, votes=2))
    assert not cluster[1].votes.retry_pending()
    assert host.queue == []
    host.room = 10
    assert cluster[1].votes.retry_pending()
    cluster.settle()
    assert [cluster[n].votes.get_info(1).votes for n in (1, 2, 3)] == [2, 2, 2]
    assert [cluster[n].votes.get_info().expected_votes for n in (1, 2, 3)] == [4, 4, 4]


def test_synchronization_waits_for_room_in_the_queue() -> None:
    cluster = VotingCluster(2)
    cluster.form([1, 2])
    cluster.begin((1, 2))
    host = cluster[1].host
    host.room = 1
    assert not cluster[1].votes.sync_process()
    assert not cluster[1].votes.sync_process()
    assert len(host.sync_queue) == 1
    host.room = 10
    cluster.finish((1, 2))
    assert cluster.quorate() == [1, 2]


def test_votes_of_a_node_change_everywhere() -> None:
    cluster = VotingCluster(3)
    cluster.form([1, 2, 3])
    refused(Code.NAME_NOT_FOUND, lambda: cluster[1].votes.set_votes(9, 1))
    refused(Code.INVALID_PARAM, lambda: cluster[1].votes.set_votes(2, -1))
    cluster[1].votes.set_votes(2, 3)
    cluster.settle()
    for nodeid in (1, 2, 3):
        info = cluster[nodeid].votes.get_info(2)
        assert (info.votes, info.total_votes, info.quorum) == (3, 5, 3)
    cluster.form([2], [1, 3])
    assert cluster.quorate() == [2]


def test_last_man_standing_window() -> None:
    cluster = VotingCluster(
        8, QuorumSettings(expected_votes=8, last_man_standing=True, last_man_standing_window_s=20.0)
    )
    cluster.form(range(1, 9))
    cluster.form([1, 2, 3, 4, 5])
    assert cluster[1].host.timers[WINDOW][0] == 20.0
    assert cluster[1].votes.get_info().quorum == 5
    cluster.fire(WINDOW)
    assert cluster[1].votes.get_info().quorum == 3
    cluster.form([1, 2, 3])
    assert cluster.quorate() == [1, 2, 3]
    cluster.form([1, 2])
    cluster.fire(WINDOW)
    assert cluster.quorate() == []


def test_window_that_ends_during_synchronization_waits_for_its_end() -> None:
    cluster = VotingCluster(8, QuorumSettings(expected_votes=8, last_man_standing=True))
    cluster.form(range(1, 9))
    cluster.form([1, 2, 3, 4, 5])
    cluster.begin((1, 2, 3, 4, 5))
    for nodeid in range(1, 6):
        cluster[nodeid].host.fire(WINDOW)
        assert cluster[nodeid].votes.get_info().quorum == 5
    cluster.finish((1, 2, 3, 4, 5))
    assert cluster[1].votes.get_info().quorum == 3


@pytest.mark.parametrize(
    ("breaker", "listed", "winners"),
    [(TieBreaker.LOWEST, (), [1, 2]), (TieBreaker.HIGHEST, (), [3, 4]), (TieBreaker.LIST, (3, 1), [3, 4])],
)
def test_even_split_goes_to_the_breakers_half(breaker: TieBreaker, listed: tuple[int, ...], winners: list[int]) -> None:
    cluster = VotingCluster(
        4, QuorumSettings(expected_votes=4, wait_for_all=True, tie_breaker=breaker, tie_breaker_nodes=listed)
    )
    cluster.form([1, 2, 3, 4])
    cluster.form([1, 2], [3, 4])
    assert cluster.quorate() == winners
    cluster.form([1, 2, 3, 4])
    assert cluster.quorate() == [1, 2, 3, 4]


def test_clean_leave_lowers_expected_votes_under_allow_downscale_only() -> None:
    options = QuorumSettings(expected_votes=2, allow_downscale=True, expected_votes_tracking=True)
    cluster = VotingCluster(5, options)
    cluster.form([1, 2, 3, 4, 5])
    assert decode_ev_tracking(cluster.files[1]["ev_tracking"]) == 5
    cluster[5].votes.leaving()
    cluster.settle()
    assert [standing.state for standing in cluster[1].votes.nodes()] == [MEMBER] * 4 + [LEAVING]
    cluster.form([1, 2, 3, 4])
    assert cluster[1].votes.get_info().expected_votes == 4
    cluster.form([1, 2, 3])
    assert cluster[1].votes.get_info().expected_votes == 4
    plain = VotingCluster(2)
    plain.form([1, 2])
    plain[1].votes.leaving()
    assert plain[1].host.queue == []


def test_tracked_expected_votes_survive_a_restart() -> None:
    cluster = VotingCluster(4, QuorumSettings(expected_votes=2, expected_votes_tracking=True))
    cluster.form([1, 2, 3, 4])
    cluster.form()
    cluster.form([1, 2])
    assert cluster.quorate() == []
    assert cluster[1].votes.get_info().expected_votes == 4
    assert cluster[1].votes.runtime_keys()["runtime.votequorum.ev_tracking_barrier"] == CmapEntry(CmapType.U32, 4)
    assert decode_ev_tracking(b"\1") == 0
    assert decode_ev_tracking(encode_ev_tracking(7)) == 7


def test_reload_that_adds_a_node() -> None:
    cluster = VotingCluster(3, QuorumSettings(expected_votes=2))
    cluster.form([1, 2])
    assert cluster[1].votes.get_info().quorum == 2
    for nodeid in (1, 2):
        cluster[nodeid].votes.reconfigure(QuorumSettings(expected_votes=3, votes=1))
    cluster.settle()
    assert {cluster[n].votes.get_info().expected_votes for n in (1, 2)} == {3}
    cluster.form([1])
    assert cluster.quorate() == []


def test_flags_have_quorumtools_words_in_its_order() -> None:
    options = QuorumSettings(
        expected_votes=2,
        wait_for_all=True,
        last_man_standing=True,
        tie_breaker=TieBreaker.LOWEST,
        allow_downscale=True,
        expected_votes_tracking=True,
    )
    cluster = VotingCluster(2, options)
    cluster.form([1, 2])
    words = ("Quorate", "WaitForAll", "LastManStanding", "AutoTieBreaker", "AllowDownscale")
    assert cluster[1].votes.flags() == words
    assert set(cluster[1].votes.runtime_keys()) == {
        f"runtime.votequorum.{name}"
        for name in [
            "this_node_id",
            "lowest_node_id",
            "highest_node_id",
            "ev_barrier",
            "two_node",
            "wait_for_all_status",
            "atb_type",
            "ev_tracking_barrier",
        ]
    }


def test_info_of_unknown_and_dead_nodes() -> None:
    cluster = VotingCluster(3, votes={2: 2})
    cluster.form([1, 2, 3])
    cluster.form([1, 2])
    refused(Code.NOT_EXIST, lambda: cluster[1].votes.get_info(9))
    assert cluster[1].votes.get_info(3).state is DEAD
    info = cluster[1].votes.get_info(2)
    assert (info.nodeid, info.state, info.votes, info.highest_expected, info.total_votes) == (2, MEMBER, 2, 4, 3)
    assert info.flags == InfoFlag.QUORATE


# --- the quorum device


def device_cluster() -> VotingCluster:
    cluster = VotingCluster(2, QuorumSettings(expected_votes=3, device_model="net", device_votes=1))
    cluster.form([1, 2])
    return cluster


def register(cluster: VotingCluster, nodeid: int, name: bytes = b"net") -> list[ServiceError | None]:
    answers: list[ServiceError | None] = []
    cluster[nodeid].votes.device.register(name, answers.append)
    refused(Code.TRY_AGAIN, lambda: cluster[nodeid].votes.device.register(name, answers.append))
    cluster.settle()
    return answers


def test_device_vote_keeps_one_of_two_nodes_quorate() -> None:
    cluster = device_cluster()
    for nodeid in (1, 2):
        assert register(cluster, nodeid) == [None]
    ring = RingId(1, 4)
    cluster[1].votes.device.poll(b"net", True, ring)
    cluster[2].votes.device.poll(b"net", True, ring)
    cluster.settle()
    info = cluster[1].votes.get_info()
    assert (info.total_votes, info.qdevice_votes, info.qdevice_name) == (3, 1, b"net")
    assert cluster[1].votes.flags() == ("Quorate", "Qdevice")
    assert cluster[1].votes.runtime_keys()["runtime.votequorum.qdevice_can_operate"].value == 1
    del cluster.nodes[2]
    ring = cluster.begin((1,))
    assert not cluster[1].votes.sync_process()
    refused(Code.MESSAGE_ERROR, lambda: cluster[1].votes.device.poll(b"net", True, RingId(9, 9)))
    assert not cluster[1].votes.sync_process()
    cluster[1].votes.device.poll(b"net", True, ring)
    cluster.finish((1,))
    assert cluster.quorate() == [1]
    cluster.fire(DEVICE)
    assert cluster.quorate() == []


def test_device_that_does_not_poll_does_not_hold_synchronization_for_ever() -> None:
    cluster = device_cluster()
    register(cluster, 1)
    cluster[1].votes.device.poll(b"net", True, RingId(1, 4))
    cluster.settle()
    cluster.begin((1, 2))
    assert not cluster[1].votes.sync_process()
    assert cluster[1].host.timers[DEVICE][0] == 30.0
    cluster[1].host.fire(DEVICE)
    cluster.finish((1, 2))
    assert cluster.quorate() == [1, 2]
    assert not cluster[1].votes.get_info().flags & InfoFlag.QDEVICE_ALIVE


def test_device_master_wins_decides_alone() -> None:
    cluster = VotingCluster(4, QuorumSettings(expected_votes=5, device_model="net", device_votes=1))
    cluster.form([1, 2, 3, 4])
    register(cluster, 1)
    device = cluster[1].votes.device
    device.poll(b"net", True, RingId(1, 4))
    device.master_wins(b"net", True)
    cluster.settle()
    for nodeid in (2, 3, 4):
        del cluster.nodes[nodeid]
    ring = cluster.begin((1,))
    device.poll(b"net", True, ring)
    cluster.finish((1,))
    assert cluster.quorate() == [1]
    device.master_wins(b"net", False)
    cluster.settle()
    assert cluster.quorate() == []


def test_device_refusals() -> None:
    for forbidding in (
        QuorumSettings(two_node=True),
        QuorumSettings(last_man_standing=True),
        QuorumSettings(allow_downscale=True),
        QuorumSettings(tie_breaker=TieBreaker.LOWEST),
    ):
        plain = VotingCluster(1, forbidding)
        plain.form([1])
        device = plain[1].votes.device
        refused(Code.ACCESS, partial(device.register, b"net", lambda _: None))
        refused(Code.ACCESS, partial(device.poll, b"net", True, RingId(1, 4)))
        refused(Code.ACCESS, partial(device.master_wins, b"net", True))
    cluster = device_cluster()
    device = cluster[1].votes.device
    refused(Code.NOT_EXIST, lambda: device.poll(b"net", True, RingId(1, 4)))
    refused(Code.NOT_EXIST, lambda: device.unregister(b"net"))
    refused(Code.INVALID_PARAM, lambda: device.register(b"x" * 255, lambda _: None))
    register(cluster, 1)
    refused(Code.EXIST, lambda: device.register(b"other", lambda _: None))
    again: list[ServiceError | None] = []
    device.register(b"net", again.append)
    assert again == [None]
    refused(Code.INVALID_PARAM, lambda: device.unregister(b"other"))
    other = register(cluster, 2, b"other")
    assert [error.code for error in other if error] == [Code.EXIST]
    device.update(b"net", b"new")
    cluster.settle()
    assert cluster[2].votes.device.name == b"new"
    device.unregister(b"new")
    cluster.settle()
    assert [cluster[n].votes.device.name for n in (1, 2)] == [b"", b""]


def test_votes_of_a_device_change_at_run_time() -> None:
    cluster = device_cluster()
    refused(Code.INVALID_PARAM, lambda: cluster[1].votes.set_votes(0, 2))  # it would not cast them: quorum were lost
    for nodeid in (1, 2):
        register(cluster, nodeid)
        cluster[nodeid].votes.device.poll(b"net", True, RingId(1, 4))
    cluster.settle()
    cluster[2].votes.set_votes(0, 2)
    cluster.settle()
    for nodeid in (1, 2):
        info = cluster[nodeid].votes.get_info()
        assert (info.qdevice_votes, info.expected_votes, info.total_votes, info.quorum) == (2, 4, 4, 3)
    assert cluster.quorate() == [1, 2]


def test_whoever_publishes_the_keys_hears_of_every_change() -> None:
    told: list[dict[str, CmapEntry]] = []
    host = FakeHost(1)
    votes = VoteQuorum(
        host,
        QuorumSettings(expected_votes=1),
        quorum_changed=lambda view: None,
        keys_changed=lambda: told.append(votes.runtime_keys()),
    )
    prefix = "runtime.votequorum."
    votes.reconfigure(QuorumSettings(expected_votes=1, device_model="net", device_votes=1))
    assert told[-1][f"{prefix}qdevice_can_operate"].value == 1
    assert told[-1][f"{prefix}atb_type"].value == 0
    votes.receive(1, 1, encode_reconfigure(Reconfigure(1, 7, 1)))
    assert told[-1][f"{prefix}ev_barrier"].value == 7
    votes.receive(2, 1, encode_qdevice_reg(QdeviceReg(1, b"net")))
    votes.device.register(b"net", lambda refusal: None)
    votes.receive(2, 1, encode_qdevice_reg(QdeviceReg(1, b"net")))
    votes.device.master_wins(b"net", True)
    assert told[-1][f"{prefix}qdevice_master_wins"].value == 1


def test_name_of_a_device_reaches_newcomers() -> None:
    cluster = device_cluster()
    register(cluster, 1)
    cluster.form([1])
    cluster.form([1, 2])
    assert cluster[2].votes.device.name == b"net"


# --- hostile peers


def test_bad_messages_are_refused() -> None:
    cluster = VotingCluster(2)
    cluster.form([1, 2])
    votes = cluster[1].votes
    good = encode_nodeinfo(NodeInfo(2, 1, 2, 0))
    for function, sender, message in (
        (0, 9, encode_nodeinfo(NodeInfo(9, 1, 2, 0))),
        (0, 2, encode_nodeinfo(NodeInfo(1, 0, 2, 0))),
        (0, 2, good[:-1]),
        (1, 2, encode_reconfigure(Reconfigure(1, 0, 1))),
        (2, 2, b""),
        (3, 2, good),
        (4, 2, good),
    ):
        with pytest.raises(BadPacket):
            votes.receive(function, sender, message)
    with pytest.raises(BadPacket):
        cluster[1].quorum.receive(0, 2, good)
    votes.receive(2, 2, encode_qdevice_reg(QdeviceReg(77, b"x")))
    votes.receive(1, 2, encode_reconfigure(Reconfigure(4_000_000_000, 5, 2)))
    votes.receive(1, 2, encode_reconfigure(Reconfigure(1, 5, 99)))
    assert cluster.quorate() == [1, 2]


@given(st.lists(st.integers(1, 2**32 - 1), min_size=1, max_size=40), st.integers(0, 2**32 - 1), st.integers(0, 255))
@settings(max_examples=30, deadline=None)
def test_any_ids_votes_and_flags_keep_the_service_going(ids: list[int], votes: int, flags: int) -> None:
    cluster = VotingCluster(2)
    cluster.form([1, 2])
    service = cluster[1].votes
    for seq, nodeid in enumerate(ids):
        members = tuple(sorted({1, nodeid}))
        service.sync_init((1,), members, RingId(1, 100 + seq))
        service.sync_process()
        service.receive(0, nodeid, encode_nodeinfo(NodeInfo(nodeid, votes, votes, flags)))
        service.receive(0, nodeid, encode_nodeinfo(NodeInfo(0, votes, 0, flags)))
        service.sync_activate()
    service.get_info()
    service.runtime_keys()
    assert [standing.nodeid for standing in service.nodes()] == sorted({1, 2, *ids})


def test_ever_new_nodes_do_not_fill_the_memory() -> None:
    cluster = VotingCluster(1)
    cluster.form([1])
    service = cluster[1].votes
    for nodeid in range(2, PROCESSOR_COUNT_MAX + 200):
        service.sync_init((1,), (1, nodeid), RingId(1, nodeid))
        service.receive(0, nodeid, encode_nodeinfo(NodeInfo(nodeid, 1, 1, NODE_QUORATE)))
        service.sync_activate()
        cluster[1].host.sync_queue.clear()
    standings = service.nodes()
    assert len(standings) == PROCESSOR_COUNT_MAX
    assert standings[0].nodeid == 1
    assert standings[-1] == NodeStanding(PROCESSOR_COUNT_MAX + 199, MEMBER, 1)
    assert replace(standings[0], votes=1) == NodeStanding(1, MEMBER, 1)
