"""What a service manager is told, and that it never keeps the daemon."""

import itertools
import os
import socket
import time
from pathlib import Path

import pytest
import trio
import trio.testing

from totemd.shell import service_manager
from totemd.shell.service_manager import keep_informed, notify_service_manager, one_line, watchdog_period_s


@pytest.mark.parametrize("address", ["", "/nowhere/notify", "@nobody", "relative", "/" + "x" * 200])
def test_one_that_is_not_there(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify_service_manager("READY=1")


def test_one_that_does_not_read_keeps_nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        for _ in range(30):
            notify_service_manager("READY=1", wait_s=0.01)
        began = time.monotonic()
        for _ in range(1000):
            notify_service_manager("WATCHDOG=1", wait_s=0)
        assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("usec", "pid", "period_s"),
    [
        ("30000000", None, 30.0),
        ("30000000", "ours", 30.0),
        ("30000000", "1", None),
        ("0", None, None),
        ("-5", None, None),
        ("often", None, None),
        ("5", "us", None),
        (None, None, None),
    ],
)
def test_watchdog_period(
    monkeypatch: pytest.MonkeyPatch, usec: str | None, pid: str | None, period_s: float | None
) -> None:
    for name, value in (("WATCHDOG_USEC", usec), ("WATCHDOG_PID", str(os.getpid()) if pid == "ours" else pid)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    assert watchdog_period_s() == period_s


@pytest.mark.trio
async def test_status_only_when_it_changes_and_the_watchdog_in_time(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    told: list[tuple[float, tuple[str, ...]]] = []
    monkeypatch.setenv("NOTIFY_SOCKET", "@somewhere")
    monkeypatch.setenv("WATCHDOG_USEC", "3000000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)

    def note(*assignments: str, wait_s: float) -> None:
        assert wait_s == 0
        told.append((trio.current_time(), assignments))

    monkeypatch.setattr(service_manager, "notify_service_manager", note)
    began = trio.current_time()
    with trio.move_on_after(30):
        await keep_informed(lambda: "alone" if trio.current_time() < began + 10 else "two\nREADY=1")
    assert [one for _, assignments in told for one in assignments if one.startswith("STATUS=")] == [
        "STATUS=alone",
        "STATUS=two READY=1",
    ]
    moments = [moment for moment, assignments in told if "WATCHDOG=1" in assignments]
    assert len(moments) > 10
    assert all(later - earlier <= 1.5 for earlier, later in itertools.pairwise(moments))


@pytest.mark.trio
async def test_nobody_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)

    def summary() -> str:
        raise AssertionError("not needed")

    with trio.fail_after(1):
        await keep_informed(summary)


def test_a_status_is_one_short_line() -> None:
    assert one_line("node\tof\r\n sea" + "x" * 5000) == "node of sea" + "x" * (service_manager.STATUS_SIZE_MAX - 11)
