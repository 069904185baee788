"""Who is admitted, who is refused and told why, and who may catch up."""

from collections.abc import Callable

import pytest

from sealed_nodes import KEY, Air, SealedNode, accept_all, pair
from totemd.ids import NodeId
from totemd.seal import ADMITTED, CONTROL_SIZE_MAX, Credentials, KeyRing, Reason, Verdict, new_key, refused


def refuse(*nodeids: NodeId, reason: Reason = Reason.REMOVED) -> Callable[[Credentials], Verdict]:
    """A judge that keeps these out."""

    def judge(shown: Credentials) -> Verdict:
        return refused(reason, "because", "do this") if shown.nodeid in nodeids else ADMITTED

    return judge


def by_version(node: SealedNode) -> Callable[[Credentials], Verdict]:
    """The judge of a managed cluster."""

    def judge(shown: Credentials) -> Verdict:
        if shown.config_version < node.version:
            return refused(Reason.STALE, "is behind", "it fetches")
        if shown.config_version > node.version:
            return refused(Reason.NEWER, "is ahead", "this node fetches")
        return ADMITTED

    return judge


def hears(receiver: SealedNode, sender: SealedNode, air: Air) -> bool:
    """Whether a packet of the sender counts there."""
    count = len(receiver.heard)
    air.say(sender, b"hello")
    return len(receiver.heard) > count


def test_nodes_that_start_admit_each_other() -> None:
    air = Air()
    nodes = [air.node(nodeid) for nodeid in (1, 2, 3, 4)]
    for node in nodes:
        assert all(node.seal.admitted(other.nodeid) for other in nodes if other is not node)
        assert not node.seal.admitted(node.nodeid)
    assert ("info", "node 1 (n1) is admitted") in nodes[1].logged


def test_the_first_packet_of_an_unknown_session_does_not_count_but_leads_to_a_challenge() -> None:
    air = Air()
    first, second = air.node(1, start=False), air.node(2, start=False)
    assert not hears(second, first, air)
    assert second.seal.counters["unknown session"] == 1
    assert hears(second, first, air)
    assert hears(first, second, air)


@pytest.mark.parametrize("reason", [reason for reason in Reason if not reason.may_catch_up])
def test_both_sides_of_a_refusal_say_why_once(reason: Reason) -> None:
    air = Air()
    first = air.node(1, judge=refuse(2, reason=reason))
    told: list[tuple[NodeId, Verdict]] = []
    second = air.node(2, start=False)
    second.seal.on_refused = lambda nodeid, verdict: told.append((nodeid, verdict))
    second.seal.start(air.now)
    air.settle()
    for _ in range(60):
        assert not hears(first, second, air)
        air.wait(0.5)
    assert not first.seal.admitted(2)
    assert first.logged == [("warning", f"node 2 (n2) is refused ({reason}): because; do this")]
    assert second.logged == [
        ("warning", f"node 1 refuses this node ({reason}): because; do this"),
        ("info", "node 1 (n1) is admitted"),
    ]
    assert set(told) == {(1, refused(reason, "because", "do this"))}
    assert len(told) == pytest.approx(30, abs=2)
    """Asked about once a second, for things may have changed."""
    assert first.seal.counters[f"refused: {reason}"] == len(told)
    assert not first.seal.send_control(2, b"body")


def test_who_is_refused_does_not_hear_the_ring_either() -> None:
    """Or it would answer, unheard, for ever; until who has refused it says that it is admitted, or is silent."""
    air = Air()
    first = air.node(1, judge=refuse(2))
    second, third = air.node(2), air.node(3)
    assert hears(third, first, air)
    assert hears(second, third, air)
    assert not hears(second, first, air)
    assert second.seal.counters["sender refuses this node"] >= 1
    first.judge = accept_all
    first.seal.recheck()
    hears(first, second, air)
    assert hears(second, first, air)


def test_a_refusal_is_forgotten_when_it_is_not_repeated() -> None:
    air = Air()
    first, second = air.node(1, judge=refuse(2)), air.node(2)
    assert not hears(second, first, air)
    air.wait(5.1)
    assert hears(second, first, air)


def test_a_refused_node_is_admitted_when_the_judge_changes_its_mind() -> None:
    air = Air()
    first = air.node(1, judge=refuse(2))
    second = air.node(2)
    first.judge = accept_all
    first.seal.recheck()
    hears(first, second, air)
    assert first.seal.admitted(2)


def test_a_changed_configuration_takes_the_session_of_who_is_out() -> None:
    air, first, second = pair()
    third = air.node(3)
    first.judge = refuse(2)
    first.seal.recheck()
    assert not first.seal.admitted(2)
    assert first.seal.admitted(3)
    assert not hears(first, second, air)
    assert hears(first, third, air)


def test_who_made_the_same_change_is_judged_by_the_new_configuration() -> None:
    air, first, second = pair()
    third = air.node(3)
    for node in air.nodes:
        node.judge = by_version(node)
    first.version = second.version = 2
    first.seal.recheck(activated={2})
    second.seal.recheck(activated={1})
    assert hears(first, second, air)
    assert hears(second, first, air)
    assert not first.seal.admitted(3)
    assert not hears(first, third, air)


def test_forgotten_nodes_show_again_who_they_are() -> None:
    air, first, second = pair()
    first.seal.forget(2)
    assert not first.seal.admitted(2)
    assert not hears(first, second, air)
    assert hears(first, second, air)


def test_a_stale_member_catches_up_over_control_messages_and_is_admitted() -> None:
    air = Air()
    first = air.node(1, start=False)
    first.version = 7
    second = air.node(2, start=False)
    for node in (first, second):
        node.judge = by_version(node)
        node.seal.start(air.now)
    air.settle()
    assert not first.seal.admitted(2)
    assert not second.seal.admitted(1)
    assert first.seal.counters["refused: stale"] == second.seal.counters["refused: newer"] == 1
    assert second.seal.send_control(1, b"give me 7")
    air.settle()
    assert first.bodies == [(2, b"give me 7")]
    assert first.seal.send_control(2, b"here it is")
    air.settle()
    assert second.bodies == [(1, b"here it is")]
    assert not hears(first, second, air)
    second.version = 7
    second.seal.recheck()
    second.seal.start(air.now)
    air.settle()
    assert first.seal.admitted(2)
    hears(second, first, air)
    assert second.seal.admitted(1)


def test_bodies_have_a_bound_and_need_a_session() -> None:
    air, first, second = pair()
    assert first.seal.send_control(2, bytes(CONTROL_SIZE_MAX))
    air.settle()
    assert second.bodies == [(1, bytes(CONTROL_SIZE_MAX))]
    with pytest.raises(ValueError, match="at most"):
        first.seal.send_control(2, bytes(CONTROL_SIZE_MAX + 1))
    assert not first.seal.send_control(3, b"body")


def test_credentials_of_another_node_or_cluster_are_not_judged() -> None:
    air = Air()
    first = air.node(1)
    judged: list[Credentials] = []
    first.seal.on_judged = lambda nodeid, shown, verdict: judged.append(shown)
    second = SealedNode(2, air.random)
    real = second.credentials()
    air.add(second, start=False)
    second.cluster_id = bytes(16)
    second.seal.start(air.now)
    air.settle()
    second.cluster_id, second.nodeid = real.cluster_id, 3
    air.deliver(second, None, second.seal.seal(b"x"))
    second.nodeid = 2
    assert first.seal.counters["credentials of another node"] >= 1
    assert judged == []
    assert not first.seal.admitted(2)


def test_names_and_texts_of_others_cannot_act_on_a_terminal() -> None:
    air = Air()
    first = air.node(1, judge=lambda shown: refused(Reason.UNLISTED, "\x1b[2J", "\nINFO all is well"))
    second = air.node(2)
    assert second.logged[0][1] == ("node 1 refuses this node (unlisted): \\x1b[2J; \\nINFO all is well")
    assert first.logged[0][1] == "node 2 (n2) is refused (unlisted): \\x1b[2J; \\nINFO all is well"


# Keys


def keys(air: Air) -> tuple[KeyRing, KeyRing]:
    """Before a rotation and after it."""
    before = KeyRing(KEY)
    return before, before.sending_with(new_key(air.random.randbytes)).settled()


def test_a_rotation_loses_nothing() -> None:
    """Accept, send, settle: at each step each pair of nodes understands each other, in whatever order they go."""
    air, first, second = pair()
    _, after = keys(air)
    assert hears(first, second, air)
    steps: list[Callable[[SealedNode], None]] = [
        lambda node: node.seal.accept_key(after.sending),
        lambda node: node.seal.set_keys(node.seal.keys.sending_with(after.sending)),
        lambda node: node.seal.set_keys(node.seal.keys.settled()),
    ]
    for step in steps:
        for node in (first, second):
            step(node)
            for _ in range(2):
                assert hears(first, second, air)
                assert hears(second, first, air)
            assert first.seal.send_control(2, b"body")
            assert second.seal.send_control(1, b"body")
            air.settle()
    assert first.seal.keys == second.seal.keys == after
    assert not first.seal.counters
    assert not second.seal.counters
    assert len(first.bodies) == len(second.bodies) == 6


def test_a_refusal_under_a_key_that_a_member_has_left_does_not_keep_it_from_hearing() -> None:
    """One has retired the old key, the other one still accepts it, and somebody plays a recording from before."""
    air, first, second = pair()
    recording = SealedNode(2, air.random).seal.seal(b"from before")
    sending = KeyRing(KEY).sending_with(new_key(air.random.randbytes))
    first.seal.set_keys(sending.settled())
    second.seal.set_keys(sending)
    first.receive(recording, air.now)
    air.settle()
    assert first.seal.counters["refused: stale"] == 1
    assert second.seal.counters["ruling under a former key"] == 1
    assert hears(second, first, air)
    assert hears(first, second, air)


def test_under_a_retired_key_only_control_messages_count() -> None:
    air = Air()
    before, after = keys(air)
    first, second = air.node(1, keys=after), air.node(2, keys=before)
    for _ in range(3):
        assert not hears(first, second, air)
        assert not hears(second, first, air)
        air.wait(1.0)
    assert first.seal.counters["retired key"] >= 1
    assert not first.seal.admitted(2)
    assert second.seal.counters["unknown key"] >= 1
    assert first.logged[0][1].startswith("node 2 (n2) is refused (stale): its key was retired")
    assert second.seal.admitted(1)
    assert second.seal.send_control(1, b"fetch")
    air.settle()
    assert first.bodies == [(2, b"fetch")]
    assert first.seal.send_control(2, b"piece")
    air.settle()
    assert second.bodies == [(1, b"piece")]
    second.seal.set_keys(after)
    hears(first, second, air)
    assert hears(first, second, air)
    assert first.seal.admitted(2)


def test_a_member_that_missed_a_rotation_can_talk_although_its_session_is_known() -> None:
    air, first, second = pair()
    _, after = keys(air)
    first.seal.set_keys(after)
    assert not hears(first, second, air)
    air.wait(1.0)
    assert not hears(first, second, air)
    assert second.seal.send_control(1, b"fetch")
    air.settle()
    assert first.bodies == [(2, b"fetch")]
    assert first.seal.send_control(2, b"piece")
    air.settle()
    assert second.bodies == [(1, b"piece")]
    second.seal.set_keys(after)
    assert hears(first, second, air)
    assert hears(second, first, air)


def test_who_has_only_a_retired_key_can_neither_displace_nor_delay_who_has_the_new_one() -> None:
    """A removed node that speaks as node 2, in a session of its own and in that of node 2."""
    air = Air()
    before, after = keys(air)
    first, second = air.node(1, keys=after), air.node(2, keys=after)
    liar = air.node(2, keys=before)
    assert hears(first, second, air)
    for _ in range(20):
        assert not hears(first, liar, air)
        assert hears(first, second, air)
        air.wait(0.3)
    assert first.seal.admitted(2)
    twin = SealedNode(2, air.random, keys=before)
    twin.seal._session = twin.session = second.session
    twin.seal._take_keys(before)
    twin.seal._counter = 1 << 50
    air.add(twin)
    for _ in range(5):
        assert not hears(first, twin, air)
        air.wait(0.5)
        assert hears(first, second, air)
    air.nodes.remove(second)
    newer = air.node(2, keys=after)
    air.wait(1.0)
    assert hears(first, newer, air), "the liar answered in the place of the dead session"


# Two of a kind


def test_a_restarted_node_takes_its_place_after_the_old_session_has_shown_no_life() -> None:
    air, first, second = pair()
    air.wait(5.0)
    air.nodes.remove(first)
    again = air.node(1)
    assert not hears(second, again, air)
    assert hears(again, second, air), "the newcomer knows nobody, so it admits at once"
    air.wait(0.29)
    assert not hears(second, again, air)
    air.wait(0.02)
    assert hears(second, again, air)


def test_a_second_node_with_the_same_id_is_refused_as_long_as_the_first_one_lives() -> None:
    air, first, second = pair()
    twin = air.node(1)
    for _ in range(20):
        assert not hears(second, twin, air)
        assert hears(second, first, air)
        air.wait(0.4)
    text = "node 1 is here already, and alive; give one of the two another node id, or stop it"
    assert second.logged[1:] == [("warning", f"another node 1 (n1) is refused (duplicate): {text}")]
    assert ("warning", f"node 2 refuses this node (duplicate): {text}") in twin.logged
    assert not any("refuses" in line for _, line in first.logged)
    air.nodes.remove(first)
    for _ in range(4):
        air.say(twin, b"x")
        air.wait(0.5)
    assert hears(second, twin, air)


def test_lost_challenges_do_not_cost_a_live_session_its_place() -> None:
    air, first, second = pair()
    twin = air.node(1, start=False)
    air.nodes.remove(first)
    air.say(twin, b"x")
    assert second.seal.next_deadline() < 1
    air.wait(0.2)
    air.nodes.append(first)
    air.wait(1.0)
    assert hears(second, first, air)
    assert not hears(second, twin, air)
