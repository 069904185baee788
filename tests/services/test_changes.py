"""The service "changes": one change after the other, everywhere at once."""

from changes_cluster import ChangesCluster


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
