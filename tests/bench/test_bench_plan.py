"""What the benchmark sets out to measure."""

import pytest

from totemd_bench.plan import (
    CELLS,
    LIBCPG,
    QUICK,
    Engine,
    Options,
    cell_named,
    choose,
    expected_s,
    in_turn,
    schedule,
    skipped,
    token_s,
)

COROSYNC, TOTEMD, OTHER = Engine("corosync"), Engine("totemd", "python3"), Engine("other", "python3")
ENGINES = (COROSYNC, TOTEMD)


def test_every_cell_is_measured_with_both_engines_equally_often() -> None:
    options = Options(engines=ENGINES, nodes=(2, 3), rounds=3, tries=4, baseline_tries=4)
    counts: dict[tuple[str, int, str], int] = {}
    for task in schedule(options):
        for step in task.steps:
            if step.client == LIBCPG:
                key = (step.cell.name, task.nodes, task.engine.label)
                counts[key] = counts.get(key, 0) + 1
    for cell in CELLS:
        for nodes in options.nodes:
            expected = 4 if cell == "start" else 3
            assert counts[cell, nodes, "corosync"] == counts[cell, nodes, "totemd"] == expected


def test_every_engine_is_first_in_its_turn() -> None:
    engines = [COROSYNC, TOTEMD, OTHER]
    assert [in_turn(engines, number)[0] for number in range(4)] == [COROSYNC, TOTEMD, OTHER, COROSYNC]
    assert all(sorted(e.label for e in in_turn(engines, n)) == ["corosync", "other", "totemd"] for n in range(4))


def test_cold_starts_have_a_number_of_their_own_for_corosync() -> None:
    tasks = schedule(Options(engines=ENGINES, nodes=(3,), cells=choose(["start"]), tries=5, baseline_tries=2))
    assert [task.engine.label for task in tasks].count("totemd") == 5
    assert [task.engine.label for task in tasks].count("corosync") == 2
    assert all(task.cold and len(task.steps) == 1 for task in tasks)


def test_totemds_own_clients_measure_totemd_alone() -> None:
    options = Options(engines=ENGINES, nodes=(3,), cells=choose(["latency"]), clients=(LIBCPG, "native"), rounds=1)
    clients = {task.engine.label: [step.client for step in task.steps] for task in schedule(options)}
    assert clients == {"corosync": [LIBCPG] * 2, "totemd": [LIBCPG, "native"] * 2}


def test_what_is_measured_once_is_not_in_a_second_round() -> None:
    options = Options(engines=ENGINES, nodes=(3,), cells=choose(["idle", "rate"]), rounds=2, once=("idle",))
    names = [[step.cell.name for step in task.steps if step.client == LIBCPG] for task in schedule(options)]
    assert names == [["idle", "rate-64"]] * 2 + [["rate-64"]] * 2


def test_what_says_nothing_about_one_node_is_left_out_and_told() -> None:
    options = Options(engines=ENGINES, nodes=(1,), cells=choose(["loss", "latency-100"]))
    assert {step.cell.name for task in schedule(options) for step in task.steps} == {"latency-100"}
    (reason,) = skipped(options)
    assert "loss-rate-16k" in reason
    assert "latency-100," not in reason.replace("loss-latency-100,", "")


def test_cells_are_chosen_by_work_by_name_and_by_numbers_in_the_rings_order() -> None:
    names = [cell.name for cell in choose(["kill", "all:512@0", "latency", "idle", "latency-100"])]
    assert names[0] == "idle"
    assert names.index("latency-100") < names.index("latency-1000") < names.index("kill")
    assert set(names) == {"idle", "latency-100", "latency-1000", "kill", "all:512@0"}


def test_a_cell_by_its_numbers() -> None:
    cell = cell_named("all:512@2000")
    assert (cell.size_bytes, cell.rate_per_s, cell.everyone, cell.loads) == (512, 2000, True, True)


@pytest.mark.parametrize("word", ["speed", "64", "23@100", "1048577@0", "64@", ""])
def test_an_unknown_word_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match="is no work"):
        choose([word])


@pytest.mark.parametrize(("nodes", "seconds"), [(1, 3.0), (2, 3.0), (3, 3.65), (32, 22.5)])
def test_the_token_timeout_grows_with_the_nodes_as_corosyncs_does(nodes: int, seconds: float) -> None:
    assert token_s(Options(), nodes) == pytest.approx(seconds)


def test_a_cell_lasts_long_enough_for_a_99th_percentile() -> None:
    assert CELLS["latency-100"].seconds(0.5) * 100 >= 128
    assert CELLS["latency-100"].seconds(3.0) == 3.0
    assert CELLS["rate-64"].seconds(0.5) == 0.5


def test_the_quick_run_fits_its_budget_about() -> None:
    options = Options(engines=ENGINES, **QUICK)  # type: ignore[arg-type]  # values by name, each of its own type
    assert sum(expected_s(options, task) for task in schedule(options)) < 330
