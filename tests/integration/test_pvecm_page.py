"""docs/pvecm.md is true: its procedures are carried out, command by command, on daemons on loopback, without root.

A machine is a directory with a loopback address, and a `bin` before everything else in PATH: `totemctl` there is the
real one, told where this machine's files are; `systemctl`, `poweroff` and `poweron` start, stop and kill its daemon.
Each command is run by a shell; what it prints must match what the page shows. Commands that only look are repeated
until it does: a node that lost power is missed only after a while.
"""

import os
import re
import secrets
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "pvecm.md"
PATIENCE_S = 20.0
LOOKS = re.compile(r"totemctl cluster (status|nodes|config (show|history))|ls |grep ")

TOTEMCTL = """\
#!/bin/sh
cd {home}
case "$1 $2" in
"cluster create") set -- "$@" --address {address} --node-name {name} --mcast-port {port} --token-ms 300 {files} ;;
"cluster join") set -- "$@" --address {address} --node-name {name} --start {home}/bin/poweron {files} ;;
"cluster separate") set -- "$@" --config {home}/etc/corosync.conf --state-dir {home}/state ;;
"cluster mcast-addr") set -- "$@" --config {home}/none ;;
esac
exec {python} -m totemd.cli.ctl "$@"
"""
POWERON = """\
#!/bin/sh
cd {home}
setsid {python} -m totemd.cli.daemon {daemon} </dev/null >>log 2>&1 &
echo $! >pid
"""
POWEROFF = """\
#!/bin/sh
pid=$(cat {home}/pid)
kill -{signal} $pid
# Ended, though nobody may have asked for its exit status yet.
while grep -qs "^State:[[:space:]]*[^Z[:space:]]" /proc/$pid/status; do sleep 0.05; done
rm {home}/pid
"""
SYSTEMCTL = """\
#!/bin/sh
case "$1 $2" in
"enable --now" | start*) {home}/bin/poweron ;;
stop*) {home}/bin/halt ;;
*) exit 1 ;;
esac
"""


@dataclass
class Step:
    """A command of the page, and what it shows of its output."""

    line: int
    host: str
    command: str
    shown: list[str] = field(default_factory=list)
    status: int = 0

    @property
    def pattern(self) -> re.Pattern[str]:
        """The output that is shown, `...` for anything; the end may be missing."""
        lines = [
            "(?:.*\n)*?"
            if line == "..."
            else ".*".join(map(re.escape, line.split("..."))) + ".*\n"
            if "..." in line
            else re.escape(line.rstrip()) + " *\n"
            for line in self.shown
        ]
        return re.compile("".join(lines))


def steps() -> Iterator[Step]:
    step: Step | None = None
    inside = False
    for number, line in enumerate(PAGE.read_text().splitlines(), 1):
        if line.startswith("```"):
            inside = line == "```console"
            if step is not None:
                yield step
            step = None
        elif inside and (prompt := re.match(r"(hp\d)# (.*)", line)):
            if step is not None:
                yield step
            step = Step(number, prompt[1], prompt[2])
        elif inside and step is not None:
            if exit_status := re.fullmatch(r"\(exit status (\d+)\)", line):
                step.status = int(exit_status[1])
            else:
                step.shown.append(line)


class Machines:
    """The nodes of the page."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.network = f"127.{secrets.randbelow(200) + 20}.{secrets.randbelow(250) + 1}"
        self.port = 20_001 + 2 * secrets.randbelow(5_000)
        self.ticket = "none"
        self.waiting: list[subprocess.Popen[bytes]] = []

    def home(self, name: str) -> Path:
        home = self.directory / name
        if not home.exists():
            for part in ("etc", "run", "state", "bin"):
                (home / part).mkdir(parents=True)
            self._write_programs(home, name)
        return home

    def _write_programs(self, home: Path, name: str) -> None:
        files = f"--config {home}/etc/corosync.conf --state-dir {home}/state --keyfile {home}/etc/authkey"
        words = {
            "home": str(home),
            "name": name,
            "address": f"{self.network}.{name[2:]}",
            "port": str(self.port),
            "python": sys.executable,
            "files": files,
            "daemon": f"{files} --run-dir {home}/run --node {self.network}.{name[2:]}",
        }
        programs = {
            "totemctl": TOTEMCTL,
            "poweron": POWERON,
            "systemctl": SYSTEMCTL,
            "poweroff": POWEROFF.replace("{signal}", "KILL"),
            "halt": POWEROFF.replace("{signal}", "TERM"),
        }
        for program, text in programs.items():
            (home / "bin" / program).write_text(text.format(**words))
            (home / "bin" / program).chmod(0o755)

    def run(self, step: Step) -> tuple[int, str]:
        """Exit status and output, with the page's addresses and paths; a command that ends in & runs on."""
        home = self.home(step.host)
        command = step.command.replace("TICKET", self.ticket).replace("/etc/corosync/", f"{home}/etc/")
        environment = {
            **os.environ,
            "PATH": f"{home}/bin:{os.environ['PATH']}",
            "TOTEMD_SOCKET": f"{home}/run/totemd.sock",
        }
        if command.endswith("&"):
            self.waiting.append(subprocess.Popen(["sh", "-c", f"exec {command[:-1]}"], cwd=home, env=environment))
            return 0, ""
        shell = ["sh", "-c", command]
        done = subprocess.run(shell, capture_output=True, text=True, timeout=60, cwd=home, env=environment)
        if found := re.search(r"^totemd1-\S+", done.stdout, re.M):
            self.ticket = shlex.quote(found[0])
        text = done.stdout.replace(f"{home}/etc/", "/etc/corosync/")
        text = re.sub(re.escape(self.network) + r"\.(\d)( *)", lambda a: f"192.0.2.{a[1]}{_padding(a)}", text)
        return done.returncode, text + (f"stderr: {done.stderr}" if done.stderr else "")

    def end(self) -> None:
        for waiting in self.waiting:
            waiting.kill()
            waiting.wait()
        for pid in self.directory.glob("*/pid"):
            with suppress(ProcessLookupError, ValueError):
                os.kill(int(pid.read_text()), signal.SIGKILL)

    def logs(self) -> str:
        return "\n".join(
            f"--- {log.parent.name}\n" + "".join(log.read_text().splitlines(keepends=True)[-15:])
            for log in sorted(self.directory.glob("*/log"))
        )


def _padding(address: re.Match[str]) -> str:
    """The blanks that fill a column, for the page's addresses are of another length."""
    blanks = address[2]
    return blanks if len(blanks) < 2 else blanks + " " * (len(address[0]) - len(blanks) - len("192.0.2.1"))


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    machines = Machines(tmp_path)
    try:
        yield machines
    finally:
        machines.end()


def test_the_page_has_procedures() -> None:
    commands = " ".join(step.command for step in steps())
    for word in (
        "create",
        "invite",
        "join",
        "status",
        "nodes",
        "remove",
        "leave",
        "expected",
        "separate",
        "wait-quorum",
    ):
        assert f"totemctl cluster {word}" in commands


@pytest.mark.slow
def test_the_procedures_work(machines: Machines) -> None:
    for step in steps():
        deadline = time.monotonic() + PATIENCE_S
        while True:
            status, output = machines.run(step)
            if status == step.status and step.pattern.match(output):
                break
            where = f"{PAGE.name}:{step.line}: {step.host}# {step.command}\nexit status {status}\n{output}"
            assert LOOKS.search(step.command), f"{where}\n{machines.logs()}"
            assert time.monotonic() < deadline, f"{where}\n{machines.logs()}"
            time.sleep(0.2)
    assert_members_agree(machines, "hp1", "hp2")


def assert_members_agree(machines: Machines, *names: str) -> None:
    """R03: on all members status and nodes are the same, byte for byte, but for the clock and for who is asked."""
    for command in ("totemctl status", "totemctl nodes", "totemctl cluster status --compat", "totemctl cluster nodes"):
        texts = set()
        for name in names:
            status, text = machines.run(Step(0, name, command))
            assert status == 0
            texts.add(re.sub(r"(?m)^(Date|Node ID): .*\n| \(local\)", "", text))
        assert len(texts) == 1, texts
