"""`totemctl simulate` as a user sees it; with many seeds it is the smoke test of every change."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from totemd.cli import simulate
from totemd.cli.ctl import main
from totemd.sim.network import Network

ROOT = Path(__file__).parents[2]


def test_seeds_without_a_violation(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--seeds", "6", "--nodes", "2-3", "--jobs", "1"]) == 0
    out = capsys.readouterr().out
    assert "6 seeds of 2 to 3 nodes, faults all: no violation" in out
    assert "seeds/s" in out


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json", "simulate", "--seeds", "3", "--nodes", "2", "--faults", "loss", "--jobs", "1"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["seeds"], result["failed"], result["faults"], result["nodes"]) == (3, [], "loss", [2, 2])
    assert result["virtual_s"] > 1


def test_one_seed_with_its_trace(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "trace.txt"
    assert main(["simulate", "--seed", "3", "--nodes", "2-3", "--trace", str(path)]) == 0
    assert "trace sha256" in capsys.readouterr().out
    assert "started, ring number on disk None" in path.read_text()
    assert main(["simulate", "--seed", "3", "--nodes", "2-3", "--trace", "-"]) == 0
    captured = capsys.readouterr()
    assert captured.out == path.read_text()
    assert "trace sha256" in captured.err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--nodes", "0-3"], "a number from 1 to 64"),
        (["--nodes", "2-65"], "a number from 1 to 64"),
        (["--nodes", "5-2"], "a number from 1 to 64"),
        (["--nodes", "few"], "a number from 1 to 64"),
        (["--faults", "most"], "there are none, loss, partitions"),
        (["--schedule", "/does/not/exist"], "cannot read the schedule"),
        (["--seed", "1", "--trace", "/does/not/exist"], "cannot write the trace"),
    ],
)
def test_wrong_usage(arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", *arguments]) == 64
    assert text in capsys.readouterr().err


def test_wrong_options_are_wrong_usage() -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["simulate", "--seeds", "0"])
    assert exit_.value.code == 64


def test_a_schedule_file_with_a_mistake_names_its_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("nodes 3\nat 1 jump\ncalm 2\n")
    assert main(["simulate", "--schedule", str(path)]) == 64
    assert f"{path}:2: jump has 2 arguments, not 0" in capsys.readouterr().err


def test_a_schedule_with_a_wrong_option_is_wrong_usage(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("nodes 1\ntotem token 1\nat 0 start 1\ncalm 2\n")
    assert main(["simulate", "--schedule", str(path)]) == 64
    assert "token" in capsys.readouterr().err


def test_a_violation_is_reported_shrunk_and_replayed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("totemd.sim.run.SETTLE_TOKENS", 2)
    monkeypatch.setattr(Network, "calm", lambda network: None)
    monkeypatch.setattr("totemd.sim.shrink.RUNS_MAX", 60)
    path = tmp_path / "small.txt"
    arguments = ["simulate", "--seeds", "40", "--nodes", "3", "--faults", "partitions", "--jobs", "1"]
    assert main([*arguments, "--save", str(path)]) == 1
    out = capsys.readouterr().out
    assert "VIOLATION " in out
    assert "replay: totemctl simulate --seed " in out
    assert f"replay: totemctl simulate --schedule {path} --trace -" in out
    assert main(["simulate", "--schedule", str(path), "--no-shrink"]) == 1
    assert "VIOLATION " in capsys.readouterr().out


def test_interrupted_it_says_what_was_done() -> None:
    command = [sys.executable, "-m", "totemd.cli.ctl", "simulate", "--seeds", "1000000", "--nodes", "2", "--jobs", "2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while len(psutil.Process(process.pid).children()) < 2:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted after " in out
    assert "Traceback" not in err


def test_parse_nodes() -> None:
    assert simulate.parse_nodes("2-9") == (2, 9)
    assert simulate.parse_nodes("7") == (7, 7)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("seeds", "nodes", "faults"),
    [("650", "2-5", "all"), ("150", "2-9", "all"), ("100", "2-5", "partitions"), ("100", "2-5", "crashes")],
)
def test_a_thousand_seeds_break_nothing(seeds: str, nodes: str, faults: str) -> None:
    command = [sys.executable, "-m", "totemd.cli.ctl", "simulate", "--seeds", seeds, "--nodes", nodes]
    result = subprocess.run(
        [*command, "--faults", faults, "--jobs", "2", "--no-shrink"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "no violation" in result.stdout
