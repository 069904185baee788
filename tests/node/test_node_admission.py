"""What a node says to those who show their credentials, by its configuration."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from small_configuration import small_configuration
from totemd.config.model import Configuration, RemovedNode
from totemd.node.admission import Admission
from totemd.node.sealing import cluster_id_of
from totemd.seal.messages import Credentials
from totemd.seal.verdict import Reason

CLUSTER = bytes(range(16))
UUIDS = [bytes([n]) * 16 for n in range(5)]
DIGEST, OTHER_DIGEST = b"d" * 16, b"e" * 16


def managed(version: int = 5) -> Configuration:
    """Nodes 1 to 3 with uuids; node 4 was removed."""
    plain = small_configuration("10.0.0.1", "10.0.0.2", "10.0.0.3", totem=f"config_version: {version}")
    nodes = tuple(replace(node, uuid=UUIDS[node.nodeid].hex()) for node in plain.nodes)
    removed = (RemovedNode(4, "pike", UUIDS[4].hex(), 3),)
    return replace(plain, nodes=nodes, local=nodes[0], cluster_id=CLUSTER, removed=removed)


def admission(configuration: Configuration, digest: bytes = DIGEST) -> Admission:
    made = Admission(configuration, cluster_id_of(configuration))
    made.digest = digest
    return made


def shown(nodeid: int = 2, **changed: object) -> Credentials:
    """What a good node shows, but for what is changed."""
    plain = Credentials(CLUSTER, UUIDS[nodeid] if nodeid < 5 else b"x" * 16, nodeid, f"n{nodeid}", 5, DIGEST, 0)
    return replace(plain, **changed)  # type: ignore[arg-type]


CASES = [
    ({}, None),
    ({"name": "another name"}, None),
    ({"features": 255}, None),
    ({"cluster_id": b"z" * 16}, Reason.OTHER_CLUSTER),
    ({"nodeid": 4}, Reason.REMOVED),
    ({"nodeid": 4, "uuid": b"y" * 16}, Reason.REMOVED),
    ({"nodeid": 4, "config_version": 9}, Reason.REMOVED),
    ({"uuid": UUIDS[4]}, Reason.REMOVED),
    ({"nodeid": 9}, Reason.UNLISTED),
    ({"nodeid": 9, "config_version": 4}, Reason.UNLISTED),
    ({"nodeid": 9, "config_version": 6}, Reason.NEWER),
    ({"uuid": b"w" * 16}, Reason.WRONG_IDENTITY),
    ({"uuid": bytes(16)}, Reason.WRONG_IDENTITY),
    ({"uuid": UUIDS[3]}, Reason.WRONG_IDENTITY),
    ({"uuid": b"w" * 16, "config_version": 4}, Reason.WRONG_IDENTITY),
    ({"config_version": 4}, Reason.STALE),
    ({"config_version": 4, "config_digest": OTHER_DIGEST}, Reason.STALE),
    ({"config_version": 6}, Reason.NEWER),
    ({"config_digest": OTHER_DIGEST}, Reason.CONFLICT),
    ({"config_digest": bytes(16)}, None),
]


@pytest.mark.parametrize(("changed", "reason"), CASES)
def test_verdicts_of_a_managed_cluster(changed: dict[str, object], reason: Reason | None) -> None:
    verdict = admission(managed()).judge(shown(**{"nodeid": 2, **changed}))  # type: ignore[arg-type]
    assert verdict.reason is reason
    if reason is not None:
        assert verdict.text
        assert verdict.remedy


def test_an_unknown_digest_is_compared_with_nothing() -> None:
    assert admission(managed(), digest=bytes(16)).judge(shown(config_digest=OTHER_DIGEST)).admitted


def test_by_hand_made_clusters_ask_for_the_nodelist_alone() -> None:
    """Versions are whatever people write; nobody has a uuid."""
    plain = small_configuration("10.0.0.1", "10.0.0.2", totem="config_version: 5")
    judge = admission(plain).judge
    ident = cluster_id_of(plain)
    for version in (0, 5, 9):
        assert judge(
            shown(cluster_id=ident, uuid=bytes(16), config_version=version, config_digest=OTHER_DIGEST)
        ).admitted
    assert judge(shown(cluster_id=ident, nodeid=3)).reason is Reason.UNLISTED


def test_rings_with_one_key_are_told_apart_by_their_names() -> None:
    plain = small_configuration("10.0.0.1")
    assert cluster_id_of(plain) == cluster_id_of(plain)
    assert len(cluster_id_of(plain)) == 16
    assert cluster_id_of(plain) != cluster_id_of(replace(plain, cluster_name="other"))
    assert cluster_id_of(managed()) == CLUSTER


def test_members_admit_one_another() -> None:
    mine = managed()
    for local in mine.nodes:
        theirs = admission(replace(mine, local=local))
        assert admission(mine).judge(theirs.credentials()).admitted


@given(st.integers(0, 9), st.integers(0, 9), st.sampled_from((DIGEST, OTHER_DIGEST)))
def test_two_nodes_never_both_think_that_the_other_has_to_catch_up(one: int, two: int, digest: bytes) -> None:
    mine, theirs = managed(one), managed(two)
    first = admission(mine)
    second = admission(replace(theirs, local=theirs.nodes[1]), digest)
    verdicts = first.judge(second.credentials()).reason, second.judge(first.credentials()).reason
    expected = {
        (Reason.STALE, Reason.NEWER): one > two,
        (Reason.NEWER, Reason.STALE): one < two,
        (Reason.CONFLICT, Reason.CONFLICT): one == two and digest != DIGEST,
        (None, None): one == two and digest == DIGEST,
    }
    assert expected[verdicts]
