"""`totemctl demo` (and `make demo`): a cluster of three real daemons on this machine, told as a story.

No root, loopback only, under a minute, and nothing is left behind: no process and no file, whatever happens in between.
demo_cluster.py holds the daemons; this file is the story.
"""

import contextlib
import hashlib
import io
import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final, Self

from totemd.cli import ctl
from totemd.cli.demo_cluster import Cluster, Daemon, DemoFailed
from totemd.client import blocking
from totemd.client.blocking import BlockingClient
from totemd.client.errors import TotemdClientError
from totemd.client.records import Delivered, MembersChanged, Membership

MESSAGES_PER_CLIENT: Final = 300
GROUP: Final = b"demo"

TIME_LIMIT_S: Final = 55.0
"""For the whole story; a step that would exceed it fails."""
STEP_LIMIT_S: Final = 20.0
POLL_S: Final = 0.05


class Interrupted(Exception):
    """A signal asked us to end."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number


class Signals:
    """SIGINT, SIGTERM and SIGHUP raise Interrupted, once: the clean-up that follows is not to be interrupted."""

    NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self._hold = False
        self._pending: int | None = None

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._came) for number in self.NUMBERS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def ignore(self) -> None:
        """From now on nothing is raised."""
        for number in self.NUMBERS:
            signal.signal(number, signal.SIG_IGN)

    @contextmanager
    def held(self) -> Iterator[None]:
        """While this lasts, a signal waits."""
        self._hold = True
        try:
            yield
        finally:
            self._hold = False
        if self._pending is not None:
            self._came(self._pending, None)

    def _came(self, number: int, frame: FrameType | None) -> None:
        if self._hold:
            self._pending = number
            return
        self.ignore()
        raise Interrupted(number)


class Teller:
    """Prints the story (unless JSON is wanted) and collects the facts of it."""

    def __init__(self, signals: Signals, *, as_json: bool) -> None:
        self.signals = signals
        self.as_json = as_json
        self.facts: dict[str, Any] = {}
        self._deadline_s = time.monotonic() + TIME_LIMIT_S

    def say(self, text: str = "") -> None:
        if not self.as_json:
            print(text, flush=True)

    def step(self, title: str) -> None:
        self.say(f"\n== {title}")

    def start(self, *daemons: Daemon) -> None:
        """Start daemons, all at once; a signal waits until we know every process that it must end."""
        with self.signals.held():
            for daemon in daemons:
                daemon.start()

    def limit_s(self) -> float:
        """How long the next wait may take."""
        return max(0.0, min(STEP_LIMIT_S, self._deadline_s - time.monotonic()))

    def wait(self, what: str, done: Callable[[], bool]) -> float:
        """Wait for `done()` with visible progress; the seconds that it took. DemoFailed when it takes too long."""
        begin_s = time.monotonic()
        limit_s = self.limit_s()
        next_dot_s = 0.5
        self._write(f"   waiting for {what} ")
        while not done():
            waited_s = time.monotonic() - begin_s
            if waited_s > limit_s:
                self._write("\n")
                raise DemoFailed(f"gave up after {waited_s:.0f} s of waiting for {what}")
            if waited_s > next_dot_s:
                self._write(".")
                next_dot_s += 0.5
            time.sleep(POLL_S)
        took_s = time.monotonic() - begin_s
        self._write(f" {took_s:.1f} s\n")
        return took_s

    def _write(self, text: str) -> None:
        if not self.as_json:
            sys.stdout.write(text)
            sys.stdout.flush()


def run(*, as_json: bool) -> int:
    """Tell the whole story; 0 if everything went as it must, 1 if not, 128 + signal number if interrupted."""
    begin_s = time.monotonic()
    try:
        with Signals() as signals, Cluster() as cluster:
            teller = Teller(signals, as_json=as_json)
            try:
                _tell(teller, cluster)
            except (DemoFailed, TotemdClientError) as error:
                raise DemoFailed(f"{error}\n{cluster.log_tails()}") from None
            finally:
                signals.ignore()
    except DemoFailed as error:
        print(f"\ntotemctl demo: FAILED: {error}", file=sys.stderr)
        return 1
    except Interrupted as interrupt:
        print(f"\ntotemctl demo: ended by {interrupt}; everything is cleaned up", file=sys.stderr)
        return interrupt.status
    took_s = time.monotonic() - begin_s
    teller.say(f"\nThat was all, in {took_s:.0f} s. All daemons have ended with status 0; no file is left.")
    if as_json:
        print(json.dumps({**teller.facts, "took_s": round(took_s, 1)}))
    return 0


def _tell(teller: Teller, cluster: Cluster) -> None:
    names = ", ".join(f"{daemon.name} ({daemon.address})" for daemon in cluster.daemons)
    teller.say("totemd keeps a group of machines agreed on who is in the group, and on the order of their messages.")
    teller.say(f"Here the machines are three daemons on this one: {names}.")
    teller.say(f"They talk over {cluster.where}.")
    _form(teller, cluster)
    _one_order(teller, cluster)
    _crash(teller, cluster)
    _lose_quorum(teller, cluster)
    _heal(teller, cluster)
    _stop(teller, cluster)


def _form(teller: Teller, cluster: Cluster) -> None:
    teller.step("1. Three daemons start and form one ring")
    teller.start(*cluster.daemons)
    took_s = teller.wait("a ring of three, quorate on each node", lambda: whole(cluster.daemons))
    teller.facts["formed_s"] = round(took_s, 2)
    _show_status(teller, cluster.daemons[0], expected=0)


def _one_order(teller: Teller, cluster: Cluster) -> None:
    total = MESSAGES_PER_CLIENT * len(cluster.daemons)
    teller.step(f"2. Three clients multicast {MESSAGES_PER_CLIENT} messages each, all at once")
    teller.say("   Each node numbers what it receives and hashes it, order included.")
    chorus = Chorus(cluster.daemons, teller.limit_s())
    teller.wait(f"{total} deliveries on each node", chorus.finished)
    for name, (count, digest) in chorus.results.items():
        teller.say(f"   {name:<8} {count} messages, sha256 {digest[:32]}...")
    if len(set(chorus.results.values())) != 1:
        raise DemoFailed("the nodes do not agree on the order of messages")
    teller.say("   The same messages in the same order everywhere.")
    teller.facts["order"] = {name: {"messages": n, "sha256": h} for name, (n, h) in chorus.results.items()}


def _crash(teller: Teller, cluster: Cluster) -> None:
    first, second, victim = cluster.daemons
    teller.step(f"3. {victim.name} is killed (kill -9 {victim.pid})")
    took_s = _kill(teller, victim, [first, second])
    teller.say(f"   {first.name} and {second.name} agree on a membership without it, {took_s:.1f} s after the kill.")
    teller.say("   Two of three votes are a majority: the cluster stays quorate.")
    teller.facts["crash_noticed_s"] = round(took_s, 2)


def _lose_quorum(teller: Teller, cluster: Cluster) -> None:
    survivor, victim, _ = cluster.daemons
    teller.step(f"4. {victim.name} is killed as well (kill -9 {victim.pid})")
    _kill(teller, victim, [survivor])
    teller.wait("the loss of quorum", lambda: not quorate(survivor))
    teller.say("   One vote of three is no majority: nobody may act now, and `totemctl status` says so.")
    _show_status(teller, survivor, expected=2)
    teller.facts["exit_status_without_quorum"] = 2


def _heal(teller: Teller, cluster: Cluster) -> None:
    _, second, third = cluster.daemons
    teller.step(f"5. {second.name} and {third.name} start again")
    teller.start(second, third)
    teller.facts["healed_s"] = round(teller.wait("a whole ring", lambda: whole(cluster.daemons)), 2)
    _show_status(teller, third, expected=0)


def _stop(teller: Teller, cluster: Cluster) -> None:
    teller.step("6. All leave cleanly (SIGTERM)")
    for daemon in cluster.daemons:
        daemon.terminate()
    teller.wait("their end", lambda: not any(daemon.running for daemon in cluster.daemons))
    for daemon in cluster.daemons:
        if daemon.exit_status != 0:
            raise DemoFailed(f"{daemon.name} ended with status {daemon.exit_status}")


def _kill(teller: Teller, victim: Daemon, survivors: list[Daemon]) -> float:
    """kill -9 the victim; the seconds until all survivors had a regular configuration without it."""
    witnesses = [Witness(survivor, victim.nodeid, teller.limit_s()) for survivor in survivors]
    begin_s = time.monotonic()
    victim.kill()
    teller.wait("the others to notice", lambda: all(witness.finished() for witness in witnesses))
    return max(witness.seen_s for witness in witnesses) - begin_s


def _show_status(teller: Teller, daemon: Daemon, *, expected: int) -> None:
    """Run the real command and show what it says."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        status = ctl.main(["--socket", str(daemon.socket), "status"])
    teller.say(f"   $ totemctl status                  # on {daemon.name}")
    for line in output.getvalue().splitlines():
        teller.say(f"   {line}".rstrip())
    teller.say(f"   (exit status {status})")
    if status != expected:
        raise DemoFailed(f"`totemctl status` exited with {status}, not with {expected}")


def whole(daemons: list[Daemon]) -> bool:
    """All of `daemons` are up, see one and the same ring of all of them, and are quorate and synchronized."""
    rings = set()
    for daemon in daemons:
        daemon.check_alive()
        try:
            with blocking.connect(daemon.socket, name="demo") as client:
                status = client.status()
        except TotemdClientError:
            return False
        if not status.quorate or status.syncing or len(status.members) != len(daemons):
            return False
        rings.add(status.ring)
    return len(rings) == 1


def quorate(daemon: Daemon) -> bool:
    with blocking.connect(daemon.socket, name="demo") as client:
        return client.status().quorate


class Worker:
    """A thread with a client of one daemon; its failure surfaces in `finished`."""

    def __init__(self, daemon: Daemon, limit_s: float) -> None:
        self.daemon = daemon
        self._deadline_s = time.monotonic() + limit_s
        self._failure: Exception | None = None
        self._client = blocking.connect(daemon.socket, name="demo")
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def finished(self) -> bool:
        self.daemon.check_alive()
        if self._thread.is_alive():
            return False
        if self._failure is not None:
            raise DemoFailed(f"a client of {self.daemon.name}: {self._failure}")
        return True

    def remaining_s(self) -> float:
        """Time left; DemoFailed when there is none."""
        remaining_s = self._deadline_s - time.monotonic()
        if remaining_s <= 0:
            raise DemoFailed("took too long")
        return remaining_s

    def _run(self) -> None:
        try:
            with self._client as client:
                self.work(client)
        except Exception as error:
            self._failure = error

    def work(self, client: BlockingClient) -> None:
        raise NotImplementedError


class Witness(Worker):
    """Notes when a node has gone from the membership that its daemon reports."""

    def __init__(self, daemon: Daemon, gone: int, limit_s: float) -> None:
        super().__init__(daemon, limit_s)
        self._gone = gone
        self._tracker = self._client.track()
        self.seen_s = 0.0
        self.start()

    def work(self, client: BlockingClient) -> None:
        while True:
            event = self._tracker.next_event(self.remaining_s())
            if isinstance(event, Membership) and event.kind == "regular" and self._gone not in event.members:
                self.seen_s = time.monotonic()
                return


class Singer(Worker):
    """Multicasts, and hashes all that is delivered, in order."""

    def __init__(self, daemon: Daemon, nodes: int, limit_s: float) -> None:
        super().__init__(daemon, limit_s)
        self._nodes = nodes
        self.count = 0
        self.digest = hashlib.sha256()

    def work(self, client: BlockingClient) -> None:
        group = client.join(GROUP, timeout_s=self.remaining_s())
        members = 0
        while members < self._nodes:
            event = group.next_event(self.remaining_s())
            if isinstance(event, MembersChanged):
                members = len(event.members)
        for number in range(MESSAGES_PER_CLIENT):
            group.multicast(f"{self.daemon.name} says {number}".encode(), timeout_s=self.remaining_s())
        while self.count < MESSAGES_PER_CLIENT * self._nodes:
            event = group.next_event(self.remaining_s())
            if isinstance(event, Delivered):
                self.count += 1
                self.digest.update(b"%d %b\n" % (event.nodeid, event.data))


class Chorus:
    """One singer on each node."""

    def __init__(self, daemons: list[Daemon], limit_s: float) -> None:
        self._singers = [Singer(daemon, len(daemons), limit_s) for daemon in daemons]
        for singer in self._singers:
            singer.start()

    def finished(self) -> bool:
        # All are asked, so that a failure shows although another is not finished yet.
        finished = [singer.finished() for singer in self._singers]
        return all(finished)

    @property
    def results(self) -> dict[str, tuple[int, str]]:
        """Per node: how many messages, and the hash of all of them in their order."""
        return {singer.daemon.name: (singer.count, singer.digest.hexdigest()) for singer in self._singers}
