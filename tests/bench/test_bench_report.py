"""How the benchmark shows what it found."""

import json
from typing import Any

import pytest

from totemd_bench import record, report
from totemd_bench.report import BEGIN, END, TARGETS, Row, put_between_marks
from totemd_bench.suite import Key, Outcome, Results


def results(found: dict[tuple[str, int, str, str], list[Outcome]]) -> Results:
    run = Results(began=0.0)
    for (cell, nodes, engine, client), outcomes in found.items():
        run.rounds[Key(cell, nodes, engine, client)] = outcomes
    return run


def row(run: Results, cell: str, figure: str, contestant: str = "totemd") -> Row:
    (found,) = [r for r in report.rows(run) if (r.cell, r.figure, r.contestant) == (cell, figure, contestant)]
    return found


def rates(nodes: int, ours: list[Outcome], theirs: list[Outcome]) -> dict[tuple[str, int, str, str], list[Outcome]]:
    return {("rate-64", nodes, "corosync", "libcpg"): theirs, ("rate-64", nodes, "totemd", "libcpg"): ours}


def test_a_relative_target_is_judged_by_the_ratio_of_medians() -> None:
    theirs: list[Outcome] = [{"rate": 100.0}, {"rate": 400.0}, {"rate": 120.0}]
    run = results(rates(2, [{"rate": 121.0}], theirs) | rates(3, [{"rate": 119.0}], theirs))
    found = row(run, "rate-64", "rate")
    assert [entry.met for entry in found.entries] == [True, False]
    assert found.verdict == "missed at 3"
    assert "119 : 120 = 0.99 (!)" in report.table([found])


def test_all_met() -> None:
    found = row(results(rates(2, [{"rate": 2.0}], [{"rate": 1.0}])), "rate-64", "rate")
    assert found.verdict == "met"
    assert "2 : 1 = 2.00 " in report.table([found])


def test_a_contestant_that_fails_misses_its_target_and_is_shown() -> None:
    run = results(rates(2, ["no ring"], [{"rate": 1.0}]))
    assert row(run, "rate-64", "rate").verdict == "missed at 2"
    shown = report.text(run, ["about"])
    assert "failed : 1 (!)" in shown
    assert "64 B, one sends, N = 2, totemd (libcpg client), 1 of 1 rounds: no ring" in shown


def test_a_baseline_that_fails_leaves_the_target_unjudged() -> None:
    run = results(rates(2, [{"rate": 1.0}], ["aborted", "aborted"]))
    found = row(run, "rate-64", "rate")
    assert found.verdict == "not judged at 2"
    shown = report.text(run, [])
    assert "1 : failed" in shown
    assert "2 of 2 rounds: aborted" in shown


def test_some_failed_rounds_are_told_beside_the_figure() -> None:
    run = results(rates(2, [{"rate": 5.0}, "lost a member"], [{"rate": 1.0}]))
    assert "5 : 1 = 5.00 (1 of 2 failed)" in report.table([row(run, "rate-64", "rate")])


def starts(times: list[Outcome]) -> Results:
    return results({("start", 32, "totemd", "libcpg"): times})


def test_a_cold_start_is_judged_by_its_worst_try() -> None:
    run = starts([{"from_last_packet": 1.0}, {"from_last_packet": 3.1}, {"from_last_packet": 1.0}])
    found = row(run, "start", "from_last_packet")
    assert (found.entries[0].ours, found.entries[0].judged) == (1.0, 3.1)
    assert found.verdict == "missed at 32"


def test_all_tries_have_to_form() -> None:
    assert row(starts([{"from_last_packet": 1.0}] * 2), "start", "formed").verdict == "met"
    failed = row(starts([{"from_last_packet": 1.0}, "2 of 32 list all"]), "start", "formed")
    assert failed.verdict == "missed at 32"
    assert "50%" in report.table([failed])


def test_totemds_own_clients_have_rows_without_a_target() -> None:
    theirs: list[Outcome] = [{"rate": 3.0}]
    run = results({("rate-64", 2, "totemd", "native"): [{"rate": 9.0}], ("rate-64", 2, "corosync", "libcpg"): theirs})
    native = row(run, "rate-64", "rate", "totemd, native client")
    assert native.target is None
    assert native.entries[0].ratio == 3.0


def test_corosync_alone_is_shown_too() -> None:
    run = results({("rate-64", 2, "corosync", "libcpg"): [{"rate": 3.0}]})
    assert "| corosync |" in report.text(run, [])


def test_without_corosync_the_first_engine_is_what_others_are_compared_with_and_nothing_is_judged() -> None:
    first: list[Outcome] = [{"rate": 4.0}]
    second: list[Outcome] = [{"rate": 6.0}]
    run = results({("rate-64", 2, "pure", "libcpg"): first, ("rate-64", 2, "compiled", "libcpg"): second})
    (found,) = [one for one in report.rows(run) if one.figure == "rate"]
    assert (found.contestant, found.entries[0].ratio) == ("compiled", 1.5)
    assert found.verdict == "not judged at 2"
    assert "daemon : pure = ratio" in report.text(run, [])


def test_every_target_is_of_figures_that_are_shown() -> None:
    for target in TARGETS:
        for cell in target.cells:
            assert set(target.figures) <= set(report.figures_of(cell))


@pytest.mark.parametrize(("value", "text"), [(None, "-"), (0.12345, "0.123"), (12.345, "12.3"), (1234.5, "1234")])
def test_numbers_have_three_digits_at_least(value: float | None, text: str) -> None:
    assert report.number(value) == text


def test_only_what_is_between_the_marks_is_replaced() -> None:
    document = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert put_between_marks(document, "new\n") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    assert put_between_marks(put_between_marks(document, "one\n"), "two\n") == put_between_marks(document, "two\n")
    assert put_between_marks("no marks", "new\n") == "new\n"


WHERE: dict[str, Any] = {
    "processors": 2,
    "model": "a processor",
    "kernel": "6",
    "corosync": "Corosync 3.1.7",
    "engines": {"totemd": {"python": "3.11", "compiled_modules": "0", "commit": "abc"}},
}
ASKED: dict[str, Any] = {
    "rounds": 1,
    "seconds": 1.0,
    "clients": ["libcpg"],
    "scheduling": "rr",
    "client_scheduling": "rr 1",
    "token_ms": None,
}


def test_a_run_comes_back_from_its_json() -> None:
    run = results(rates(2, [{"rate": 5.0}, "lost a member"], [{"rate": 1.0}]))
    run.notes.append("a remark")
    written = json.loads(json.dumps(record.to_json(run, WHERE, ASKED)))
    again = record.from_json(written)
    assert again == run
    assert report.text(again, record.about(written)) == report.text(run, record.about(written))
    assert written["results"][1]["rounds"] == [{"rate": 5.0}, {"failed": "lost a member"}]
    assert written["results"][1]["medians"] == {"rate": 5.0}
    assert {"cell", "figure", "contestant", "target", "verdict", "entries"} <= written["rows"][0].keys()


def test_json_of_another_format_is_refused() -> None:
    with pytest.raises(ValueError, match="format"):
        record.from_json({"format": 999})


def test_a_run_says_where_and_how_it_was_made() -> None:
    text = " ".join(record.about(record.to_json(results({}), WHERE, ASKED)))
    for word in ("2 processors", "a processor", "3.1.7", "abc", "daemons rr", "1 rounds"):
        assert word in text
