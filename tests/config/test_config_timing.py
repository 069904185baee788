"""Timeouts derived as corosync derives them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from totemd.config import TotemParameters, timing


@pytest.mark.parametrize(
    ("nodes", "token", "retransmit", "hold", "consensus"),
    [
        (1, 3000, 714, 561, 3600),
        (2, 3000, 714, 561, 3600),
        (3, 3650, 869, 685, 4380),  # read from the cmap of corosync 3.1.7 in a ring of three
        (8, 6900, 1642, 1303, 8280),
        (32, 22500, 5357, 4275, 27000),
    ],
)
def test_defaults_by_number_of_nodes(nodes: int, token: int, retransmit: int, hold: int, consensus: int) -> None:
    values = timing.derive({}, nodes)
    assert (values["token"], values["token_retransmit"], values["hold"], values["consensus"]) == (
        token,
        retransmit,
        hold,
        consensus,
    )
    assert list(timing.problems(values, {})) == []


def test_defaults_are_those_of_the_records() -> None:
    assert timing.parameters(timing.derive({}, 2)) == TotemParameters()


def test_given_values_win_and_feed_the_derived_ones() -> None:
    values = timing.derive({"token": 1000, "token_retransmits_before_loss_const": 10, "consensus": 5000}, 2)
    assert values["token_retransmit"] == 98
    assert values["hold"] == 68
    assert values["consensus"] == 5000
    assert timing.derive({"token": 1000, "token_coefficient": 0}, 5)["token"] == 1000


@pytest.mark.parametrize("key", sorted(timing.DEFAULTS.keys() - timing.ZERO_IS_ZERO))
def test_zero_means_the_default(key: str) -> None:
    assert timing.derive({key: 0}, 3) == timing.derive({}, 3)


@pytest.mark.parametrize("key", sorted(timing.ZERO_IS_ZERO))
def test_some_zeros_are_meant(key: str) -> None:
    assert timing.derive({key: 0}, 3)[key] == 0


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        ({"token": 29}, "token"),
        ({"token": 100}, "token_retransmit"),
        ({"token": 3000, "token_retransmit": 29}, "token_retransmit"),
        ({"hold": 13}, "hold"),
        ({"join": 29}, "join"),
        ({"consensus": 29}, "consensus"),
        ({"consensus": 60, "join": 61}, "consensus"),
        ({"merge": 29}, "merge"),
        ({"downcheck": 29}, "downcheck"),
        ({"max_network_delay": 29}, "max_network_delay"),
        ({"token_coefficient": 2**32 - 1}, "token"),
        ({"window_size": 9000}, "window_size"),
    ],
)
def test_problems_name_the_key(raw: dict[str, int], key: str) -> None:
    assert key in [
        found for found, _ in timing.problems(timing.derive(raw, 3 if "token_coefficient" in raw else 2), raw)
    ]


def test_a_short_derived_timeout_says_what_to_raise() -> None:
    problems = dict(timing.problems(timing.derive({"token": 100}, 2), {"token": 100}))
    assert "raise token" in problems["token_retransmit"]


def test_consensus_below_token_is_doubtful_only_for_three_and_more() -> None:
    assert [key for key, _ in timing.doubts(timing.derive({"consensus": 2000}, 3), 1500, 3)] == ["consensus"]
    assert list(timing.doubts(timing.derive({"consensus": 2000}, 2), 1500, 2)) == []


@given(st.dictionaries(st.sampled_from(sorted(timing.DEFAULTS)), st.integers(0, 2**32 - 1)), st.integers(1, 384))
def test_what_has_no_problem_keeps_the_order_of_the_timeouts(raw: dict[str, int], nodes: int) -> None:
    values = timing.derive(raw, nodes)
    if not list(timing.problems(values, raw)):
        parameters = timing.parameters(values)
        assert 0 < parameters.token_hold_timeout_s < parameters.token_retransmit_timeout_s
        assert parameters.token_retransmit_timeout_s < parameters.token_timeout_s < parameters.consensus_timeout_s
        assert parameters.join_timeout_s <= parameters.consensus_timeout_s
