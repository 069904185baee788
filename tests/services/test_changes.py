"""The service "changes": one change after the other, everywhere at once."""

import pytest

from changes_cluster import ChangesCluster, cluster_text
from service_cluster import FakeHost
from totemd.cluster.nodelist_text import remove_node, set_votes
from totemd.errors import BadPacket
from totemd.ids import RingId
from totemd.services.changes import Changes, Outcome
from totemd.services.changes.book import UNDER_WAY_MAX, Book
from totemd.wire.changes import VERSION_LIMIT, ChangesFunction, State, decode_changes, encode_changes


def three() -> ChangesCluster:
    cluster = ChangesCluster({1: 1, 2: 1, 3: 1})
    cluster.ring.form({1, 2, 3})
    cluster.settle()
    return cluster


def test_a_change_is_in_force_on_all_nodes_at_once() -> None:
    cluster = three()
    ident = cluster.propose(2, cluster.change(2, token="1500"))
    cluster.settle()
    assert cluster.outcomes[ident].accepted
    assert cluster.outcomes[ident].version == 2
    assert cluster.versions() == [2, 2, 2]
    assert {around.active.totem.token_timeout_s for around in cluster.around.values()} == {2.15}
    assert all("config_version: 2\n" in around.written[-1] for around in cluster.around.values())


def test_a_change_that_a_node_refuses_changes_nothing_and_its_reason_is_told() -> None:
    cluster = three()
    cluster.around[3].refuses = "no such interface here"
    ident = cluster.propose(1, cluster.change(1, token="1500"))
    cluster.settle()
    outcome = cluster.outcomes[ident]
    assert not outcome.accepted
    assert outcome.reasons == {3: "no such interface here"}
    assert cluster.versions() == [1, 1, 1]
    assert [entry.outcome for entry in cluster.service(2).history()] == ["committed", "rejected"]


def test_a_confirmed_version_is_followed_by_the_next() -> None:
    cluster = three()
    cluster.propose(1, cluster.change(1, token="1500"))
    cluster.settle()
    assert not cluster.service(1).confirmed
    cluster.wait(6)
    assert all(cluster.service(nodeid).confirmed for nodeid in (1, 2, 3))
    ident = cluster.propose(3, cluster.change(3, join="60"))
    cluster.settle()
    assert cluster.outcomes[ident].version == 3
    assert cluster.versions() == [3, 3, 3]


def test_who_does_not_know_whether_others_have_a_change_does_not_say_that_it_is_refused() -> None:
    cluster = three()
    ident = cluster.propose(3, cluster.change(3, token="1500"))
    cluster.step(3)  # PROPOSE is in the order
    cluster.around[1].answer()  # node 1 has accepted it; nobody else has
    cluster.ring.form({3}, {1, 2})
    cluster.around[2].refuses = cluster.around[1].refuses = None
    for _ in range(200):
        cluster.step(3)
    cluster.pass_time(60)
    assert cluster.outcomes[ident].undecided
    cluster.settle()
    assert cluster.versions(1, 2) == [2, 2], "nodes 1 and 2 have quorum, and node 1 has accepted it"
    assert cluster.versions(3) == [1]
    cluster.ring.form({1, 2, 3})
    cluster.settle()
    assert cluster.versions() == [2, 2, 2]


def test_r12_while_a_member_is_stalled_for_any_time_no_two_members_have_different_versions() -> None:
    cluster = three()
    cluster.around[2].disk.held = True
    ident = cluster.propose(1, cluster.change(1, token="1500"))
    for _ in range(10):
        cluster.wait(0.5)
        assert cluster.versions() == [1, 1, 1]
    pending = cluster.service(3).pending()
    assert pending is not None
    assert (pending["prepared"], pending["waiting"]) == ([1, 3], [2])
    cluster.wait(10)
    assert ident not in cluster.outcomes, "the stalled member has not withdrawn it yet"
    cluster.around[2].disk.held = False
    cluster.wait(1)
    assert not cluster.outcomes[ident].accepted
    assert "node 2" in cluster.outcomes[ident].why
    assert [cluster.service(nodeid).history()[-1].why for nodeid in (1, 2, 3)] == [cluster.outcomes[ident].why] * 3
    assert cluster.versions() == [1, 1, 1]
    ident = cluster.propose(1, cluster.change(1, token="1500"))
    cluster.settle()
    assert cluster.outcomes[ident].accepted
    assert cluster.versions() == [3, 3, 3]


def test_r05_the_version_rises_once_with_each_commit_and_all_have_the_same_bytes() -> None:
    cluster = three()
    versions = []
    for number in range(4):
        ident = cluster.propose(1 + number % 3, cluster.change(1 + number % 3, join=str(50 + number)))
        cluster.settle()
        cluster.wait(6)
        versions.append(cluster.outcomes[ident].version)
    assert versions == [2, 3, 4, 5]
    assert len({around.written[-1] for around in cluster.around.values()}) == 1
    assert all(len(around.written) == 4 for around in cluster.around.values())


def test_commit_that_one_node_alone_has_heard_is_rolled_forward_by_the_others() -> None:
    cluster = three()
    ident = cluster.propose(1, cluster.change(1, token="1500"))
    while not any(message[0] == 5 for message in cluster.node(1).host.queue):  # COMMIT, sent by the lowest
        for nodeid in (1, 2, 3):
            cluster.step(nodeid)
    cluster.ring.form({1}, {2, 3}, last_words=1)
    cluster.settle()
    assert cluster.outcomes[ident].accepted
    assert cluster.versions() == [2, 2, 2]
    assert cluster.service(1).current() == cluster.service(3).current()


def test_a_node_that_crashed_after_prepared_has_it_in_doubt_and_others_decide() -> None:
    cluster = three()
    cluster.propose(1, cluster.change(1, token="1500"))
    while cluster.service(1).pending() is None or 2 not in cluster.service(1).pending()["prepared"]:  # type: ignore[index,operator]
        for nodeid in (2, 3):
            cluster.step(nodeid)
        cluster.step(1)
    for nodeid in (1, 2, 3):
        cluster.crash(nodeid)
    cluster.ring.form({2, 3})
    cluster.settle()
    assert cluster.versions(2, 3) == [2, 2]


def test_of_two_changes_at_once_one_is_made_and_the_other_says_from_which_version_it_was() -> None:
    cluster = three()
    idents = [cluster.propose(nodeid, cluster.change(nodeid, join=str(40 + nodeid))) for nodeid in (1, 2, 3)]
    cluster.settle()
    outcomes = [cluster.outcomes[ident] for ident in idents]
    assert sorted(outcome.accepted for outcome in outcomes) == [False, False, True]
    assert {outcome.why for outcome in outcomes} == {"", "it was made from version 1, and 2 is committed now"}
    assert cluster.versions() == [2, 2, 2]


def test_a_version_with_which_no_quorum_is_regained_is_gone_back_from_and_becomes_history() -> None:
    cluster = three()
    cluster.propose(1, cluster.change(1, token="1500"))
    cluster.settle()
    cluster.ring.form({1}, {2}, {3})
    cluster.settle()
    cluster.wait(29)
    assert cluster.versions() == [2, 2, 2]
    cluster.wait(3)
    assert cluster.versions() == [1, 1, 1]
    cluster.ring.form({1, 2}, {3})
    cluster.settle()
    assert cluster.versions() == [3, 3, 1]
    assert cluster.service(1).active().kind == "rollback"
    assert "token" not in cluster.service(1).active().text.replace("crypto", "")
    cluster.ring.form({1, 2, 3})
    cluster.settle()
    assert cluster.versions() == [3, 3, 3]
    assert [entry.outcome for entry in cluster.service(1).history()] == ["committed", "rolled-back", "committed"]


def test_a_confirmed_version_wins_over_who_went_back_from_it() -> None:
    cluster = three()
    cluster.propose(1, cluster.change(1, token="1500"))
    cluster.settle()
    cluster.ring.form({1, 2}, {3})
    cluster.settle()
    cluster.wait(40)
    assert cluster.service(1).confirmed
    assert cluster.versions() == [2, 2, 1]
    cluster.ring.form({1, 2, 3})
    cluster.settle()
    assert cluster.versions() == [2, 2, 2]
    assert cluster.service(3).confirmed


def test_votes_change_by_one_at_a_time() -> None:
    cluster = three()
    text = cluster.service(1).current().text
    two_more = cluster.propose(1, cluster.change(1, set_votes(text, 1, 3)))
    cluster.settle()
    assert "one vote at a time" in cluster.outcomes[two_more].reasons[2]
    one_more = cluster.propose(1, cluster.change(1, set_votes(text, 1, 2)))
    cluster.settle()
    assert cluster.outcomes[one_more].accepted
    assert cluster.around[3].active.quorum.expected_votes == 4


def test_a_node_that_is_taken_out_ends_and_the_others_go_on() -> None:
    cluster = three()
    ident = cluster.propose(1, cluster.change(1, remove_node(cluster.service(1).current().text, 3, 2)))
    cluster.settle()
    assert cluster.outcomes[ident].accepted
    assert cluster.versions(1, 2) == [2, 2]
    (shutdown,) = cluster.node(3).host.shutdowns
    assert "taken out of the cluster" in shutdown[0]


def test_a_dry_run_asks_everybody_and_changes_nothing() -> None:
    cluster = three()
    cluster.around[3].refuses = "no such interface here"
    outcomes: list[Outcome] = []
    cluster.service(1).dry_run(cluster.text, outcomes.append)
    cluster.settle()
    assert [outcome.reasons for outcome in outcomes] == [{3: "no such interface here"}]
    assert cluster.versions() == [1, 1, 1]
    assert cluster.service(2).pending() is None


def test_a_node_that_was_away_takes_over_what_it_is_handed() -> None:
    cluster = three()
    cluster.ring.form({1, 2}, {3})
    cluster.settle()
    cluster.propose(1, cluster.change(1, token="1500"))
    cluster.settle()
    cluster.wait(6)
    outcomes: list[Outcome] = []
    cluster.service(3).catch_up(cluster.service(1).record_for(3), None, outcomes.append)
    cluster.settle()
    assert [outcome.accepted for outcome in outcomes] == [True]
    assert (cluster.around[3].rings_wanted, cluster.versions(3)) == (1, [1])
    cluster.ring.form({3})
    cluster.settle()
    assert cluster.versions() == [2, 2, 2]


def two_versions_behind() -> tuple[ChangesCluster, list[bytes]]:
    """Node 1 has made versions 2 and 3 alone; the records of both."""
    cluster = ChangesCluster({1: 3, 2: 1, 3: 1})
    cluster.ring.form({1}, {2}, {3})
    cluster.settle()
    records = []
    for token in ("1500", "1600"):
        cluster.propose(1, cluster.change(1, token=token))
        cluster.settle()
        cluster.wait(6)
        records.append(cluster.service(1).record_for(0))
    return cluster, records


def test_keys_that_were_handed_over_are_asked_for_again_after_a_crash_before_they_were_written() -> None:
    cluster, records = two_versions_behind()
    cluster.service(3).catch_up(records[1], b"new keys", lambda outcome: None)
    cluster.settle()
    cluster.ring.form({3})
    cluster.around[3].answer()
    cluster.crash(3)
    assert (cluster.service(3).current().version, cluster.around[3].keys) == (3, b"the first keys")
    cluster.service(3).catch_up(records[1], b"new keys", lambda outcome: None)
    cluster.settle()
    cluster.ring.form({3})
    cluster.settle()
    assert cluster.around[3].keys == b"new keys"
    before = cluster.around[3].rings_wanted
    cluster.service(3).catch_up(records[1], b"new keys", lambda outcome: None)
    cluster.settle()
    assert cluster.around[3].rings_wanted == before, "it has it all"


def test_keys_that_were_handed_over_outlast_a_record_without_keys() -> None:
    cluster, records = two_versions_behind()
    for nodeid, record in ((2, records[1]), (3, records[0])):
        cluster.service(nodeid).catch_up(record, b"new keys", lambda outcome: None)
    cluster.settle()
    cluster.ring.form({2, 3})
    cluster.settle()
    assert cluster.versions(2, 3) == [3, 3]
    assert [cluster.around[nodeid].keys for nodeid in (2, 3)] == [b"new keys"] * 2


def test_a_node_that_a_handed_version_lacks_ends() -> None:
    cluster = three()
    cluster.ring.form({1, 2}, {3})
    cluster.settle()
    cluster.propose(1, cluster.change(1, remove_node(cluster.text, 3, 2)))
    cluster.settle()
    outcomes: list[Outcome] = []
    cluster.service(3).catch_up(cluster.service(1).record_for(0), None, outcomes.append)
    cluster.settle()
    assert [outcome.accepted for outcome in outcomes] == [False]
    assert "was taken out of the cluster" in cluster.node(3).host.shutdowns[0][0]


def test_who_went_back_takes_over_what_another_one_still_has_in_force() -> None:
    cluster = ChangesCluster({1: 1, 2: 1, 3: 1, 4: 1})
    cluster.ring.form({1, 2, 3, 4})
    cluster.settle()
    cluster.propose(1, cluster.change(1, token="1500"))
    cluster.settle()
    cluster.ring.form({1, 2}, {3}, {4})
    cluster.settle()
    for _ in range(2):
        host = cluster.node(3).host
        host.now += 31
        for name in list(host.timers):
            host.fire(name)
        cluster.settle()
    assert cluster.versions(2, 3) == [2, 1]
    cluster.service(3).catch_up(cluster.service(1).record_for(0), None, lambda outcome: None)
    cluster.settle()
    cluster.ring.form({3})
    cluster.settle()
    assert cluster.versions(2, 3) == [2, 2]


def test_when_the_texts_that_were_too_many_are_checked_others_are_again() -> None:
    cluster = three()
    around = cluster.around[1]
    book = Book(cluster.node(1).host, around, cluster.disks[1].files, around.active)
    answers: list[object] = []
    idents = [number.to_bytes(16, "big") for number in range(UNDER_WAY_MAX + 3)]
    for ident in idents:
        book.examine(ident, cluster.text, answers.append)
    assert len(answers) == 3
    for ident, _ in around.questions[-UNDER_WAY_MAX:]:
        book.configuration_checked(ident, "no")
    assert len(answers) == 3 + UNDER_WAY_MAX
    around.questions.clear()
    for ident in idents[:UNDER_WAY_MAX]:
        book.examine(ident, cluster.text, answers.append)
    assert len(around.questions) == UNDER_WAY_MAX


def test_a_version_after_which_there_is_no_other_is_nobodys() -> None:
    for fields in ((VERSION_LIMIT, 1, 1), (1, VERSION_LIMIT, 1), (1, 1, VERSION_LIMIT)):
        version, highest, accepted = fields
        ring = RingId(1, 4)
        state = State(ring, version, bytes(16), bytes(16), 0, highest, 8, 1, accepted, bytes(16), (1,))
        with pytest.raises(BadPacket, match="absurd version"):
            decode_changes(ChangesFunction.STATE, encode_changes(state))


def test_what_is_no_state_is_refused_at_the_start() -> None:
    cluster = three()
    around = cluster.around[1]
    for stored in ({}, {"committed": b"\x90"}, {**around.disk.files, "state": b"\x91\x01"}):
        with pytest.raises(BadPacket):
            Changes(FakeHost(1), around, stored, around.active)


def decided_at_node_1_alone() -> tuple[ChangesCluster, bytes]:
    """A change that all have prepared, and whose COMMIT only node 1 has heard; nodes 2 and 3 have another ring."""
    cluster = three()
    ident = cluster.propose(1, cluster.change(1, token="1500"))
    while not any(message[0] == 5 for message in cluster.node(1).host.queue):
        for nodeid in (1, 2, 3):
            cluster.step(nodeid)
    cluster.node(1).host.queue[:] = [message for message in cluster.node(1).host.queue if message[0] == 5]
    cluster.ring.form({1}, {2, 3}, last_words=1)
    assert (cluster.outcomes[ident].accepted, cluster.versions()) == (True, [2, 1, 1])
    return cluster, ident


def test_nothing_else_follows_before_what_is_in_doubt_is_decided() -> None:
    cluster, _ = decided_at_node_1_alone()
    other = cluster.propose(2, cluster.change(2, join="60"))
    cluster.settle()
    assert cluster.outcomes[other].why == "it was made from version 1, and 2 is committed now"
    assert cluster.versions() == [2, 2, 2]
    assert cluster.service(2).current() == cluster.service(1).current()


def test_what_may_be_decided_on_already_is_not_refused_who_cannot_have_it_goes() -> None:
    cluster, _ = decided_at_node_1_alone()
    cluster.crash(3)
    cluster.around[3].refuses = "no such interface any more"
    cluster.ring.form({1}, {2, 3})
    cluster.settle()
    ((reason, status, _),) = cluster.node(3).host.shutdowns
    assert (reason, status) == ("configuration version 2 cannot be used here: no such interface any more", 1)
    assert cluster.service(2).pending() is not None
    cluster.ring.form({1, 2})
    cluster.settle()
    assert cluster.versions(1, 2) == [2, 2]
    assert [entry.outcome for entry in cluster.service(2).history()] == ["committed", "committed"]


def test_members_of_a_ring_go_back_together_whoever_has_waited_longer() -> None:
    cluster = ChangesCluster(dict.fromkeys(range(1, 6), 1))
    cluster.ring.form({1, 2, 3, 4, 5})
    cluster.settle()
    cluster.propose(1, cluster.change(1, token="3500"))
    cluster.settle()
    cluster.ring.form({1}, {2}, {3}, {4}, {5})
    cluster.settle()
    cluster.wait(20)
    cluster.crash(2)
    cluster.ring.form({1, 2})
    cluster.settle()
    for _ in range(40):
        cluster.pass_time(0.5)
        for _ in range(6):
            assert len(set(cluster.versions(1, 2))) == 1
            cluster.step(1)
            cluster.step(2)
    assert cluster.versions(1, 2) == [1, 1]


def test_without_quorum_nothing_is_committed() -> None:
    cluster = three()
    ident = cluster.propose(2, cluster.change(2, token="1500"))
    cluster.step(2)
    cluster.around[1].quorate = lambda: False  # type: ignore[method-assign]
    cluster.wait(12)
    assert (cluster.outcomes[ident].accepted, cluster.outcomes[ident].why) == (False, "quorum was lost")
    assert cluster.versions() == [1, 1, 1]


def test_a_device_that_makes_quorum_decides_on_no_change() -> None:
    device = "provider: corosync_votequorum\n    device {\n        model: net\n        votes: 1\n    }\n"
    text = cluster_text({1: 1, 2: 1}).replace("provider: corosync_votequorum\n", device)
    cluster = ChangesCluster({1: 1, 2: 1}, text)
    cluster.device_votes_for = {1}
    cluster.ring.form({1})
    cluster.settle()
    assert cluster.around[1].quorate()
    refused = cluster.propose(1, cluster.change(1, token="1500"))
    cluster.wait(12)
    outcome = cluster.outcomes[refused]
    assert (outcome.accepted, outcome.quorate) == (False, False)
    assert "1 of 2 are here: the quorum device's vote does not count" in outcome.why
    cluster.ring.form({1, 2})
    cluster.settle()
    made = cluster.propose(1, cluster.change(1, token="1500"))
    cluster.settle()
    assert cluster.outcomes[made].accepted


def test_who_is_there_alone_does_not_take_itself_out() -> None:
    """Nobody who stays would have judged the votes, and the others could never have quorum again."""
    cluster = ChangesCluster({1: 3, 2: 1})
    cluster.ring.form({1})
    cluster.settle()
    ident = cluster.propose(1, cluster.change(1, remove_node(cluster.service(1).current().text, 1, 2)))
    cluster.settle()
    assert "none of the nodes that are here" in cluster.outcomes[ident].reasons[1]
    assert cluster.versions()[0] == 1
