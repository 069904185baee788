"""Which votes and quorum options may follow which: what two components could both have quorum by is refused."""

import pytest

from changes_cluster import ChangesCluster, cluster_text
from totemd.config.load import load
from totemd.config.model import Configuration
from totemd.services.changes.majorities import problem


def configuration(votes: dict[int, int], quorum: str = "", node: str = "") -> Configuration:
    """With more lines for section quorum, and for the last node."""
    text = cluster_text(votes).replace("corosync_votequorum\n", f"corosync_votequorum\n{quorum}\n")
    text = text.replace("    }\n}\nquorum", f"{node}\n    }}\n}}\nquorum")
    return load(text, file="test", resolve=lambda name, version: [name], local_addresses=["10.0.0.1"])


FOUR = {1: 1, 2: 1, 3: 1, 4: 1}


@pytest.mark.parametrize("expected", [1, 3])
def test_fewer_expected_votes_than_there_are_votes_are_refused(expected: int) -> None:
    after = configuration(FOUR, f"expected_votes: {expected}")
    assert "leave the key out" in (problem(configuration(FOUR), after, FOUR) or "")


def test_as_many_expected_votes_as_there_are_or_one_more_may_be_given() -> None:
    for expected in (4, 5):
        assert problem(configuration(FOUR), configuration(FOUR, f"expected_votes: {expected}"), FOUR) is None


def test_a_node_joins_only_if_its_votes_to_come_are_expected() -> None:
    five = {**FOUR, 5: 0}
    before = configuration(FOUR, "expected_votes: 4")
    after = configuration(five, "expected_votes: 4", "joining_votes: 1")
    assert "fewer than the 5 votes" in (problem(before, after, FOUR) or "")
    assert problem(configuration(FOUR), configuration(five, node="joining_votes: 1"), FOUR) is None


LOWEST = "auto_tie_breaker: 1"
HIGHEST = f"{LOWEST}\nauto_tie_breaker_node: highest"
LISTED = f"{LOWEST}\nauto_tie_breaker_node: 3 4"


@pytest.mark.parametrize(("before", "after"), [(LOWEST, HIGHEST), (HIGHEST, LISTED), (LISTED, LISTED + " 1")])
def test_another_tie_breaker_is_refused_while_nodes_run_with_the_old_one(before: str, after: str) -> None:
    found = problem(configuration(FOUR, before), configuration(FOUR, after), FOUR)
    assert "switch auto_tie_breaker off" in (found or "")
    for one, other in ((before, ""), ("", after), (after, after)):
        assert problem(configuration(FOUR, one), configuration(FOUR, other), FOUR) is None


def test_nodes_come_and_go_with_a_tie_breaker_too() -> None:
    five = {**FOUR, 5: 1}
    wait = f"{LOWEST}\nwait_for_all: 1"
    assert problem(configuration(FOUR, wait), configuration(five, wait), five) is None
    assert problem(configuration(five, wait), configuration(FOUR, wait), FOUR) is None


def test_without_a_provider_the_votes_are_counted() -> None:
    text = cluster_text(FOUR).replace("    provider: corosync_votequorum\n", "")
    cluster = ChangesCluster(FOUR, text)
    cluster.ring.form(set(FOUR))
    cluster.settle()
    ident = cluster.propose(1, cluster.change(1, token="1500"))
    cluster.settle()
    assert cluster.outcomes[ident].accepted
