"""`totemd` as its users meet it: mistakes cost one clear line, signals and second starts do what is expected."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from small_configuration import small_text
from totemd import __version__
from totemd.cli import daemon as command
from totemd_lab import native
from totemd_lab.places import Machine, Process
from totemd_lab.ring import free_udp_port, wait_until

WAIT_S = 10.0
NETWORK = f"127.{1 + os.getpid() % 200}.9"
ABSENT = ("198.51.100.1", "198.51.100.2")
"""Addresses of no machine (RFC 5737)."""

QUICK = "token: 300\nconsensus: 360\ntoken_coefficient: 0"


@dataclass
class Run:
    """What a command that has ended leaves."""

    status: object
    out: str
    err: str


def in_process(capsys: pytest.CaptureFixture[str], *arguments: str) -> Run:
    status: object
    try:
        status = command.main(list(arguments))
    except SystemExit as end:
        status = end.code
    out, err = capsys.readouterr()
    return Run(status, out, err)


Check = Callable[..., Run]


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Check:
    """`totemd -t` of a file with that text."""

    def run(text: str, *options: str) -> Run:
        file = tmp_path / "corosync.conf"
        file.write_text(text)
        return in_process(capsys, "-t", "-c", str(file), *options)

    return run


def test_good_file(check: Check, tmp_path: Path) -> None:
    result = check(small_text("127.0.0.1", "127.0.0.2", "127.0.0.3"), "--node", "n1")
    assert result.status == 0
    assert result.out == f"{tmp_path}/corosync.conf is valid: 3 nodes, this is node 1 (n1), transport udpu, open\n"
    assert result.err == ""


def test_doubtful_file_is_valid_with_a_warning(check: Check, tmp_path: Path) -> None:
    result = check(small_text("127.0.0.1", totem="tokn: 1000"))
    assert result.status == 0
    assert (
        result.err
        == f"totemd: warning: {tmp_path}/corosync.conf:5: totem.tokn: unknown key, not obeyed; did you mean token?\n"
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "totem.version: missing"),
        (small_text("127.0.0.1", totem="token: abc"), ":5: totem.token: "),
        (small_text("127.0.0.1", totem="token: 5"), ":5: totem.token: "),
        (small_text("127.0.0.1", transport="knet"), ':4: totem.transport: found "knet", which totemd does not speak'),
        (small_text("127.0.0.1", totem="crypto_cipher: rot13"), ":5: totem.crypto_cipher: "),
        (small_text("127.0.0.1", totem="secauth: perhaps"), ":5: totem.secauth: "),
        (small_text("127.0.0.1", totem="}"), ":"),
        (small_text("127.0.0.1")[:-3], "never closed"),
        (small_text("a..b"), 'the name "a..b" does not resolve'),
        (small_text("127.0.0.1", interface="mcastport: 70000"), ":8: totem.interface.0.mcastport: "),
        (small_text(*ABSENT), "198.51.100.1"),
        (small_text("127.0.0.1", totem="cluster_name: a\0b"), "control character"),
        ("x" * 2_000_000, "larger than 1048576 bytes"),
    ],
)
def test_mistake_costs_one_line_that_says_where(check: Check, tmp_path: Path, text: str, complaint: str) -> None:
    result = check(text)
    assert result.status == 1
    assert result.out == ""
    (line,) = result.err.splitlines()
    assert line.startswith(f"totemd: {tmp_path}/corosync.conf:")
    assert complaint in line


def test_node_that_is_not_listed_is_told_what_was_compared(check: Check) -> None:
    (line,) = check(small_text(*ABSENT)).err.splitlines()
    for address in (*ABSENT, "127.0.0.1"):
        assert address in line


def test_file_that_cannot_be_read(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"totem {\xff\xfe")
    for path, complaint in [
        (tmp_path / "none", "No such file"),
        (tmp_path, "Is a directory"),
        (tmp_path / "binary" / "below", "Not a directory"),
        (tmp_path / "binary", "byte 7 is not UTF-8"),
        (Path("/dev/zero"), "larger than"),
    ]:
        result = in_process(capsys, "-t", "-c", str(path))
        assert result.status == 1
        assert str(path) in result.err
        assert complaint in result.err
        assert len(result.err.splitlines()) == 1


def test_uidgid_file_that_cannot_be_read(check: Check, tmp_path: Path) -> None:
    (tmp_path / "uidgid.d").mkdir()
    (tmp_path / "uidgid.d" / "binary").write_bytes(b"\xff")
    result = check(small_text("127.0.0.1"))
    assert result.status == 1
    assert f"{tmp_path}/uidgid.d/binary: cannot be read" in result.err
    (tmp_path / "uidgid.d" / "binary").unlink()
    (tmp_path / "uidgid.d" / "loop").symlink_to("loop")
    (tmp_path / "uidgid.d" / "directory").mkdir()
    assert check(small_text("127.0.0.1")).status in (0, 1)


LINES = small_text("127.0.0.1", "127.0.0.2", totem=QUICK, quorum="two_node: 1\nexpected_votes: 2").splitlines()
WORDS = st.sampled_from(
    ["{", "}", ":", "totem {", "node {", "nodeid: -1", "ring0_addr: x", "a: b: c", "two_node: 1", "ë"]
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(0, len(LINES)), WORDS | st.text(max_size=30)), max_size=4),
    st.sets(st.integers(0, len(LINES)), max_size=3),
)
def test_no_file_gives_a_traceback(
    check: Check, monkeypatch: pytest.MonkeyPatch, inserted: list[tuple[int, str]], removed: set[int]
) -> None:
    def nobody(*arguments: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    lines = [line for number, line in enumerate(LINES) if number not in removed]
    for number, line in inserted:
        lines.insert(number, line.encode(errors="replace").decode())
    result = check("\n".join(lines))
    assert result.status in (0, 1)
    assert (result.status == 0) == ("is valid" in result.out)
    if result.status == 1:
        assert len(result.err.splitlines()) == 1


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    result = in_process(capsys, "--help")
    assert result.status == 0
    for word in ("examples:", "SIGTERM", "SIGHUP", "exit status:", "--state-dir", "--run-dir", "totemd.sock"):
        assert word in result.out


@pytest.mark.parametrize("option", ["-v", "--version"])
def test_version(capsys: pytest.CaptureFixture[str], option: str) -> None:
    assert in_process(capsys, option) == Run(0, f"totemd {__version__}\n", "")


@pytest.mark.parametrize("arguments", [["--nonsense"], ["-c"], ["surplus"]])
def test_wrong_usage(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    result = in_process(capsys, *arguments)
    assert result.status == 64
    assert result.err.startswith("usage: totemd")
    assert "see totemd --help" in result.err


# Daemons that run


@dataclass
class Totemd:
    """A daemon of its own, alone in its ring."""

    path: Path
    address: str = f"{NETWORK}.1"
    port: int = field(default_factory=free_udp_port)
    env: dict[str, str] = field(default_factory=dict)
    process: Process | None = None

    def __post_init__(self) -> None:
        self.path.mkdir(exist_ok=True)
        self.conf = self.path / "corosync.conf"
        self.state = self.path / "state"
        self.run_dir = self.path / "run"
        self.log = self.path / "log"
        self.configure()

    def configure(self, totem: str = QUICK, address: str | None = None) -> None:
        interface = f"mcastport: {self.port}"
        self.conf.write_text(small_text(address or self.address, totem=totem, interface=interface, transport="udp"))

    def start(self) -> "Totemd":
        directories = ["--state-dir", str(self.state), "--run-dir", str(self.run_dir)]
        argv = [sys.executable, "-m", "totemd.cli.daemon", "-f", "-c", str(self.conf), *directories]
        env = {"NOTIFY_SOCKET": "", **self.env}
        self.process = Process(Machine(), argv, self.log, env)
        return self

    def wait_quorate(self) -> None:
        def quorate() -> bool:
            status = native.status(self.run_dir / "totemd.sock")
            return status is not None and status["quorate"]

        assert wait_until(lambda: not self.running() or quorate(), WAIT_S), self.text()
        assert self.running(), self.text()

    def running(self) -> bool:
        return self.process is not None and self.process.running()

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.signal(number)

    def wait(self) -> int:
        assert self.process is not None
        return self.process.wait(WAIT_S)

    def text(self) -> str:
        return self.log.read_text()

    def wait_logged(self, text: str) -> None:
        assert wait_until(lambda: text in self.text(), WAIT_S), self.text()


MakeTotemd = Callable[..., Totemd]


@pytest.fixture
def make(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeTotemd]:
    """Makes daemons; those that still run are killed at the test's end."""
    made: list[Totemd] = []

    def totemd(**options: object) -> Totemd:
        # Not tmp_path: a socket's path must stay below 108 bytes.
        made.append(Totemd(tmp_path_factory.mktemp("totemd"), **options))  # type: ignore[arg-type]
        return made[-1]

    yield totemd
    for one in made:
        if one.process is not None:
            one.process.close()


def refused(daemon: Totemd) -> str:
    """The one line of a daemon that does not start."""
    assert daemon.wait() == 1
    (line,) = daemon.text().splitlines()
    assert line.startswith("totemd: ")
    return line


def test_life_of_a_daemon(make: MakeTotemd) -> None:
    """Started, asked, a wrong reload, a good one, stopped: and nothing but its log and its number is left."""
    daemon = make().start()
    daemon.wait_quorate()
    socket_path = daemon.run_dir / "totemd.sock"
    asked = subprocess.run(
        [sys.executable, "-m", "totemd.cli.ctl", "--socket", str(socket_path), "status"],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert asked.returncode == 0, asked.stderr
    assert "Quorate:          Yes" in asked.stdout

    daemon.conf.unlink()
    daemon.signal(signal.SIGHUP)
    daemon.wait_logged(f"the configuration was not reloaded: cannot read the configuration {daemon.conf}")
    daemon.configure(totem="token: nonsense")
    daemon.signal(signal.SIGHUP)
    daemon.wait_logged(":5: totem.token: ")
    daemon.configure(totem=QUICK.replace("300", "299"))
    daemon.signal(signal.SIGHUP)
    daemon.wait_logged("reloaded totem.token: 300 -> 299")
    stats = native.ask(socket_path, "ping")
    assert stats is not None

    daemon.signal(signal.SIGTERM)
    assert daemon.wait() == 0
    daemon.wait_logged("stopping: received SIGTERM")
    assert "Traceback" not in daemon.text()
    assert os.listdir(daemon.run_dir) == []
    assert os.listdir(daemon.state) == ["ringid_1"]


def test_reload_under_a_name_that_no_longer_resolves_to_us(make: MakeTotemd) -> None:
    daemon = make().start()
    daemon.wait_quorate()
    daemon.configure(address=f"{NETWORK}.77")
    daemon.signal(signal.SIGHUP)
    daemon.wait_logged("which cannot change while the ring runs")
    assert daemon.running()


def test_second_daemon_in_a_run_directory_is_refused(make: MakeTotemd) -> None:
    first = make().start()
    first.wait_quorate()
    second = make()
    second.run_dir = first.run_dir
    assert f"another totemd serves {first.run_dir}/totemd.sock" in refused(second.start())
    first.wait_quorate()


def test_port_of_another_daemon_is_not_shared(make: MakeTotemd) -> None:
    first = make().start()
    first.wait_quorate()
    second = make(port=first.port)
    line = refused(second.start())
    assert f"{second.address} port {first.port}" in line
    assert "Address already in use" in line
    assert not second.state.exists()
    first.wait_quorate()


def test_killed_daemon_is_replaced(make: MakeTotemd) -> None:
    daemon = make().start()
    daemon.wait_quorate()
    assert daemon.process is not None
    daemon.process.close()
    assert (daemon.run_dir / "totemd.sock").exists()
    daemon.start().wait_quorate()


def test_state_directory_that_cannot_be_written(make: MakeTotemd) -> None:
    daemon = make()
    daemon.state.write_text("a file")
    assert str(daemon.state) in refused(daemon.start())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere; see tests/integration/test_bad_machine.py")
def test_read_only_state_directory(make: MakeTotemd) -> None:
    daemon = make()
    daemon.state.mkdir(mode=0o500)
    assert "Permission denied" in refused(daemon.start())


def test_damaged_ring_number(make: MakeTotemd) -> None:
    daemon = make()
    daemon.state.mkdir()
    (daemon.state / "ringid_1").write_bytes(b"half")
    assert "the node's last ring number is lost" in refused(daemon.start())


def heard(manager: socket.socket) -> bytes:
    """The next that is said to the service manager, and not only shown to people."""
    while (word := manager.recv(2000)).startswith(b"STATUS="):
        pass
    return word


@pytest.mark.parametrize("abstract", [False, True])
def test_service_manager_hears_of_start_and_stop(make: MakeTotemd, abstract: bool) -> None:
    daemon = make()
    name = f"totemd-cli-{os.getpid()}" if abstract else str(daemon.path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name if abstract else name)
        manager.settimeout(WAIT_S)
        daemon.env["NOTIFY_SOCKET"] = "@" + name if abstract else name
        daemon.start()
        assert heard(manager) == b"READY=1"
        # Ready means that signals are obeyed.
        daemon.signal(signal.SIGTERM)
        assert heard(manager) == b"STOPPING=1"
    assert daemon.wait() == 0
