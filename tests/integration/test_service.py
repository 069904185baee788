"""The service as it is installed: totemd's units under a real systemd, on machines that are booted for it."""

import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import pytest

from totemd_lab.booted import BootedMachine
from totemd_lab.configuration import Member, RingSettings, corosync_conf
from totemd_lab.places import Bridge
from totemd_lab.players import Player
from totemd_lab.ring import wait_until

pytestmark = [pytest.mark.root, pytest.mark.systemd]

SETTINGS = RingSettings(transport="udpu", token_ms=1000, token_coefficient_ms=0)
PATIENCE_S = 30.0
CLIENT_UID = 64321

GUEST = """\
[Unit]
Requires=totemd-quorum.target
After=totemd-quorum.target

[Service]
ExecStart=sh -c 'cut -d " " -f 1 /proc/uptime >>/lab/out/guest; exec sleep infinity'

[Install]
WantedBy=totemd-quorum.target
"""
"""What must not run before there is quorum; it notes when it began."""

QUICK = """\
[Service]
RestartSec=100ms
"""

PowerOn = Callable[..., BootedMachine]


@pytest.fixture
def power_on() -> Iterator[PowerOn]:
    """Boots machine `number` of `count` (0: without a configuration); its units and settings may be unusual."""
    with ExitStack() as opened:
        bridge = opened.enter_context(closing(Bridge()))

        def power_on(number: int, count: int, *, units: dict[str, str] | None = None, more: str = "") -> BootedMachine:
            members = [Member(nodeid, SETTINGS.network.format(nodeid)) for nodeid in range(1, count + 1)]
            conf = corosync_conf(members, SETTINGS, "/var/lib/totemd", "") + more if members else ""
            units = {"guest.service": GUEST, "totemd.service.d/lab.conf": QUICK, **(units or {})}
            address = f"{SETTINGS.network.format(number)}/24"
            machine = BootedMachine(f"n{number}", bridge, address, conf, units, ["totemd.service", "guest.service"])
            return opened.enter_context(closing(machine))

        yield power_on


def wait_active(machine: BootedMachine, unit: str) -> None:
    assert wait_until(lambda: machine.property(unit, "ActiveState") == "active", PATIENCE_S), machine.journal()


def daemon_pid(machine: BootedMachine) -> str:
    return machine.property("totemd.service", "MainPID")


def guest_starts(machine: BootedMachine) -> list[str]:
    file = machine.out / "guest"
    return file.read_text().split() if file.exists() else []


@pytest.mark.corosync
def test_the_daemon_is_nobody_and_serves_everybody_that_it_should(power_on: PowerOn, programs: Path) -> None:
    machine = power_on(1, 1, more=f"uidgid {{\nuid: {CLIENT_UID}\n}}\n")
    wait_active(machine, "totemd-quorum.target")
    # The status is written down anew every two seconds.
    assert wait_until(lambda: machine.property("totemd.service", "StatusText").startswith("quorate: 1 of 1"), 5)
    process = machine.run("cat", f"/proc/{daemon_pid(machine)}/status")[1]
    assert re.findall(r"^Cap(Inh|Prm|Eff|Bnd|Amb):\s*0*$", process, re.MULTILINE) == ["Inh", "Prm", "Eff", "Bnd", "Amb"]
    assert "NoNewPrivs:\t1" in process
    user = machine.run("id", "-u", "totemd")[1].strip()
    assert re.search(rf"^Uid:\t{user}\t{user}\t{user}\t{user}$", process, re.MULTILINE)
    owners = machine.run("stat", "--format=%U:%G %a", "/var/lib/totemd", "/run/totemd", "/run/totemd/totemd.sock")[1]
    assert owners.splitlines() == ["totemd:totemd 700", "totemd:totemd 755", "totemd:totemd 666"]
    # The native socket, and corosync's own tools and libraries, for root and for a user that the configuration lists.
    other = ["setpriv", f"--reuid={CLIENT_UID}", f"--regid={CLIENT_UID}", "--clear-groups"]
    for prefix in ([], other):
        assert machine.run(*prefix, "/lab/bin/totemctl", "status")[0] == 0
        assert machine.run(*prefix, "corosync-quorumtool", "-s")[0] == 0
        assert machine.run(*prefix, "corosync-cmapctl", "totem.transport") == (0, "totem.transport (str) = udpu\n")
        with closing(_Talker(machine, programs, prefix)) as talker:
            talker.talk()
    stranger = ["setpriv", "--reuid=64322", "--regid=64322", "--clear-groups"]
    status, text = machine.run(*stranger, "/lab/bin/totemctl", "status")
    assert status == 1
    assert "may not use this socket" in text, text
    assert machine.run(*stranger, "corosync-quorumtool", "-s")[0] == 1
    # Nothing of all these clients is left but the buffers that the daemon could not take.
    assert wait_until(lambda: "qb-" not in machine.run("ls", "/dev/shm")[1], 5), machine.run("ls", "-lR", "/dev/shm")


class _Talker:
    """A program of libcpg that sends itself messages."""

    def __init__(self, machine: BootedMachine, programs: Path, prefix: Sequence[str]) -> None:
        directory = machine.out / f"programs{len(prefix)}"
        directory.mkdir()
        (directory / "cpg").write_bytes((programs / "cpg").read_bytes())
        (directory / "cpg").chmod(0o755)
        self._player = Player(
            machine,
            [*prefix, f"/lab/out/{directory.name}/cpg"],
            directory / "output",
            errors=False,
        )

    def talk(self) -> None:
        """Have a message of some rings' pages come back, and be refused one without a copy."""
        assert self._player.call("open 0") == "1"
        assert self._player.call("join 0 chat") == "1"
        self._player.event("members")
        assert self._player.call("send 0 100000 7") == "1"
        self._player.event("message .* 100000 ")
        # Its buffer is a file in shared memory that only its owner may open. The library takes no notice of the refusal
        # (1) until something is to be sent: 12, CS_ERR_NOT_EXIST.
        assert self._player.call("zero_copy 0 1000 1") == "1 12 1"
        assert self._player.call("close 0") == "1"

    def close(self) -> None:
        self._player.kill()


def test_real_time_priority_is_permitted(power_on: PowerOn) -> None:
    # Where this machine's root may not raise limits, systemd grants what it has: a capability says the same then.
    drop_in = "[Service]\nCapabilityBoundingSet=CAP_SYS_NICE\nAmbientCapabilities=CAP_SYS_NICE\n"
    machine = power_on(1, 1, more="system {\nsched_rr: yes\n}\n", units={"totemd.service.d/nice.conf": drop_in})
    wait_active(machine, "totemd.service")
    policy = machine.run("chrt", "--pid", daemon_pid(machine))[1]
    assert "SCHED_RR" in policy, machine.journal()
    assert "scheduling priority: 99" in policy
    assert machine.property("totemd.service", "LimitRTPRIO") == "99"


def test_files_that_root_has_put_there_become_the_daemons(power_on: PowerOn) -> None:
    machine = power_on(1, 1)
    wait_active(machine, "totemd.service")
    machine.systemctl("stop", "totemd.service")
    put = "umask 077; head -c 128 /dev/urandom >/etc/corosync/authkey; chmod 400 /etc/corosync/authkey; "
    put += "chown -R root:root /var/lib/totemd /etc/corosync; chmod 755 /etc/corosync"
    assert machine.run("sh", "-c", put)[0] == 0
    machine.systemctl("start", "totemd.service")
    wait_active(machine, "totemd.service")
    paths = ["/etc/corosync", "/etc/corosync/authkey", "/var/lib/totemd", "/var/lib/totemd/ringid_1"]
    owners = machine.run("stat", "--format=%U:%G %a", *paths)[1].splitlines()
    assert owners == ["root:totemd 775", "totemd:totemd 600", "totemd:totemd 700", "totemd:totemd 600"]


def test_a_reload_and_what_the_daemon_may_write(power_on: PowerOn) -> None:
    machine = power_on(1, 1)
    wait_active(machine, "totemd.service")
    machine.run("sed", "-i", "s/token: 1000/token: 1500/", "/etc/corosync/corosync.conf")
    assert machine.systemctl("reload", "totemd.service") == (0, "")
    assert wait_until(lambda: "= 1500" in machine.run("totemctl", "cmap", "get", "runtime.config.totem.token")[1], 5)
    assert machine.property("totemd.service", "ActiveState") == "active"
    # What the process itself sees: nothing but these is its to write, and there are no homes to look into.
    user = ["setpriv", "--reuid=totemd", "--regid=totemd", "--init-groups"]
    see = ["nsenter", f"--target={daemon_pid(machine)}", "--mount", "--", *user, "sh", "-c"]
    script = (
        "for d in /etc/corosync /var/lib/totemd /run/totemd /tmp /etc /usr /var /run; do [ -w $d ] && echo $d; done"
    )
    assert machine.run(*see, script)[1].split() == ["/etc/corosync", "/var/lib/totemd", "/run/totemd", "/tmp"]
    assert "Permission denied" in machine.run(*see, "ls /root")[1]


def test_a_loop_that_stands_still_is_ended_and_the_guests_go_on(power_on: PowerOn) -> None:
    machine = power_on(1, 1, units={"totemd.service.d/watchdog.conf": "[Service]\nWatchdogSec=2s\n"})
    wait_active(machine, "guest.service")
    before, guest = daemon_pid(machine), machine.property("guest.service", "MainPID")
    time.sleep(2.5)
    assert daemon_pid(machine) == before, "the watchdog must hear of a loop that turns"
    machine.run("kill", "-STOP", before)
    assert wait_until(lambda: daemon_pid(machine) not in (before, "0"), PATIENCE_S), machine.journal()
    assert machine.property("totemd.service", "NRestarts") == "1"
    assert wait_until(lambda: machine.run("totemctl", "status")[0] == 0, PATIENCE_S)
    # The same by hand: a new version of the daemon must not stop what it serves.
    machine.systemctl("restart", "totemd.service")
    assert machine.property("guest.service", "MainPID") == guest
    assert machine.property("totemd-quorum.target", "ActiveState") == "active"


def test_a_unit_behind_the_target_starts_after_quorum_and_never_before(power_on: PowerOn) -> None:
    order = [1, 2, 3]
    random.shuffle(order)
    first, *_ = machines = [power_on(order[0], 3)]
    wait_active(first, "totemd.service")
    # The machine's own start is over; only what needs the cluster waits.
    wait_active(first, "multi-user.target")
    assert wait_until(lambda: "no quorum: 1 of 3" in first.property("totemd.service", "StatusText"), PATIENCE_S)
    time.sleep(2.0)
    assert guest_starts(first) == []
    assert first.property("guest.service", "ActiveState") == "inactive"
    # Nor does a daemon that ends and comes again let it start.
    first.run("kill", "-KILL", daemon_pid(first))
    time.sleep(1.0)
    assert guest_starts(first) == []
    uptime = Path("/proc/uptime").read_text().split()[0]
    machines.append(power_on(order[1], 3))
    for machine in machines:
        wait_active(machine, "guest.service")
    machines.append(power_on(order[2], 3))
    wait_active(machines[-1], "guest.service")
    for machine in machines:
        (began,) = guest_starts(machine)
        assert float(began) >= float(uptime)
        assert machine.property("totemd-quorum.target", "ActiveState") == "active"


def in_file(machine: BootedMachine, word: str, path: str) -> bool:
    return word in told(machine, "cat", path)


def told(machine: BootedMachine, *argv: str) -> str:
    """What a command that must succeed prints."""
    status, text = machine.run(*argv, timeout_s=60)
    assert status == 0, f"{argv}: {status}: {text}\n{machine.journal()}"
    return text


def test_a_cluster_is_made_joined_and_changed_by_the_service_itself(power_on: PowerOn) -> None:
    """From two machines without a configuration, by the commands of an operator."""
    first, second = machines = [power_on(number, 0) for number in (1, 2)]
    # Not even the daemon is started where there is no configuration; nothing fails, either.
    wait_active(first, "multi-user.target")
    assert first.property("totemd.service", "ConditionResult") == "no"
    assert first.systemctl("--failed", "--quiet")[1] == ""
    told(first, "totemctl", "cluster", "create", "sea", "--node-name", "hake", "--token-ms", "700")
    told(first, "systemctl", "restart", "totemd.service")
    wait_active(first, "guest.service")
    ticket = told(first, "totemctl", "cluster", "invite").split()[0]
    told(second, "totemctl", "cluster", "join", ticket, "--node-name", "ling")
    wait_active(second, "guest.service")
    # The daemons have replaced what root had made, and it is theirs.
    told(first, "totemctl", "cluster", "rotate-key")
    before = told(first, "cat", "/etc/corosync/corosync.conf")
    told(first, "sh", "-c", "sed 's/token: 700$/token: 1500/' /etc/corosync/corosync.conf >/tmp/new")
    told(first, "totemctl", "cluster", "config", "apply", "/tmp/new")
    for machine in machines:
        assert wait_until(partial(in_file, machine, "1500", "/etc/corosync/corosync.conf"), PATIENCE_S)
        owners = told(machine, "stat", "--format=%U %a", "/etc/corosync/authkey", "/var/lib/totemd/identity")
        assert owners.splitlines() == ["totemd 600", "totemd 600"]
        assert told(machine, "stat", "--format=%a", "/etc/corosync/corosync.conf") == "644\n"
    assert (
        before
        != told(second, "cat", "/etc/corosync/corosync.conf")
        == told(first, "cat", "/etc/corosync/corosync.conf")
    )
    assert told(first, "sha256sum", "/etc/corosync/authkey") == told(second, "sha256sum", "/etc/corosync/authkey")
    # A daemon comes back from a restart of its service with what there is now.
    told(second, "systemctl", "restart", "totemd.service")
    assert wait_until(lambda: second.run("totemctl", "status")[0] == 0, PATIENCE_S), second.journal()
    # Who has left stays out, and its service down.
    told(second, "totemctl", "cluster", "leave")
    assert wait_until(lambda: second.property("totemd.service", "ActiveState") == "inactive", PATIENCE_S)
    assert wait_until(lambda: first.run("totemctl", "status")[0] == 0, PATIENCE_S), first.journal()
    assert wait_until(partial(in_file, first, "removed {", "/etc/corosync/corosync.conf"), PATIENCE_S)
    # Powered on again it serves nobody, and says why.
    told(second, "systemctl", "start", "totemd.service")
    why = "node 1 refuses this node (removed)"
    assert wait_until(lambda: why in second.property("totemd.service", "StatusText"), PATIENCE_S), second.journal()
