"""`totemctl cluster wait-quorum`: nothing that needs quorum starts before there is some, however long that takes."""

import os
import signal
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from typing import Final

from totemd.cli.commands_ring import NOT_QUORATE, QUORATE, CommandError, print_json
from totemd.client import blocking
from totemd.client.blocking import ANSWER_TIMEOUT_S
from totemd.client.errors import CannotConnect, ConnectionLost, ProtocolError, Refused
from totemd.client.records import QuorumStatus

RETRY_S: Final = 0.5
"""Between two attempts to reach a daemon that does not run."""
REMIND_S: Final = 60.0
"""So often it is said what is waited for."""
ANSWER_MIN_S: Final = 0.5
"""A daemon that runs may take so long for an answer, even when hardly any time is left."""


def wait_quorum(arguments: Namespace) -> int:
    """`totemctl cluster wait-quorum [--timeout S] [-- CMD...]`."""
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    deadline = None if arguments.timeout is None else time.monotonic() + arguments.timeout
    quorate = _wait(arguments, deadline)
    if arguments.json and not (quorate and command):
        print_json({"quorate": quorate})
    if not quorate:
        print(f"totemctl: no quorum within {arguments.timeout:g} s", file=sys.stderr)
        return NOT_QUORATE
    if not command:
        return QUORATE
    sys.stdout.flush()
    # Python ignores both, and a program would inherit that.
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGPIPE, signal.SIGXFSZ)}
    try:
        os.execvp(command[0], command)
    except OSError as error:
        for number, handler in before.items():
            signal.signal(number, handler)
        raise CommandError(f"cannot run {command[0]!r}: {error.strerror}") from None


def _wait(arguments: Namespace, deadline: float | None) -> bool:
    """False: the time is over. Whatever is wrong with the daemon, it may be restarted, so that is waited for, too."""
    say = _Reminder()
    while True:
        try:
            if _wait_with_daemon(arguments, deadline, say):
                return True
        except (CannotConnect, ConnectionLost) as error:
            say(f"waiting for the daemon: {error}")
        except (ProtocolError, Refused) as error:
            # Neither gets better by waiting: somebody else's socket, or no permission.
            raise CommandError(f"cannot wait for quorum: {error}") from None
        if _left(deadline) == 0.0:
            return False
        time.sleep(min(RETRY_S, _left(deadline, RETRY_S)))


def _wait_with_daemon(arguments: Namespace, deadline: float | None, say: Callable[[str], None]) -> bool:
    answer_s = min(ANSWER_TIMEOUT_S, max(ANSWER_MIN_S, _left(deadline, ANSWER_TIMEOUT_S)))
    with (
        blocking.connect(arguments.socket, name="totemctl", timeout_s=answer_s) as client,
        client.track() as tracker,
    ):
        while True:
            # What is true now: the verdict of a ring that is not synchronized may be of an earlier one.
            status = client.status()
            if status.quorate and not status.syncing:
                return True
            votes = status.votes
            say(f"waiting for quorum: {votes.total} of {votes.expected} votes are present, {votes.quorum} are needed")
            while True:
                left_s = _left(deadline, REMIND_S)
                if left_s == 0.0:
                    return False
                event = tracker.next_event(min(left_s, REMIND_S))
                if event is None or not isinstance(event, QuorumStatus) or event.quorate:
                    break


def _left(deadline: float | None, without: float = 1.0) -> float:
    return without if deadline is None else max(0.0, deadline - time.monotonic())


class _Reminder:
    """Says a thing on stderr when it is new, and again from time to time."""

    def __init__(self) -> None:
        self._last = ""
        self._said_at = 0.0

    def __call__(self, text: str) -> None:
        now = time.monotonic()
        if text != self._last or now - self._said_at >= REMIND_S:
            print(f"totemctl: {text}", file=sys.stderr, flush=True)
            self._last, self._said_at = text, now
