"""The log: levels, repeats, hostile text, and readers that do not read."""

import os
import subprocess
import sys
import syslog
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from totemd.config.model import LoggingSettings
from totemd.shell import logs
from totemd.shell.logs import DIFFERENT_PER_PERIOD, LEVELS, REPEATS_PER_PERIOD, Logger

PATIENCE_S = 10.0
QUIET = LoggingSettings(to_syslog=False, to_stderr=False, timestamp=False)


def written(path: Path, log: Callable[[Logger], None], **settings: object) -> list[str]:
    """The lines that a file has after `log` has logged and the logger was closed."""
    logger = Logger(replace(QUIET, to_logfile=True, logfile=str(path), **settings))  # type: ignore[arg-type]
    log(logger)
    logger.close()
    return path.read_text().splitlines()


@pytest.fixture
def log_file(tmp_path: Path) -> Path:
    return tmp_path / "log"


def each_level(logger: Logger) -> None:
    for level in LEVELS:
        logger.log(level, "TOTEM", f"is {level}")


@pytest.mark.parametrize("least", LEVELS)
def test_only_what_is_urgent_enough_is_written(log_file: Path, least: str) -> None:
    lines = written(log_file, each_level, logfile_level=least)
    wanted = [level for level in LEVELS if LEVELS[level] <= LEVELS[least]]
    assert [line.split()[0] for line in lines] == wanted


def test_a_log_file_that_was_moved_away_is_opened_anew(log_file: Path) -> None:
    rotated = log_file.with_name("log.1")

    def log(logger: Logger) -> None:
        logger.log("info", "MAIN", "before")
        deadline = time.monotonic() + PATIENCE_S
        while not (log_file.exists() and "before" in log_file.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.001)
        log_file.rename(rotated)
        logger.log("info", "MAIN", "goes on in the old file")
        logger.reopen()
        logger.log("info", "MAIN", "after")

    lines = written(log_file, log)
    assert lines[-1] == "info    [MAIN  ] after"
    assert "after" not in rotated.read_text()


def test_debug_writes_all(log_file: Path) -> None:
    assert len(written(log_file, each_level, logfile_level="err", debug=True)) == len(LEVELS)


def test_subsystem_has_a_level_of_its_own(log_file: Path) -> None:
    def log(logger: Logger) -> None:
        for subsystem in ("TOTEM", "CPG", "MAIN"):
            logger.log("err", subsystem, "bad")
            logger.log("info", subsystem, "news")
            logger.log("debug", subsystem, "detail")

    lines = written(log_file, log, subsystems=(("TOTEM", "debug"), ("CPG", "crit")))
    assert lines == [
        "err     [TOTEM ] bad",
        "info    [TOTEM ] news",
        "debug   [TOTEM ] detail",
        "err     [MAIN  ] bad",
        "info    [MAIN  ] news",
    ]


def test_stderr_and_file_have_different_levels(log_file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    lines = written(log_file, each_level, to_stderr=True, level="err", logfile_level="warning")
    assert [line.split()[0] for line in lines] == ["emerg", "alert", "crit", "err", "warning"]
    assert [line.split()[0] for line in capfd.readouterr().err.splitlines()] == ["emerg", "alert", "crit", "err"]


def test_repeats_are_counted_not_written(log_file: Path) -> None:
    def log(logger: Logger) -> None:
        for _ in range(REPEATS_PER_PERIOD + 90):
            logger.log("info", "TOTEM", "again")
        logger.log("info", "TOTEM", "other")

    lines = written(log_file, log)
    assert lines.count("info    [TOTEM ] again") == REPEATS_PER_PERIOD
    assert lines[-2:] == ["info    [TOTEM ] other", "info    [TOTEM ] again (and 90 times more)"]


def test_next_period_begins_afresh(log_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "PERIOD_S", -1.0)

    def log(logger: Logger) -> None:
        for _ in range(50):
            logger.log("info", "MAIN", "x")

    assert len(written(log_file, log)) == 50


def test_flood_of_different_lines_is_bounded(log_file: Path) -> None:
    def log(logger: Logger) -> None:
        for number in range(DIFFERENT_PER_PERIOD + 123):
            logger.log("info", "TOTEM", f"from {number}")

    lines = written(log_file, log)
    assert len(lines) == DIFFERENT_PER_PERIOD + 1
    assert "123 log lines were dropped" in lines[-1]


@pytest.mark.parametrize("text", ["a\nforged line", "a\x1b[2Jb", "a\0b", "a\rb", "\ud800", "a\u2028b"])
def test_one_event_is_one_line_whatever_its_text(log_file: Path, text: str) -> None:
    (line,) = written(log_file, lambda logger: logger.log("info", "MAIN", text))
    assert line.isprintable()
    assert text.encode("unicode_escape").decode() in line


def test_other_languages_are_left_alone(log_file: Path) -> None:
    (line,) = written(log_file, lambda logger: logger.log("info", "MAIN", "Knoten wählt größte Nummer"))
    assert line.endswith("Knoten wählt größte Nummer")


def test_log_file_that_cannot_be_opened_is_told_elsewhere(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    settings = replace(QUIET, to_stderr=True, to_logfile=True, logfile=str(tmp_path / "none" / "log"))
    logger = Logger(settings)
    logger.log("info", "MAIN", "goes on")
    logger.close()
    first, second = capfd.readouterr().err.splitlines()
    assert "cannot open the log file" in first
    assert "No such file" in first
    assert second == "info    [MAIN  ] goes on"


def test_new_settings_take_effect_at_once(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    logger = Logger(replace(QUIET, to_logfile=True, logfile=str(one)))
    logger.log("err", "MAIN", "before")
    logger.configure(replace(QUIET, to_logfile=True, logfile=str(two), logfile_level="err"))
    logger.log("info", "MAIN", "news")
    logger.log("err", "MAIN", "bad")
    logger.close()
    lines = [path.read_text() if path.exists() else "" for path in (one, two)]
    assert "".join(lines) == "err     [MAIN  ] before\nerr     [MAIN  ] bad\n"
    assert lines[1].endswith("bad\n")


def test_files_are_closed_when_they_are_replaced(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    logger = Logger(QUIET)
    for number in range(20):
        logger.configure(replace(QUIET, to_logfile=True, logfile=str(tmp_path / f"log{number}")))
        logger.log("info", "MAIN", "news")
    logger.configure(QUIET)
    logger.close()
    assert len(os.listdir("/proc/self/fd")) == before


STUCK = """
import sys
import syslog
import time
from totemd.config.model import LoggingSettings
from totemd.shell.logs import Logger
logger = Logger(LoggingSettings(to_syslog=False))
for number in range(100_000):
    logger.log("info", "MAIN", f"{number} " + "x" * 200)
print("logged", flush=True)
logger.close()
"""


@pytest.fixture
def unread_pipe() -> Iterator[int]:
    reader, writer = os.pipe()
    yield writer
    os.close(reader)
    os.close(writer)


def test_reader_that_does_not_read_holds_nobody_up(unread_pipe: int) -> None:
    """Neither while it runs nor at its end, where a stuck thread could make the interpreter abort."""
    result = subprocess.run(
        [sys.executable, "-c", STUCK], stdout=subprocess.PIPE, stderr=unread_pipe, timeout=30, check=False
    )
    assert result.stdout == b"logged\n"
    assert result.returncode == 0


def test_stderr_that_is_closed_is_done_without() -> None:
    """Its number may be another file's then; nothing may be written there."""
    script = "import os, sys\nsys.stderr = None\n" + STUCK
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=30, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, b"logged\n", b"")


def test_reader_that_goes_away_ends_nothing(unread_pipe: int) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        result = subprocess.run(
            [sys.executable, "-c", STUCK], stdout=subprocess.PIPE, stderr=writer, timeout=30, check=False
        )
    finally:
        os.close(writer)
    assert (result.returncode, result.stdout) == (0, b"logged\n")


@pytest.mark.parametrize(("journal", "to_syslog", "copies"), [(True, True, 1), (True, False, 1), (False, True, 2)])
def test_a_line_is_in_the_journal_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, journal: bool, to_syslog: bool, copies: int
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(syslog, "syslog", lambda priority, text: lines.append(text))
    with (tmp_path / "stderr").open("w") as stderr:
        status = os.fstat(stderr.fileno())
        monkeypatch.setattr(sys, "stderr", stderr)
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino if journal else 1}")
        logger = Logger(replace(QUIET, to_stderr=True, to_syslog=to_syslog))
        logger.log("info", "MAIN", "said")
        logger.close()
    lines += (tmp_path / "stderr").read_text().splitlines()
    assert len([line for line in lines if "said" in line]) == copies
