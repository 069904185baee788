"""`totemctl demo` with real daemons: it ends well, it ends badly, it is interrupted, and leaves nothing in any case."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from totemd.cli import demo
from totemd.cli.demo_cluster import Cluster, Daemon, DemoFailed
from totemd.client import blocking

DEMO = [sys.executable, "-m", "totemd.cli.ctl", "demo"]
EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The demo's temporary directory (a short path: sockets are made in it), which must be empty again at the end."""
    directory = tmp_path_factory.mktemp("d")
    yield directory
    assert list(directory.iterdir()) == []
    assert processes_with(str(directory)) == []


def processes_with(word: str) -> list[int]:
    """Processes that have `word` in their command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if word.encode() in command:
            found.append(int(entry.name))
    return found


def start_demo(directory: Path, *words: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "TMPDIR": str(directory)}
    return subprocess.Popen(
        [*DEMO, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )


def read_until(process: "subprocess.Popen[str]", word: str) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if word in line:
            return line
    raise AssertionError(f"{word!r} never came")


@pytest.mark.slow
def test_demo_ends_well(directory: Path) -> None:
    with start_demo(directory, "--json") as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    facts = json.loads(out)
    assert len({tuple(found.items()) for found in facts["order"].values()}) == 1
    assert facts["order"]["alpha"]["messages"] == 900
    assert facts["exit_status_without_quorum"] == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_demo_cleans_up(directory: Path, number: signal.Signals) -> None:
    with start_demo(directory) as process:
        read_until(process, "== 2.")
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "cleaned up" in err
    assert "Traceback" not in err


def test_demo_whose_daemon_dies_says_so(directory: Path) -> None:
    with start_demo(directory) as process:
        victim = int(read_until(process, "== 3.").split()[-1].rstrip(")"))
        others = [pid for pid in processes_with(str(directory)) if pid != victim]
        os.kill(others[0], signal.SIGKILL)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert re.search(r"--- (alpha|beta) \(ended with status -9\), end of its log:\n.+", err)
    assert "Traceback" not in err


def test_demo_whose_reader_goes_away_cleans_up(directory: Path) -> None:
    with start_demo(directory) as process:
        read_until(process, "== 1.")
        assert process.stdout is not None
        process.stdout.close()
        process.wait(60)
    assert process.returncode == 141


def start_during_signal(signals: demo.Signals, started: list[str]) -> None:
    with signals.held():
        os.kill(os.getpid(), signal.SIGTERM)
        started.append("alpha")


def test_signal_while_processes_are_started_waits() -> None:
    with demo.Signals() as signals:
        started: list[str] = []
        with pytest.raises(demo.Interrupted) as caught:
            start_during_signal(signals, started)
        assert started == ["alpha"]
        assert caught.value.status == 143
        os.kill(os.getpid(), signal.SIGTERM)


def test_daemon_that_does_not_start_shows_its_log(tmp_path: Path) -> None:
    daemon = Daemon("alpha", 1, tmp_path)
    (tmp_path / "corosync.conf").write_text("nonsense {\n")
    daemon.start()
    while daemon.running:
        time.sleep(0.01)
    with pytest.raises(DemoFailed, match="alpha has ended with status 1"):
        daemon.check_alive()
    assert "corosync.conf" in daemon.log_tail()


@contextmanager
def example(name: str, daemon: Daemon) -> Iterator["subprocess.Popen[str]"]:
    """Run an example until the block ends, and end it with Ctrl-C."""
    command = [sys.executable, str(EXAMPLES / name), str(daemon.socket)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=30)
            assert process.returncode == 0
        finally:
            process.kill()


def type_numbers(process: "subprocess.Popen[str]", *lines: str) -> None:
    assert process.stdin is not None
    process.stdin.writelines(f"{line}\n" for line in lines)
    process.stdin.flush()


@pytest.mark.slow
def test_examples_with_real_daemons(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(directory))
    with Cluster() as cluster:
        for daemon in cluster.daemons:
            daemon.start()
        with demo.Signals() as signals:
            demo.Teller(signals, as_json=True).wait("the ring", lambda: demo.whole(cluster.daemons))
        with example("watch_quorum.py", cluster.daemons[0]) as watch:
            assert read_until(watch, "quorate").startswith("quorate: 3 of 3 votes")
        with example("replicated_counter.py", cluster.daemons[0]) as first:
            read_until(first, "value: 0")
            type_numbers(first, "5", "-2", "nonsense")
            read_until(first, "value: 3")
            with example("replicated_counter.py", cluster.daemons[1]) as second:
                read_until(second, "value: 3")
                type_numbers(second, "4")
                read_until(second, "value: 7")
                read_until(first, "value: 7")
        with blocking.connect(cluster.daemons[2].socket) as client:
            assert client.cpg_groups() == ()
