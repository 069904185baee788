"""Sealed and managed clusters: ciphers, key file, ids of cluster and nodes, tombstones."""

from base64 import b64encode
from collections.abc import Callable

import pytest

from totemd.config import Configuration, RemovedNode, SealSettings, compare
from totemd.config.model import CmapEntry, CmapType
from totemd.errors import ConfigError

Load = Callable[..., Configuration]
Conf = Callable[..., str]

TOTEM = "transport: udp\ncluster_name: test\n"
CLUSTER_ID = "00112233445566778899AABBCCDDEEFF"
UUIDS = ("0" * 31 + "1", "0" * 31 + "2")
KEY = b64encode(bytes(range(32))).decode()


def nodes(first: str = "", second: str = "") -> str:
    """Two nodes with further lines."""
    return (
        f"node {{\nring0_addr: 10.0.0.1\nnodeid: 1\nname: hake\n{first}}}\n"
        f"node {{\nring0_addr: 10.0.0.2\nnodeid: 2\nname: ling\n{second}}}\n"
    )


def tomb(*lines: str) -> str:
    return "removed {\n" + "".join(f"node {{\n{line}\n}}\n" for line in lines) + "}"


@pytest.mark.parametrize(
    ("lines", "suite"),
    [
        ("", None),
        ("secauth: off", None),
        ("crypto_cipher: none\ncrypto_hash: none", None),
        ("secauth: on", "aes256"),
        ("crypto_cipher: aes128", "aes128"),
        ("crypto_cipher: aes192\nsecauth: off", "aes192"),
        ("crypto_cipher: chacha20\nsecauth: on", "chacha20"),
        (f"cluster_id: {CLUSTER_ID}", "aes256"),
        (f"cluster_id: {CLUSTER_ID}\ncrypto_cipher: aes128", "aes128"),
        (f"cluster_id: {CLUSTER_ID}\ncrypto_cipher: none", None),
    ],
)
def test_what_seals_a_ring(load_conf: Load, conf: Conf, lines: str, suite: str | None) -> None:
    loaded = load_conf(conf(totem=TOTEM + lines))
    assert loaded.seal == (None if suite is None else SealSettings(suite, "/etc/corosync/authkey"))


def test_the_key_file_is_named(load_conf: Load, conf: Conf) -> None:
    loaded = load_conf(conf(totem=TOTEM + "secauth: on\nkeyfile: /srv/key"))
    assert loaded.seal == SealSettings("aes256", "/srv/key")
    assert loaded.warnings == ()


def test_a_hash_beside_a_cipher_means_nothing_and_is_warned_of(load_conf: Load, conf: Conf) -> None:
    loaded = load_conf(conf(totem=TOTEM + "crypto_cipher: aes256\ncrypto_hash: sha256"))
    assert loaded.seal is not None
    (warning,) = loaded.warnings
    assert (warning.line, warning.key) == (6, "totem.crypto_hash")
    assert "authenticates as well" in warning.text


def test_an_inline_key_is_warned_of_and_shown_to_nobody(load_conf: Load, conf: Conf) -> None:
    loaded = load_conf(conf(totem=TOTEM + "secauth: on\nkey: geheim"))
    (warning,) = loaded.warnings
    assert warning.key == "totem.key"
    assert "geheim" not in f"{loaded.entries} {warning}"


ERRORS = [
    ("crypto_cipher: none", "totem.crypto_cipher", "secauth is on", {"totem": "secauth: on\ncrypto_cipher: none"}),
    ("crypto_hash: sha1", "totem.crypto_hash", "crypto_cipher: aes256", {"totem": "crypto_hash: sha1"}),
    ("secauth: off", "totem.secauth", "sealed", {"totem": f"secauth: off\ncluster_id: {CLUSTER_ID}"}),
    ("keyfile: key", "totem.keyfile", "begins with /", {"totem": "secauth: on\nkeyfile: key"}),
    ("cluster_id: 12", "totem.cluster_id", "32 hex digits", {"totem": "cluster_id: 12"}),
    (f"cluster_id: {'0' * 32}", "totem.cluster_id", "all zero", {"totem": f"cluster_id: {'0' * 32}"}),
    ("join_port: 0", "totem.join_port", "(1..65535)", {"totem": "join_port: 0"}),
    ("uuid: hake", "nodelist.node.0.uuid", "32 hex digits", {"nodes": nodes("uuid: hake\n")}),
    (
        f"public_key: {'A' * 43}=",
        "nodelist.node.1.public_key",
        "nothing can be sealed",
        {"nodes": nodes(second=f"public_key: {'A' * 43}=\n")},
    ),
    ("public_key: AAAA", "nodelist.node.1.public_key", "of 32 bytes", {"nodes": nodes(second="public_key: AAAA\n")}),
    ("public_key: é", "nodelist.node.1.public_key", "of 32 bytes", {"nodes": nodes(second="public_key: é\n")}),
    ("nodeid: 2", "nodelist.node.1.nodeid", "removed node at line", {"nodes": nodes(), "rest": tomb("nodeid:  2")}),
    (
        f"uuid: {UUIDS[1].upper()}",
        "nodelist.node.1.uuid",
        "also the uuid of the removed node at line",
        {"nodes": nodes(second=f"uuid: {UUIDS[1]}\n"), "rest": tomb(f"nodeid: 9\nuuid:  {UUIDS[1]}")},
    ),
    ("name: pike", "removed.node.0.nodeid", "missing", {"rest": tomb("name: pike")}),
    ("nodeid:  9", "removed.node.1.nodeid", "also the id of the removed", {"rest": tomb("nodeid: 9", "nodeid:  9")}),
    ("version: -1", "removed.node.0.version", "range", {"rest": tomb("nodeid: 9\nversion: -1")}),
]


@pytest.mark.parametrize(("marker", "key", "words", "arguments"), ERRORS)
def test_errors_name_file_line_and_key(
    load_conf: Load, conf: Conf, marker: str, key: str, words: str, arguments: dict[str, str]
) -> None:
    if "totem" in arguments:
        arguments = {**arguments, "totem": TOTEM + arguments["totem"]}
    text = conf(**arguments)
    with pytest.raises(ConfigError) as caught:
        load_conf(text)
    assert caught.value.key == key
    assert text.split("\n")[caught.value.line - 1] in (marker, "node {")
    assert words in caught.value.text


def test_two_nodes_cannot_have_one_uuid(load_conf: Load, conf: Conf) -> None:
    with pytest.raises(ConfigError, match=r"^corosync\.conf:17: nodelist\.node\.1\.uuid: .*node at line 11; each"):
        load_conf(conf(nodes=nodes(f"uuid: {UUIDS[0]}\n", f"uuid: {UUIDS[0]}\n")))


def test_a_managed_cluster(load_conf: Load, conf: Conf) -> None:
    text = conf(
        totem=f"{TOTEM}cluster_id: {CLUSTER_ID}\njoin_port: 7000",
        nodes=nodes(f"uuid: {'A' * 32}\npublic_key: {KEY}\n", f"uuid: {UUIDS[1]}\nquorum_votes: 0\n"),
        rest=tomb(f"nodeid: 4\nname: pike\nuuid: {'B' * 32}\nversion: 12", "nodeid: 3"),
    )
    loaded = load_conf(text)
    assert (loaded.cluster_id, loaded.join_port) == (bytes.fromhex(CLUSTER_ID), 7000)
    assert [(node.uuid, node.public_key) for node in loaded.nodes] == [("a" * 32, bytes(range(32))), (UUIDS[1], None)]
    assert loaded.removed == (RemovedNode(4, "pike", "b" * 32, 12), RemovedNode(3, None, None, 0))
    assert loaded.entries["removed.node.0.nodeid"] == CmapEntry(CmapType.U32, 4)
    assert loaded.warnings == ()


def test_a_hand_made_cluster_has_none_of_it(load_conf: Load, conf: Conf) -> None:
    loaded = load_conf(conf())
    assert (loaded.cluster_id, loaded.seal, loaded.removed, loaded.join_port) == (None, None, (), 5406)
    assert loaded.local.uuid is None


def test_managed_nodes_without_uuids_are_warned_of(load_conf: Load, conf: Conf) -> None:
    loaded = load_conf(conf(count=1, totem=f"{TOTEM}cluster_id: {CLUSTER_ID}"))
    assert [(warning.key, warning.line) for warning in loaded.warnings] == [("nodelist.node.0.uuid", 8)]


def test_no_votes_are_no_votes(load_conf: Load, conf: Conf) -> None:
    loaded = load_conf(conf(nodes=nodes(second="quorum_votes: 0\n")))
    assert [node.quorum_votes for node in loaded.nodes] == [1, 0]
    assert (loaded.quorum.expected_votes, loaded.quorum.votes) == (1, 1)
    assert load_conf(conf(nodes=nodes("quorum_votes: 0\n"))).quorum.votes == 0
    with pytest.raises(ConfigError, match="no node has a vote"):
        load_conf(conf(nodes=nodes("quorum_votes: 0\n", "quorum_votes: 0\n")))


@pytest.mark.parametrize("name", ["4", "pike"])
def test_a_removed_node_is_told_so(load_conf: Load, conf: Conf, name: str) -> None:
    text = conf(rest=tomb("nodeid: 4\nname: pike\nversion: 12"))
    with pytest.raises(ConfigError, match=r"removed\.node\.0\.nodeid: this node, 4 \(pike\), .* in version 12"):
        load_conf(text, node=name)
    again = load_conf(text.replace("name: n3", "name: pike"), node="pike", local=("10.0.0.3",))
    assert again.local.nodeid == 3


def test_tombstones_are_bounded(load_conf: Load, conf: Conf) -> None:
    with pytest.raises(ConfigError, match=r"removed: more than 1000 removed nodes"):
        load_conf(conf(rest=tomb(*(f"nodeid: {number}" for number in range(10, 1011)))))


def test_what_a_reload_changes(load_conf: Load, conf: Conf) -> None:
    old = load_conf(conf())
    new = load_conf(
        conf(
            totem=f"{TOTEM}cluster_id: {CLUSTER_ID}\njoin_port: 7000\nkeyfile: /k",
            nodes=nodes(f"uuid: {UUIDS[0]}\n"),
            rest=tomb("nodeid: 3\nversion: 2"),
        )
    )
    plan = compare(old, new)
    assert plan.accepted
    assert {change.key for change in plan.kept} == {"totem.cluster_id", "totem.keyfile"}
    now = plan.configuration
    assert (now.cluster_id, now.seal, now.join_port) == (None, None, 7000)
    assert now.removed == (RemovedNode(3, None, None, 2),)
    assert now.local.uuid == UUIDS[0]


def test_a_node_keeps_its_uuid_while_it_runs(load_conf: Load, conf: Conf) -> None:
    old = load_conf(conf(nodes=nodes(f"uuid: {UUIDS[0]}\n")))
    plan = compare(old, load_conf(conf(nodes=nodes(f"uuid: {UUIDS[1]}\n"))))
    (error,) = plan.errors
    assert (error.key, error.line) == ("nodelist.node.0.uuid", 11)
    assert compare(old, load_conf(conf(nodes=nodes(f"uuid: {UUIDS[0]}\n", f"uuid: {UUIDS[1]}\n")))).accepted
