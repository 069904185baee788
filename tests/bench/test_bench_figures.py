"""What the benchmark makes of its clients' numbers."""

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from totemd_bench.figures import (
    ClientReport,
    latency_figures,
    load_figures,
    medians,
    parse_client,
    percentile,
)

LATENCIES = st.lists(st.integers(0, 10**9), min_size=1, max_size=300).map(sorted)
SHARES = st.sampled_from([0.5, 0.99, 0.999])


@given(LATENCIES, SHARES)
def test_a_percentile_has_its_share_at_or_below_it_and_no_smaller_value_has(values: list[int], share: float) -> None:
    found = percentile(values, share)
    if found is None:
        return
    assert sum(value <= found for value in values) >= share * len(values)
    assert sum(value < found for value in values) < share * len(values)


@pytest.mark.parametrize(("count", "share", "told"), [(99, 0.99, False), (100, 0.99, True), (999, 0.999, False)])
def test_a_percentile_is_told_only_if_something_is_beyond_it(count: int, share: float, told: bool) -> None:
    assert (percentile(range(count), share) is not None) == told


def records(*messages: tuple[int, int, int]) -> "array[int]":
    return array("q", [number for message in messages for number in message])


def test_latency_is_taken_at_each_messages_own_sender_and_at_its_last_delivery() -> None:
    # Sender 0's message takes 10 us to itself and 30 us to node 1, sender 1's 50 us to node 0 and 20 us to itself.
    first = records((0, 0, 10_000), (1, 0, 50_000))
    second = records((0, 0, 30_000), (1, 0, 20_000))
    found = latency_figures([first, second], range(2))
    assert (found["own_p50"], found["far_p50"]) == (10.0, 30.0)
    assert "own_p99" not in found


def test_nodes_with_other_messages_give_no_latency() -> None:
    with pytest.raises(ValueError, match="same order"):
        latency_figures([records((0, 1, 2), (0, 2, 3)), records((0, 2, 3), (0, 1, 2))], range(2))


def report(*, delivered: int = 100, first: int = 0, last: int = 10**9, cpu: int = 0, order: int = 1) -> ClientReport:
    return ClientReport(delivered, first, last, cpu, order)


def test_a_rate_is_that_of_the_slowest_node_from_the_first_sending_on() -> None:
    found = load_figures([report(first=5, last=10**9, cpu=300_000), report(last=4 * 10**9, cpu=100_000)], 1000)
    assert found == {"rate": 25.0, "throughput": 0.025, "cpu_per_message": 2.0}


@pytest.mark.parametrize("other", [report(order=2), report(delivered=99)])
def test_nodes_that_differ_give_no_rate(other: ClientReport) -> None:
    with pytest.raises(ValueError, match="same order"):
        load_figures([report(), other], 64)


def test_nothing_delivered_is_no_rate() -> None:
    with pytest.raises(ValueError, match="nothing"):
        load_figures([report(delivered=0)], 64)


def test_a_clients_last_line_is_read() -> None:
    line = "sent=3 again=9 delivered=3 first_sent=100 last_delivered=200 cpu=50 order=18446744073709551615\n"
    assert parse_client(f"a warning\n{line}") == ClientReport(3, 100, 200, 50, 2**64 - 1)


@pytest.mark.parametrize("text", ["", "not all was delivered in time (sent 3, refused 0, delivered 2)\n"])
def test_a_client_without_a_report_is_told_apart(text: str) -> None:
    with pytest.raises(ValueError, match=r"no report|length"):
        parse_client(text)


def test_medians_are_of_the_rounds_that_have_the_figure() -> None:
    assert medians([{"rate": 1.0, "peak": 7.0}, {"rate": 5.0}, {"rate": 2.0}]) == {"rate": 2.0, "peak": 7.0}
    assert medians([]) == {}
