"""What a service manager is told of the daemon: sd_notify(3), as systemd.service(5) has it with Type=notify.

Datagrams to the socket that NOTIFY_SOCKET names: READY=1 once clients are served, STOPPING=1 at the end, RELOADING=1
while the configuration is read again, STATUS= in a line for people (`systemctl status`), and WATCHDOG=1 from the loop
as often as the manager wants to hear that it still turns. Nothing depends on them, and nobody waits for them but for
the first and the last.
"""

import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import trio

NOTIFY_TIMEOUT_S: Final = 0.5
"""How long a service manager that does not read may keep us, at the beginning and at the end."""

STATUS_PERIOD_S: Final = 2.0
"""How old the status line may be."""

WATCHDOG_SHARE: Final = 3
"""The watchdog is told so many times in its period: two may be late."""

STATUS_SIZE_MAX: Final = 1000
"""Characters of the status line."""


def notify_service_manager(*assignments: str, wait_s: float = NOTIFY_TIMEOUT_S) -> None:
    """Tell it, if there is one and it asked to be told; wait for `wait_s` at most if it does not read."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.settimeout(wait_s)
        sock.connect(address)
        sock.sendall("\n".join(assignments).encode())


def tell_reloading() -> None:
    """The configuration is being read; READY=1 follows when that is done."""
    notify_service_manager("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}", wait_s=0)


def watchdog_period_s() -> float | None:
    """How often the manager wants to hear of this process at least, if it does (sd_watchdog_enabled(3))."""
    try:
        period_us = int(os.environ.get("WATCHDOG_USEC", ""))
        whose = int(os.environ.get("WATCHDOG_PID", "") or os.getpid())
    except ValueError:
        return None
    return period_us / 1e6 if period_us > 0 and whose == os.getpid() else None


async def keep_informed(summary: Callable[[], str]) -> None:
    """Tell the manager, until cancelled, that the loop turns, and the node's state in a line when it has changed."""
    if not os.environ.get("NOTIFY_SOCKET"):
        return
    watchdog_s = watchdog_period_s()
    period_s = STATUS_PERIOD_S if watchdog_s is None else min(STATUS_PERIOD_S, watchdog_s / WATCHDOG_SHARE)
    told = ""
    while True:
        assignments = [] if watchdog_s is None else ["WATCHDOG=1"]
        status = one_line(summary())
        if status != told:
            assignments.append(f"STATUS={status}")
            told = status
        if assignments:
            notify_service_manager(*assignments, wait_s=0)
        await trio.sleep(period_s)


def one_line(text: str) -> str:
    """Names in it come from a file, and a line's end would begin another assignment."""
    return " ".join(text.split())[:STATUS_SIZE_MAX]
