"""What the benchmark's command line asks for."""

import json
from pathlib import Path

import pytest

from totemd_bench import __main__ as command
from totemd_bench.plan import QUICK, Options


def options(*words: str) -> Options:
    return command.options_of(command._parser().parse_args(words))


def test_quick_is_changed_by_what_is_given_beside_it() -> None:
    found = options("--quick", "--nodes", "4,2,4", "--rounds", "1")
    assert (found.nodes, found.rounds, found.budget_s) == ([2, 4], 1, QUICK["budget_s"])


@pytest.mark.parametrize(
    ("words", "priority"),
    [
        ([], 1),
        (["--scheduling", "other"], 0),
        (["--client-scheduling", "99"], 99),
        (["--client-scheduling", "other"], 0),
    ],
)
def test_clients_are_scheduled_as_the_daemons_unless_it_is_said(words: list[str], priority: int) -> None:
    assert options(*words).client_priority == priority


def test_engines_are_corosync_and_those_that_are_named() -> None:
    assert [engine.label for engine in options().engines] == ["corosync", "totemd"]
    named = options("--engine", "pure=/a/python", "--engine", "compiled=/b/python").engines
    assert [(engine.label, engine.python) for engine in named[1:]] == [("pure", "/a/python"), ("compiled", "/b/python")]
    assert [engine.label for engine in options("--without-corosync").engines] == ["totemd"]


def test_engines_may_be_sealed() -> None:
    named = options("--engine", "t=/a", "--engine", "sealed+t=/a", "--engine", "chacha20+t=/a").engines[1:]
    found = [(engine.label, engine.python, engine.cipher) for engine in named]
    assert found == [("t", "/a", ""), ("sealed+t", "/a", "aes256"), ("chacha20+t", "/a", "chacha20")]


@pytest.mark.parametrize(
    "words",
    [["--engine", "x"], ["--engine", "rot13+x=/a"], ["--engine", "corosync=/a"], ["--rounds", "0"], ["--idle", "0"]],
)
def test_what_makes_no_sense_is_refused(words: list[str]) -> None:
    with pytest.raises(ValueError, match=r"wanted|own|positive|stands before"):
        options(*words)


@pytest.mark.parametrize(
    "words",
    [["--nodes", "0"], ["--nodes", "x"], ["--work", "speed"], ["--clients", "x"], ["--client-scheduling", "100"]],
)
def test_a_word_that_is_not_known_ends_with_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        options(*words)
    assert ended.value.code == command.EXIT_USAGE
    assert "--help" in capsys.readouterr().err


def test_an_earlier_run_is_shown_and_put_into_a_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engines = {"totemd": {"python": "3.11", "compiled_modules": "0", "commit": "abc"}}
    run = {
        "format": 1,
        "date": "2026-01-02",
        "began": 0.0,
        "took_s": 60.0,
        "interrupted": False,
        "machine": {"processors": 2, "model": "m", "kernel": "6", "corosync": "3.1.7", "engines": engines},
        "options": {
            "rounds": 1,
            "seconds": 1.0,
            "clients": ["libcpg"],
            "scheduling": "rr",
            "client_scheduling": "rr 1",
            "token_ms": 1000,
        },
        "results": [
            {"cell": "rate-64", "nodes": 2, "engine": "corosync", "client": "libcpg", "rounds": [{"rate": 2.0}]},
            {"cell": "rate-64", "nodes": 2, "engine": "totemd", "client": "libcpg", "rounds": [{"rate": 3.0}]},
        ],
        "notes": [],
    }
    file, document = tmp_path / "run.json", tmp_path / "README.md"
    file.write_text(json.dumps(run))
    document.write_text("above\n<!-- benchmark: begin -->\n<!-- benchmark: end -->\nbelow\n")
    assert command.main(["--report", str(file), "--markdown", str(document)]) == command.EXIT_OK
    assert "3 : 2 = 1.50" in capsys.readouterr().out
    shown = document.read_text()
    assert shown.startswith("above\n")
    assert shown.endswith("below\n")
    assert "3 : 2 = 1.50" in shown
    assert "2026-01-02" in shown
