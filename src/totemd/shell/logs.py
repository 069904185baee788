"""Log lines to stderr, syslog and a file, written by a thread: a full pipe or a slow disk must not stop the token."""

import os
import queue
import sys
import syslog
import threading
import time
from contextlib import suppress
from dataclasses import replace
from typing import Final, TextIO

from totemd.config.model import LoggingSettings

LEVELS: Final = {
    "emerg": syslog.LOG_EMERG,
    "alert": syslog.LOG_ALERT,
    "crit": syslog.LOG_CRIT,
    "err": syslog.LOG_ERR,
    "warning": syslog.LOG_WARNING,
    "notice": syslog.LOG_NOTICE,
    "info": syslog.LOG_INFO,
    "debug": syslog.LOG_DEBUG,
}
LINES_QUEUED_MAX: Final = 10_000
REPEATS_PER_PERIOD: Final = 10
DIFFERENT_PER_PERIOD: Final = 2000
"""Different lines in one period; strangers, whose addresses are in the log, could otherwise fill a disk."""

PERIOD_S: Final = 10.0


class Logger:
    """Takes lines from the daemon; never blocks, and says how many lines it had to drop."""

    def __init__(self, settings: LoggingSettings) -> None:
        self._queue: queue.Queue[tuple[float, str, str, str] | None] = queue.Queue(LINES_QUEUED_MAX)
        self._dropped = 0
        self._recent: dict[tuple[str, str], int] = {}
        self._period_end = 0.0
        self._stderr = _descriptor(sys.stderr)
        self._journal = leads_to_journal(self._stderr)
        self._file: TextIO | None = None
        self._in_force: LoggingSettings | None = None
        self.configure(settings)
        self._thread = threading.Thread(target=self._write_all, name="log", daemon=True)
        self._thread.start()

    def configure(self, settings: LoggingSettings) -> None:
        """Take (new) settings. The thread opens the log file before the next line; one that cannot be opened is
        reported in the other logs and done without."""
        self._settings = settings
        self._least = LEVELS["debug"] if settings.debug else LEVELS.get(settings.level, syslog.LOG_INFO)
        self._file_least = LEVELS["debug"] if settings.debug else LEVELS.get(settings.logfile_level, self._least)
        self._by_subsystem = {name: LEVELS.get(level, self._least) for name, level in settings.subsystems}

    def reopen(self) -> None:
        """Have the thread close the log file and open it anew; what it writes next is in the new one."""
        self._settings = replace(self._settings)
        self._put(time.time(), "notice", "MAIN", "log files were opened anew")

    def log(self, level: str, subsystem: str, text: str) -> None:
        """Queue one line; the same line more than a few times in ten seconds is counted, not written."""
        priority = LEVELS.get(level, syslog.LOG_INFO)
        if priority > self._by_subsystem.get(subsystem, max(self._least, self._file_least)):
            return
        if not text.isprintable():
            # Some of it comes from outside; one event is one line, and no control sequence reaches a terminal.
            text = text.encode("unicode_escape").decode("ascii")
        now = time.time()
        if time.monotonic() > self._period_end:
            self._summarize(now)
        key = (subsystem, text)
        count = self._recent.get(key, 0) + 1
        if count == 1 and len(self._recent) >= DIFFERENT_PER_PERIOD:
            self._dropped += 1
            return
        self._recent[key] = count
        if count <= REPEATS_PER_PERIOD:
            self._put(now, level, subsystem, text)

    def close(self) -> None:
        """Write what is queued, waiting a second at most for a reader that does not read."""
        self._summarize(time.time())
        try:
            self._queue.put(None, timeout=0.5)
        except queue.Full:
            return
        self._thread.join(timeout=1.0)

    def _summarize(self, now: float) -> None:
        recent, self._recent = self._recent, {}
        self._period_end = time.monotonic() + PERIOD_S
        for (subsystem, text), count in recent.items():
            if count > REPEATS_PER_PERIOD:
                self._put(now, "info", subsystem, f"{text} (and {count - REPEATS_PER_PERIOD} times more)")
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            self._put(now, "warning", "MAIN", f"{dropped} log lines were dropped: too many at once")

    def _put(self, now: float, level: str, subsystem: str, text: str) -> None:
        try:
            self._queue.put_nowait((now, level, subsystem, text))
        except queue.Full:
            self._dropped += 1

    def _write_all(self) -> None:
        while True:
            item = self._queue.get()
            # The log's reader may have gone, the disk be full: the daemon must go on.
            with suppress(OSError, ValueError):
                if self._settings is not self._in_force:
                    self._open(self._settings)
                if item is not None:
                    self._write(self._settings, *item)
            if item is None:
                return

    def _open(self, settings: LoggingSettings) -> None:
        self._in_force = settings
        file, self._file = self._file, None
        if file is not None:
            file.close()
        if settings.to_syslog:
            facility = getattr(syslog, f"LOG_{settings.syslog_facility.upper()}", syslog.LOG_DAEMON)
            syslog.openlog("totemd", syslog.LOG_PID, facility)
        if settings.to_logfile and settings.logfile:
            try:
                self._file = open(settings.logfile, "a", encoding="utf-8")  # noqa: SIM115 - kept open for life
            except OSError as error:
                text = f"cannot open the log file {settings.logfile}: {error.strerror}"
                self._write(settings, time.time(), "err", "MAIN", text)

    def _write(self, settings: LoggingSettings, now: float, level: str, subsystem: str, text: str) -> None:
        line = f"{level:7} [{subsystem:6}] {text}\n"
        if settings.timestamp:
            clock = time.strftime("%b %d %H:%M:%S", time.localtime(now))
            line = f"{clock}.{int(now * 1000) % 1000:03d} {line}"
        priority = LEVELS.get(level, syslog.LOG_INFO)
        usual = self._by_subsystem.get(subsystem, self._least)
        # In the journal a line is once, by the better of two ways.
        to_stderr = settings.to_stderr and not (settings.to_syslog and self._journal)
        if to_stderr and priority <= usual and self._stderr is not None:
            # Not sys.stderr: a thread that is stuck in its lock would abort the interpreter's end.
            os.write(self._stderr, line.encode(errors="replace"))
        file = self._file
        if file is not None and priority <= self._by_subsystem.get(subsystem, self._file_least):
            file.write(line)
            file.flush()
        if settings.to_syslog and priority <= usual:
            syslog.syslog(priority, f"[{subsystem}] {text}")


def leads_to_journal(descriptor: int | None) -> bool:
    """Whether systemd has connected it with the journal, where syslog's lines are as well (systemd.exec(5))."""
    named = os.environ.get("JOURNAL_STREAM", "")
    if descriptor is None or not named:
        return False
    with suppress(OSError):
        status = os.fstat(descriptor)
        return named == f"{status.st_dev}:{status.st_ino}"
    return False


def _descriptor(stream: TextIO | None) -> int | None:
    """A stream's descriptor; None if it was closed before we started, when the number may be another file's by now."""
    try:
        return None if stream is None else stream.fileno()
    except (OSError, ValueError):
        return None
