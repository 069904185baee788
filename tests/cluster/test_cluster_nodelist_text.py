"""Edits of the configuration's text: exactly the change that was asked for, and everything else as it was."""

import hashlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joining_world import identity, listed, loaded, new_text
from totemd.cluster.nodelist_text import (
    ListedNode,
    add_node,
    check_cluster_name,
    check_node_name,
    drop_node,
    new_cluster,
    remove_node,
    set_votes,
)
from totemd.config.model import Configuration
from totemd.config.parser import Section, parse
from totemd.errors import OperatorError


def settings_of(text: str) -> list[tuple[str, str, str]]:
    """Every setting, as (path, key, value), in order."""
    found: list[tuple[str, str, str]] = []

    def walk(section: Section) -> None:
        found.extend((section.path, setting.key, setting.value) for setting in section.settings)
        for inner in section.sections:
            walk(inner)

    walk(parse(text, "t"))
    return found


def comments(text: str) -> list[str]:
    return [line for line in text.split("\n") if line.strip().startswith("#")]


@st.composite
def texts(draw: st.DrawFn) -> str:
    """Configurations of nodes 1 to N, written in any way: order, blanks, comments, other sections."""
    count = draw(st.integers(1, 5))
    indent = draw(st.sampled_from(["", "  ", "\t", "        "]))
    noise = st.sampled_from(["", "", "# a comment { with } braces: all", "   ", "\t# another"])

    def lines(*wanted: str) -> list[str]:
        result = []
        for line in wanted:
            result.append(draw(noise))
            result.append(draw(st.sampled_from(["", indent])) + line + draw(st.sampled_from(["", " ", "\r"])))
        return result

    nodes = []
    for number in range(1, count + 1):
        node = listed(number)
        keys = [f"nodeid: {number}", f"name: {node.name}", f"ring0_addr:{node.address}", f"uuid : {node.uuid.hex()}"]
        if draw(st.booleans()):
            keys.append(f"quorum_votes: {draw(st.integers(1, 9))}")
        nodes.append(lines("node {", *draw(st.permutations(keys)), "}"))
    removed = lines("removed {", "node {", "nodeid: 77", "version: 3", "}", "}") if draw(st.booleans()) else []
    parts = [
        lines("totem {", "version: 2", "transport: udpu", "cluster_name: sea", "token: 2000", "}"),
        lines("nodelist {") + [line for node in nodes for line in node] + lines("}"),
        lines("quorum {", "provider: corosync_votequorum", "}"),
        lines("logging:{", "to_syslog: no", "}"),
        removed,
    ]
    return "\n".join(line for part in draw(st.permutations(parts)) for line in part) + draw(st.sampled_from(["", "\n"]))


def unchanged(before: str, after: str, *, without: int | None = None) -> bool:
    """Whether all comments are still there, but those inside the node that went."""
    kept = [comment for comment in comments(before) if comment in comments(after)]
    return without is not None or comments(before) == comments(after) == kept


@given(text=texts(), votes=st.integers(0, 9), joining=st.none() | st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_adding_a_node_adds_that_node(text: str, votes: int, joining: int | None) -> None:
    node = listed(9, votes=votes, joining=joining)
    after = add_node(text, node)
    added = [entry for entry in settings_of(after) if entry not in settings_of(text)]
    expected = [("nodeid", "9"), ("name", "n9"), ("ring0_addr", node.address), ("uuid", node.uuid.hex())]
    assert set(expected) < {(key, value) for path, key, value in added if path == "nodelist.node"}
    assert len(settings_of(after)) - len(settings_of(text)) == 5 + (votes != 1 or joining is not None) + (
        joining is not None
    )
    assert unchanged(text, after)
    before, now = loaded(text), loaded(after)
    assert now.nodes[:-1] == before.nodes
    assert (now.nodes[-1].uuid, now.nodes[-1].public_key) == (node.uuid.hex(), node.public_key)
    assert now.nodes[-1].quorum_votes == votes
    # And taken out again without a trace, it is the text that it was.
    assert drop_node(after, 9) == text
    with pytest.raises(OperatorError, match="has a node 9 already"):
        add_node(after, node)


@given(text=texts(), which=st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_removing_a_node_leaves_its_tombstone(text: str, which: int) -> None:
    before = loaded(text)
    if which > len(before.nodes):
        with pytest.raises(OperatorError, match=f"no node {which}"):
            remove_node(text, which, 12)
        return
    after = remove_node(text, which, 12)
    others = [node.nodeid for node in before.nodes if node.nodeid != which]
    entries = settings_of(after)
    assert [value for path, key, value in entries if (path, key) == ("nodelist.node", "nodeid")] == [
        str(nodeid) for nodeid in others
    ]
    if others:
        now = loaded(after, f"192.0.2.{others[0]}")
        assert (now.removed[-1].nodeid, now.removed[-1].name, now.removed[-1].version) == (which, f"n{which}", 12)
        assert now.removed[-1].uuid == identity(which).uuid.hex()
        assert now.removed[:-1] == before.removed
    kept = [entry for entry in settings_of(text) if entry[0] not in ("nodelist.node", "removed.node")]
    assert [entry for entry in entries if entry[0] not in ("nodelist.node", "removed.node")] == kept


@given(text=texts(), which=st.integers(1, 5), votes=st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_setting_votes_sets_votes(text: str, which: int, votes: int) -> None:
    before = loaded(text)
    if which > len(before.nodes):
        with pytest.raises(OperatorError, match=f"no node {which}"):
            set_votes(text, which, votes)
        return
    after = set_votes(text, which, votes)
    now = loaded(after)
    assert {node.nodeid: node.quorum_votes for node in now.nodes} == {
        node.nodeid: votes if node.nodeid == which else node.quorum_votes for node in before.nodes
    }
    assert unchanged(text, after)
    rest = [entry for entry in settings_of(after) if entry[1] != "quorum_votes"]
    assert rest == [entry for entry in settings_of(text) if entry[1] != "quorum_votes"]
    assert set_votes(after, which, votes) == after


def test_counting_a_joining_node_forgets_that_it_joined() -> None:
    text = add_node(new_text(), listed(2, votes=0, joining=3))
    assert "joining_votes: 3" in text
    after = set_votes(text, 2, 3)
    assert "joining" not in after
    assert after == add_node(new_text(), listed(2, votes=3))


def test_a_new_cluster_is_valid_without_a_warning() -> None:
    configuration = loaded(new_text())
    assert configuration.warnings == ()
    assert configuration.cluster_id == bytes(range(16))
    assert configuration.seal is not None
    assert (configuration.config_version, configuration.quorum.expected_votes) == (1, 1)


def test_a_new_cluster_with_everything() -> None:
    text = new_cluster(
        name="sea",
        cluster_id=b"c" * 16,
        node=ListedNode(7, "hake", "2001:db8::1", b"u" * 16, b"k" * 32, 3),
        transport="udp",
        mcast_address="ff15::99",
        mcast_port=6001,
        token_ms=2000,
        join_port=7000,
        keyfile="/etc/sea.key",
    ).replace("transport: udp", "transport: udp\n    ip_version: ipv6")
    configuration: Configuration = loaded(text, "2001:db8::1")
    assert (configuration.transport.mcast_address, configuration.transport.port) == ("ff15::99", 6001)
    assert (configuration.local.nodeid, configuration.local.quorum_votes) == (7, 3)
    assert (configuration.join_port, configuration.totem.token_timeout_s) == (7000, 2.0)
    assert configuration.seal is not None
    assert configuration.seal.keyfile == "/etc/sea.key"


@pytest.mark.parametrize(("name", "length"), [("", 0), ("a-name-17-chars-1", 17), ("abcdefghijklmnop", 16)])
def test_cluster_names_have_a_length(name: str, length: int) -> None:
    with pytest.raises(OperatorError, match=f"has {length} characters" if length else "is no cluster name"):
        check_cluster_name(name)
    check_cluster_name("abcdefghijklmno")


@pytest.mark.parametrize("name", ["-a", "a-", "a b", "a_b", "ä", "a\n", "a{", "a."])
def test_characters_of_names(name: str) -> None:
    with pytest.raises(OperatorError):
        check_cluster_name(name)
    with pytest.raises(OperatorError):
        check_node_name(name if name != "a_b" else "a_b")


EVIL = ["x\n}\ntotem {\nsecauth: off\n}", "a{", "a b", "", "\x00", "}"]


@pytest.mark.parametrize("value", EVIL)
@pytest.mark.parametrize(
    "make",
    [
        lambda value: ListedNode(9, value, "192.0.2.9", b"u" * 16, b"k" * 32),
        lambda value: ListedNode(9, "n9", value, b"u" * 16, b"k" * 32),
    ],
)
def test_values_cannot_write_lines_of_their_own(value: str, make: Callable[[str], ListedNode]) -> None:
    with pytest.raises(OperatorError):
        add_node(new_text(), make(value))


@pytest.mark.parametrize("value", EVIL)
def test_options_cannot_write_lines_of_their_own(value: str) -> None:
    for key in ("transport", "mcast_address", "keyfile"):
        with pytest.raises(OperatorError):
            new_cluster(name="sea", cluster_id=bytes(16), node=listed(1), **{key: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("nodeid", [0, -1, 2**32])
def test_ids_out_of_range(nodeid: int) -> None:
    with pytest.raises(OperatorError, match="is no node id"):
        add_node(new_text(), ListedNode(nodeid, "n", "192.0.2.9", b"u" * 16, b"k" * 32))


def test_texts_that_are_no_configuration() -> None:
    for text in ("", "totem {", "nodelist {\n}\n}"):
        with pytest.raises(OperatorError):
            add_node(text, listed(2))


def test_a_nodelist_that_is_full() -> None:
    nodes = "".join(f"node {{\nnodeid: {number}\n}}\n" for number in range(1, 385))
    with pytest.raises(OperatorError, match="a ring has no more"):
        add_node(f"nodelist {{\n{nodes}}}\n", listed(385 % 200))


def test_a_name_with_blanks_survives_in_a_tombstone() -> None:
    text = add_node(new_text(), listed(2)).replace("name: n2", "name: my node")
    removed = loaded(remove_node(text, 2, 5)).removed
    assert [(tomb.nodeid, tomb.name, tomb.version) for tomb in removed] == [(2, "my node", 5)]


def test_hashes_of_identities_differ() -> None:
    """The lab's identities are all different, or the tests above would show little."""
    assert len({hashlib.sha256(identity(number).uuid).digest() for number in range(1, 50)}) == 49
