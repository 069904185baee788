"""Which quorum options go together (votequorum(5))."""

from collections.abc import Callable

import pytest

from totemd.config import Configuration, QuorumSettings, TieBreaker
from totemd.config.document import Document
from totemd.config.model import NodeEntry
from totemd.config.quorum import read_quorum
from totemd.errors import ConfigError

PROVIDER = "provider: corosync_votequorum\n"
NO_DEVICE = ""


def _settings(
    quorum: str, votes: tuple[int, ...] = (1, 1), device: str = NO_DEVICE
) -> tuple[QuorumSettings, dict[str, str]]:
    inner = f"device {{\n{device}\n}}\n" if device else ""
    document = Document(f"quorum {{\n{PROVIDER}{quorum}\n{inner}}}\n", "f")
    nodes = [NodeEntry(i, i + 1, f"n{i + 1}", (f"10.0.0.{i + 1}",), f"10.0.0.{i + 1}", v) for i, v in enumerate(votes)]
    settings = read_quorum(document, nodes, nodes[0])
    return settings, {warning.key: warning.text for warning in document.warnings}


def test_votes_from_the_nodelist() -> None:
    settings, warnings = _settings("", (2, 1, 0, 1))
    assert (settings.expected_votes, settings.votes) == (4, 2)
    assert warnings == {}


def test_expected_votes_win_over_the_sum() -> None:
    assert _settings("expected_votes: 2", (1, 1, 1))[0].expected_votes == 2
    assert "nodelist has 3" in _settings("expected_votes: 8", (1, 1, 1))[1]["quorum.expected_votes"]


def test_votes_of_section_quorum_do_not_count() -> None:
    settings, warnings = _settings("votes: 5", (1, 1))
    assert settings.votes == 1
    assert "quorum.votes" in warnings


def test_two_node_implies_wait_for_all_unless_it_is_given() -> None:
    settings, _ = _settings("two_node: 1")
    assert (settings.two_node, settings.wait_for_all) == (True, True)
    settings, _ = _settings("two_node: 1\nwait_for_all: 0")
    assert (settings.two_node, settings.wait_for_all) == (True, False)


def test_two_node_gives_way_to_auto_tie_breaker() -> None:
    settings, warnings = _settings("two_node: 1\nauto_tie_breaker: 1")
    assert (settings.two_node, settings.wait_for_all) == (False, False)
    assert settings.tie_breaker is TieBreaker.LOWEST
    assert "auto_tie_breaker" in warnings["quorum.two_node"]


def test_two_node_gives_way_to_a_third_node() -> None:
    settings, warnings = _settings("two_node: 1", (1, 1, 1))
    assert not settings.two_node
    assert "3 nodes" in warnings["quorum.two_node"]


@pytest.mark.parametrize(
    ("text", "kind", "nodes"),
    [
        ("", TieBreaker.LOWEST, ()),
        ("auto_tie_breaker_node: lowest", TieBreaker.LOWEST, ()),
        ("auto_tie_breaker_node: highest", TieBreaker.HIGHEST, ()),
        ("auto_tie_breaker_node: 2  1", TieBreaker.LIST, (2, 1)),
    ],
)
def test_tie_breaker(text: str, kind: TieBreaker, nodes: tuple[int, ...]) -> None:
    settings, _ = _settings(f"auto_tie_breaker: 1\n{text}")
    assert (settings.tie_breaker, settings.tie_breaker_nodes) == (kind, nodes)


@pytest.mark.parametrize("word", ["middle", "3", "1,2", "", "-1", "lowest 1"])
def test_tie_breaker_nodes_must_be_listed(word: str) -> None:
    with pytest.raises(ConfigError, match="lowest, highest or"):
        _settings(f"auto_tie_breaker: 1\nauto_tie_breaker_node: {word}")


def test_tie_breaker_node_alone_is_a_warning() -> None:
    settings, warnings = _settings("auto_tie_breaker_node: 1")
    assert settings.tie_breaker is TieBreaker.NONE
    assert "quorum.auto_tie_breaker_node" in warnings


def test_tie_breaker_with_odd_votes() -> None:
    settings, warnings = _settings("auto_tie_breaker: 1", (1, 1, 1))
    assert settings.tie_breaker is TieBreaker.NONE
    assert "wait_for_all" in warnings["quorum.auto_tie_breaker"]
    settings, warnings = _settings("auto_tie_breaker: 1\nwait_for_all: 1", (1, 1, 1))
    assert settings.tie_breaker is TieBreaker.LOWEST
    assert warnings == {}
    with pytest.raises(ConfigError, match=r"f:3: quorum\.auto_tie_breaker: .*wait_for_all: 1"):
        _settings("auto_tie_breaker: 1\nlast_man_standing: 1", (1, 1, 1))


def test_last_man_standing_needs_equal_votes() -> None:
    settings, _ = _settings("last_man_standing: 1\nlast_man_standing_window: 20000")
    assert (settings.last_man_standing, settings.last_man_standing_window_s) == (True, 20.0)
    settings, warnings = _settings("last_man_standing: 1", (1, 2))
    assert not settings.last_man_standing
    assert "quorum.last_man_standing" in warnings


def test_allow_downscale_implies_tracking() -> None:
    assert _settings("allow_downscale: 1")[0].expected_votes_tracking
    assert _settings("allow_downscale: 1\nexpected_votes_tracking: 0")[0].expected_votes_tracking
    assert not _settings("")[0].expected_votes_tracking


def test_a_cluster_without_votes_is_refused() -> None:
    with pytest.raises(ConfigError, match="no node has a vote"):
        _settings("", (0, 0))
    with pytest.raises(ConfigError, match="sum up"):
        _settings("", (2**32 - 1, 1))


def test_more_votes_than_corosync_can_count() -> None:
    assert "quorum.expected_votes" not in _settings("", (509,))[1]
    assert "8 bits" in _settings("", (510,))[1]["quorum.expected_votes"]


def test_device_votes_are_derived() -> None:
    settings, _ = _settings("", (1, 1, 1), "model: net")
    assert (settings.device_votes, settings.expected_votes, settings.device_model) == (2, 5, "net")
    settings, _ = _settings("", (1, 2), "model: net\nvotes: 1\ntimeout: 5000\nsync_timeout: 6000")
    assert (settings.device_votes, settings.expected_votes) == (1, 4)
    assert (settings.device_timeout_s, settings.device_sync_timeout_s) == (5.0, 6.0)
    settings, _ = _settings("expected_votes: 3", (1, 2), "model: net\nvotes: 0")
    assert (settings.device_votes, settings.expected_votes) == (0, 3)


@pytest.mark.parametrize(
    ("quorum", "votes", "device", "key"),
    [
        ("two_node: 1", (1, 1), "model: net", "quorum.two_node"),
        ("last_man_standing: 1", (1, 1), "model: net", "quorum.last_man_standing"),
        ("auto_tie_breaker: 1", (1, 1), "model: net", "quorum.auto_tie_breaker"),
        ("allow_downscale: 1", (1, 1), "model: net", "quorum.allow_downscale"),
        ("expected_votes: 3", (1, 1), "model: net", "quorum.device.votes"),
        ("", (1, 2), "model: net", "quorum.device.votes"),
        ("expected_votes: 3", (1, 1), "model: net\nvotes: 2", "quorum.device.votes"),
    ],
)
def test_what_a_device_excludes(quorum: str, votes: tuple[int, ...], device: str, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _settings(quorum, votes, device)
    assert caught.value.key == key


def test_a_devices_own_keys_are_not_judged(load_conf: Callable[..., Configuration], conf: Callable[..., str]) -> None:
    device = "provider: corosync_votequorum\ndevice {\nmodel: net\nnet {\nhost: q\ntls: on\n}\n}"
    text = conf(quorum=device)
    configuration = load_conf(text)
    assert configuration.warnings == ()
    assert configuration.quorum.device_model == "net"
    assert configuration.entries["quorum.device.net.tls"].value == "on"


def test_without_a_provider_there_is_no_quorum(
    load_conf: Callable[..., Configuration], conf: Callable[..., str]
) -> None:
    assert load_conf(conf(quorum="")).quorum.provider is None
