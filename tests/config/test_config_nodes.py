"""The nodelist and the search for the local node."""

from collections.abc import Callable

import pytest

from totemd.config import Configuration
from totemd.errors import ConfigError

Load = Callable[..., Configuration]
Conf = Callable[..., str]


def _node(address: str, nodeid: int | None = None, name: str | None = None, more: str = "") -> str:
    lines = [f"ring0_addr: {address}"] if address else []
    lines += [f"nodeid: {nodeid}"] if nodeid is not None else []
    lines += [f"name: {name}"] if name else []
    return "node {\n" + "\n".join(lines) + f"\n{more}\n}}\n"


LOOPBACK = "".join(_node(f"127.0.0.{n}", n, f"n{n}") for n in (1, 2, 3))

BAD_LISTS = [
    ("nodelist", "there is no node", ""),
    ("nodelist.node.1.nodeid", "2 is also the id of the node at line 9", _node("10.0.0.1", 2) + _node("10.0.0.2", 2)),
    ("nodelist.node.1.ring0_addr", "also the address", _node("10.0.0.1", 1) + _node("alpha", 2)),
    ("nodelist.node.0.nodeid", "(1..4294967295)", _node("10.0.0.1", 0)),
    ("nodelist.node.0.ring0_addr", "missing", _node("", 1)),
    ("nodelist.node.0.ring0_addr", "not the address of one machine", _node("239.1.1.1", 1)),
    ("nodelist.node.0.ring0_addr", "not the address of one machine", _node("0.0.0.0", 1)),
    (
        "nodelist.node.1.ring0_addr",
        'node lost: the name "gamma" does not resolve (Name or service not known)',
        _node("10.0.0.1", 1) + _node("gamma", 2, "lost"),
    ),
    ("nodelist.node.0.ring0_addr", "has no address", _node("empty", 1)),
    ("nodelist.node.0.ring0_addr", "has only fd00::6", _node("six", 1)),
    ("nodelist.node.0.ring0_addr", "write ip_version: ipv6", _node("fd00::1", 1)),
    ("nodelist.node.0.ring1_addr", "has one link", _node("10.0.0.1", 1, more="ring1_addr: 10.1.0.1")),
    ("nodelist.node.0.quorum_votes", "(0..4294967295)", _node("10.0.0.1", 1, more="quorum_votes: many")),
    ("nodelist.node.1.ring0_addr", "loopback address 127.0.1.1", _node("10.0.0.1", 1) + _node("debian", 2)),
]


@pytest.mark.parametrize(("key", "words", "nodes"), BAD_LISTS, ids=[words for _, words, _ in BAD_LISTS])
def test_unusable_nodelists(load_conf: Load, conf: Conf, key: str, words: str, nodes: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_conf(conf(nodes=nodes))
    assert caught.value.key == key
    assert words in caught.value.text
    assert caught.value.line > 0


def test_mixed_families(load_conf: Load, conf: Conf) -> None:
    nodes = _node("10.0.0.1", 1) + _node("fd00::2", 2)
    with pytest.raises(ConfigError, match=r"node\.1\.ring0_addr: fd00::2 and 10\.0\.0\.1 .*different IP versions"):
        load_conf(conf(totem="transport: udpu", nodes=nodes))


def test_ipv6_needs_node_ids(load_conf: Load, conf: Conf) -> None:
    with pytest.raises(ConfigError, match=r"node\.0\.nodeid: missing; nodes with IPv6"):
        load_conf(conf(totem="transport: udpu", nodes=_node("fd00::1")))


def test_node_ids_from_addresses(load_conf: Load, conf: Conf) -> None:
    nodes = _node("10.0.0.1") + _node("192.168.0.1")
    text = conf(nodes=nodes)
    assert [node.nodeid for node in load_conf(text).nodes] == [0x0A000001, 0xC0A80001]
    cleared = text.replace("transport: udp", "transport: udp\nclear_node_high_bit: yes")
    assert [node.nodeid for node in load_conf(cleared).nodes] == [0x0A000001, 0x40A80001]


def test_a_second_nodelist_is_refused(load_conf: Load, conf: Conf) -> None:
    with pytest.raises(ConfigError, match="a second nodelist"):
        load_conf(conf(rest="nodelist {\n" + _node("10.0.0.9", 9) + "}"))


def test_too_many_nodes(load_conf: Load, conf: Conf) -> None:
    nodes = "".join(_node(f"10.0.{n // 250}.{n % 250 + 1}", n + 1) for n in range(385))
    with pytest.raises(ConfigError, match="more than 384 nodes"):
        load_conf(conf(nodes=nodes))


def test_equal_names_are_a_warning(load_conf: Load, conf: Conf) -> None:
    loaded = load_conf(conf(nodes=_node("10.0.0.1", 1, "x") + _node("10.0.0.2", 2, "x")))
    assert [warning.key for warning in loaded.warnings] == ["nodelist.node.1.name"]


def test_local_node_by_address(load_conf: Load, conf: Conf) -> None:
    assert load_conf(conf(), local=["192.0.2.1", "10.0.0.2"]).local.nodeid == 2


def test_a_machine_that_is_not_listed(load_conf: Load, conf: Conf) -> None:
    with pytest.raises(ConfigError) as caught:
        load_conf(conf(count=2), local=["192.0.2.1", "fe80::9"], hostname="stranger")
    assert caught.value.key == "nodelist"
    assert caught.value.line > 0
    for words in ("192.0.2.1", "fe80::9", '"stranger"', "n1 (10.0.0.1)", "n2 (10.0.0.2)", "Add a node"):
        assert words in caught.value.text


def test_a_listed_machine_whose_address_is_on_no_interface(load_conf: Load, conf: Conf) -> None:
    with pytest.raises(ConfigError) as caught:
        load_conf(conf(), local=["192.0.2.1"], hostname="n2")
    assert caught.value.key == "nodelist.node.1.ring0_addr"
    assert "no interface has the address 10.0.0.2; this machine has 192.0.2.1" in caught.value.text


def test_long_lists_are_cut(load_conf: Load, conf: Conf) -> None:
    with pytest.raises(ConfigError, match="and 84 more"):
        load_conf(conf(count=100), local=["192.0.2.1"])


def test_several_local_nodes_need_a_choice(load_conf: Load, conf: Conf) -> None:
    text = conf(nodes=LOOPBACK)
    with pytest.raises(ConfigError, match=r"3 nodes have an address of this machine .* --node"):
        load_conf(text)
    with pytest.raises(ConfigError, match="--node"):
        load_conf(conf(), local=["10.0.0.1", "10.0.0.2"])


@pytest.mark.parametrize("override", ["n2", "2", "127.0.0.2"])
def test_the_choice(load_conf: Load, conf: Conf, override: str) -> None:
    assert load_conf(conf(nodes=LOOPBACK), node=override).local.nodeid == 2


def test_a_choice_that_is_no_node(load_conf: Load, conf: Conf) -> None:
    with pytest.raises(ConfigError, match=r'--node "n9" is no node .*n1 \(127\.0\.0\.1\)'):
        load_conf(conf(nodes=LOOPBACK), node="n9")


def test_a_choice_must_be_this_machine(load_conf: Load, conf: Conf) -> None:
    with pytest.raises(ConfigError, match=r"according to --node, but no interface has the address 10\.0\.0\.3"):
        load_conf(conf(), node="n3")


@pytest.mark.parametrize("hostname", ["n2", "N2", "n2.example.org"])
def test_the_host_name_decides_among_several(load_conf: Load, conf: Conf, hostname: str) -> None:
    assert load_conf(conf(nodes=LOOPBACK), hostname=hostname).local.nodeid == 2


def test_the_host_name_against_longer_names(load_conf: Load, conf: Conf) -> None:
    nodes = _node("127.0.0.1", 1, "n1.a.org") + _node("127.0.0.2", 2, "n2.a.org")
    assert load_conf(conf(nodes=nodes), hostname="n2").local.nodeid == 2
    assert load_conf(conf(nodes=nodes), hostname="n2.b.org").local.nodeid == 2


def test_the_address_decides_against_the_host_name(load_conf: Load, conf: Conf) -> None:
    loaded = load_conf(conf(), hostname="n3")
    assert loaded.local.nodeid == 1
    (warning,) = loaded.warnings
    assert "fits node n3" in warning.text
