"""Machines of a managed cluster on loopback, without root: directories of their own, `totemctl cluster`, `totemd`."""

import json
import os
import random
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from totemd_lab import native

STOP_TIMEOUT_S = 10.0
COMMAND_TIMEOUT_S = 60.0


class Machine:
    """One machine: its files, and the daemon that runs with them."""

    def __init__(self, directory: Path, name: str, number: int) -> None:
        """`number` is the last of 127.0.0.NUMBER."""
        self.name = name
        self.address = f"127.0.0.{number}"
        self.directory = directory / name
        self.config = self.directory / "corosync.conf"
        self.state = self.directory / "state"
        self.key = self.directory / "authkey"
        self.socket = self.directory / "run" / "totemd.sock"
        self.log = self.directory / "log"
        self.daemon: subprocess.Popen[bytes] | None = None
        (self.directory / "run").mkdir(parents=True)

    @property
    def files(self) -> list[str]:
        """The options that name this machine's files."""
        return ["--config", str(self.config), "--state-dir", str(self.state), "--keyfile", str(self.key)]

    @property
    def daemon_command(self) -> list[str]:
        command = [sys.executable, "-m", "totemd.cli.daemon", "-c", str(self.config), "--state-dir", str(self.state)]
        return [*command, "--keyfile", str(self.key), "--run-dir", str(self.socket.parent), "--node", self.name]

    @property
    def start_command(self) -> str:
        """For `join --start`: the daemon's process id is left in a file."""
        log, pid = shlex.quote(str(self.log)), shlex.quote(str(self.directory / "pid"))
        return f"{shlex.join(self.daemon_command)} >>{log} 2>&1 & echo $! >{pid}"

    def start(self) -> None:
        """Start the daemon."""
        with self.log.open("ab") as log:
            self.daemon = subprocess.Popen(
                self.daemon_command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def command(self, *words: str) -> list[str]:
        """A command of `totemctl cluster` on this machine."""
        return [sys.executable, "-m", "totemd.cli.ctl", "--socket", str(self.socket), "cluster", *words]

    def run(self, *words: str, status: int | None = 0, text: str | None = None) -> str:
        """Run `totemctl cluster WORDS`; what it printed, errors included. AssertionError if it ends otherwise."""
        done = subprocess.run(
            self.command(*words), capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False, input=text
        )
        output = done.stdout + done.stderr
        assert status is None or done.returncode == status, f"{words}: {done.returncode}: {output}\n{self.log_tail()}"
        assert "Traceback" not in output, output
        return output

    def ask(self, *words: str) -> Any:
        """The JSON that a command prints."""
        return json.loads(self.run(*words, "--json"))

    def ctl(self, *words: str) -> Any:
        """The JSON of another command of totemctl; None while there is no answer."""
        command = [sys.executable, "-m", "totemd.cli.ctl", "--socket", str(self.socket), *words, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False)
        return json.loads(done.stdout) if done.stdout else None

    def join_words(self, ticket: str, *more: str) -> list[str]:
        """The words of a join of this machine, which starts its daemon."""
        words = ["join", ticket, "--node-name", self.name, "--address", self.address, *self.files]
        return [*words, "--start", self.start_command, "--timeout", "40", *more]

    def join(self, ticket: str, *more: str, status: int = 0) -> str:
        """Join, and have the daemon started by the command."""
        try:
            return self.run(*self.join_words(ticket, *more), status=status)
        finally:
            self.adopt()

    def adopt(self) -> None:
        """Know the daemon that `join` has started."""
        file = self.directory / "pid"
        if file.exists() and file.read_text().strip():
            self.pid = int(file.read_text())

    pid = 0
    """Of a daemon that `join` has started."""

    @property
    def running(self) -> bool:
        if self.daemon is not None:
            return self.daemon.poll() is None
        return self.pid > 0 and Path(f"/proc/{self.pid}").exists() and self._is_daemon()

    def _is_daemon(self) -> bool:
        try:
            command = Path(f"/proc/{self.pid}/cmdline").read_bytes()
            state = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        return str(self.config).encode() in command and state != "Z"

    def signal(self, number: int) -> None:
        """Send a signal to the daemon."""
        if self.running:
            os.kill(self.daemon.pid if self.daemon is not None else self.pid, number)

    def stop(self, number: int = 15) -> None:
        """End the daemon, and wait until it has."""
        self.signal(number)
        wait_until(lambda: not self.running, STOP_TIMEOUT_S, f"{self.name} ends")
        if self.daemon is not None:
            self.daemon.wait()
        self.daemon, self.pid = None, 0
        (self.directory / "pid").unlink(missing_ok=True)

    def log_tail(self, lines: int = 40) -> str:
        """The end of what the daemon wrote."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join([f"--- {self.name}:", *text.splitlines()[-lines:]])

    def logged(self, words: str) -> bool:
        """Whether the daemon wrote that."""
        return self.log.exists() and words in self.log.read_text(errors="replace")

    def status(self) -> Any:
        """What `totemctl status` says; None while the daemon does not answer."""
        return native.ask(self.socket, "status", timeout_s=5)

    def is_settled(self, members: int) -> bool:
        """Whether it is quorate in a ring of so many, all of which count."""
        found = self.status()
        return bool(
            found
            and found["quorate"]
            and len(found["members"]) == members
            and found["votes"]["expected"] == found["votes"]["total"] == members
        )


class Machines:
    """Some of them, and an end of all their daemons."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.all: dict[str, Machine] = {}
        self.port = free_port()

    def add(self, name: str, number: int) -> Machine:
        machine = self.all[name] = Machine(self.directory, name, number)
        return machine

    def create(self, machine: Machine, *more: str, token_ms: int = 1000) -> None:
        """A cluster whose first node is `machine`, and its daemon. A node that dies is missed soon; where none does, a
        longer `token_ms` keeps the ring together on a machine that is busy."""
        group = f"239.255.{random.randrange(1, 255)}.{random.randrange(1, 255)}"
        options = ["--node-name", machine.name, "--address", machine.address, "--token-ms", str(token_ms)]
        options += ["--mcast-addr", group, "--mcast-port", str(self.port), *machine.files, *more]
        machine.run("create", "sea", *options)
        text = machine.config.read_text()
        # As an operator would, before the first start.
        text = text.replace("totem {\n", f"totem {{\n    join_port: {self.port}\n    token_coefficient: 0\n", 1)
        text += "system {\n    sched_rr: no\n    qb_ipc: no\n}\n"
        machine.config.write_text(text)
        machine.start()
        wait_until(lambda: machine.is_settled(1), 15, f"{machine.name} is quorate\n{machine.log_tail()}")

    def close(self) -> None:
        for machine in self.all.values():
            machine.adopt()
            machine.signal(9)
        for machine in self.all.values():
            machine.stop(9)

    def log_tails(self) -> str:
        return "\n".join(machine.log_tail() for machine in self.all.values())


def settled(members: list[Machine], timeout_s: float = 20) -> None:
    """All of them have one text and are in one ring, in which they count, and nobody is half in."""

    def done() -> bool:
        texts = {machine.config.read_text() for machine in members}
        half_in = any(word in text for text in texts for word in ("joining_votes", "leaving"))
        return len(texts) == 1 and not half_in and all(machine.is_settled(len(members)) for machine in members)

    wait_until(done, timeout_s, "\n".join(machine.log_tail() for machine in members))


def ticket(machine: Machine, *more: str) -> str:
    text: str = machine.ask("invite", *more)["ticket"]
    return text


def cluster_of(machines: Machines, *names: str) -> list[Machine]:
    """Machines 1, 2 ... of one cluster."""
    first, *others = [machines.add(name, number) for number, name in enumerate(names, 1)]
    machines.create(first)
    for machine in others:
        machine.join(ticket(first))
    settled([first, *others])
    return [first, *others]


def wait_until(condition: Callable[[], object], timeout_s: float, what: str) -> None:
    """AssertionError if `condition` does not come true in time."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"not within {timeout_s} s: {what}"
        time.sleep(0.05)


def free_port() -> int:
    """A port that nobody has, nor the one below it, for UDP and TCP."""
    for _ in range(100):
        port = random.randrange(20_001, 32_000, 2)
        if all(_is_free(f"127.0.0.{n}", number) for n in (1, 2, 3, 4) for number in (port, port - 1)):
            return port
    raise AssertionError("no port is free")


def _is_free(address: str, port: int) -> bool:
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind((address, port))
            except OSError:
                return False
    return True
