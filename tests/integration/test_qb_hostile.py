"""Clients of corosync's libraries that come in crowds, crash, or spoil what they share with the daemon."""

import errno
import re
import subprocess
import sys
from pathlib import Path

import pytest

from totemd_lab.configuration import RingSettings
from totemd_lab.nodes import Node
from totemd_lab.places import run
from totemd_lab.ring import Lab, LabMaker, wait_until

pytestmark = [pytest.mark.root, pytest.mark.corosync]

PROGRAM = Path(__file__).parent.parent / "lab" / "qb_raw.py"
PATIENCE_S = 15.0


def client(node: Node, *arguments: object, check: bool = True) -> str:
    """Run a client beside the node to its end."""
    argv = [sys.executable, str(PROGRAM), *map(str, arguments)]
    return run(node.place, argv, timeout_s=120.0, check=check).stdout


def descriptors(node: Node) -> int:
    return len(list(Path(f"/proc/{node.pid}/fd").iterdir()))


def shared_memory(node: Node) -> list[str]:
    """What there is in the node's /dev/shm."""
    return run(node.place, ["ls", "-A", "/dev/shm"]).stdout.split()


def lone_node(make_lab: LabMaker) -> Lab:
    lab = make_lab("T", RingSettings(token_ms=800, token_coefficient_ms=0))
    lab.start()
    lab.wait_formed()
    return lab


def nothing_left(node: Node, descriptors_before: int) -> bool:
    return wait_until(lambda: shared_memory(node) == [] and descriptors(node) <= descriptors_before, PATIENCE_S)


def test_crowds_and_crashes_leave_nothing(make_lab: LabMaker) -> None:
    node = lone_node(make_lab).node(1)
    before = descriptors(node)
    client(node, "connect", 450)
    client(node, "killed", 50)
    assert nothing_left(node, before), (shared_memory(node), before, descriptors(node))
    assert node.running()


def test_hostile_clients_harm_nobody_else(make_lab: LabMaker) -> None:
    node = lone_node(make_lab).node(1)
    before = descriptors(node)
    honest = subprocess.Popen(
        node.place.command([sys.executable, str(PROGRAM), "serve", "8"]), stdout=subprocess.PIPE, text=True
    )
    client(node, "hostile", 28)
    out, _ = honest.communicate(timeout=60)
    assert honest.returncode == 0
    assert int(out) > 0
    assert nothing_left(node, before), (shared_memory(node), before, descriptors(node))
    assert "was disconnected: a request of 4294967295 bytes" in node.log_text()


def test_daemon_sweeps_what_a_killed_one_has_left(make_lab: LabMaker) -> None:
    lab = lone_node(make_lab)
    node = lab.node(1)
    honest = subprocess.Popen(
        node.place.command([sys.executable, str(PROGRAM), "serve", "30"]),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert wait_until(lambda: len(shared_memory(node)) == 1, PATIENCE_S)
    node.kill()
    assert honest.wait(30) != 0
    run(node.place, ["mkdir", "-p", "/dev/shm/qb-1-2-3-ours", "/dev/shm/qb-999999999-1-1-gone", "/dev/shm/other"])
    run(node.place, ["touch", "/dev/shm/qb-999999999-1-1-gone/qb-request-cpg-data"])
    run(node.place, ["mkdir", "-p", "/dev/shm/qb-999999999-1-1-foreign"])
    run(node.place, ["touch", "/dev/shm/qb-999999999-1-1-foreign/qb-request-cib_rw-data"])
    lab.start()
    lab.wait_formed()
    assert sorted(shared_memory(node)) == ["other", "qb-1-2-3-ours", "qb-999999999-1-1-foreign"]


def test_names_that_are_taken_are_left_alone(make_lab: LabMaker) -> None:
    lab = make_lab("T", RingSettings(token_ms=800, token_coefficient_ms=0))
    node = lab.node(1)
    holder = subprocess.Popen(
        node.place.command([sys.executable, str(PROGRAM), "take", "60"]), stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "bound\n"
        lab.start()
        lab.wait_formed()
        assert 'the socket "@quorum" is taken' in node.log_text()
        sockets = run(node.place, ["cat", "/proc/net/unix"]).stdout
        assert "@cpg" not in sockets
    finally:
        holder.kill()
        holder.communicate()


def test_other_users_are_let_in_by_file_or_key(make_lab: LabMaker) -> None:
    node = lone_node(make_lab).node(1)
    assert client(node, "user", 4321) == f"{-errno.EACCES}\n"
    run(node.place, ["corosync-cmapctl", "-s", "uidgid.uid.4321", "u8", "1"])
    assert client(node, "user", 4321) == "0\n"
    assert wait_until(lambda: shared_memory(node) == [], PATIENCE_S)


def test_clients_come_too_early(make_lab: LabMaker) -> None:
    """Until the first synchronization there is nothing to be told."""
    lab = make_lab("T", RingSettings(token_ms=800, token_coefficient_ms=0))
    node = lab.node(1)
    lab.start()
    answers = []

    def served() -> bool:
        result = run(node.place, [sys.executable, str(PROGRAM), "user", "0"], check=False)
        answers.append(result.stdout.strip() if result.returncode == 0 else "")
        return answers[-1] == "0"

    assert wait_until(served, PATIENCE_S)
    assert set(answers) <= {"", "0", str(-errno.EAGAIN)}


@pytest.mark.parametrize("kind", ["shm", "socket"])
def test_nothing_is_lost_by_a_sender_that_does_not_stop(make_lab: LabMaker, kind: str) -> None:
    """Not even where the ring's queue, and all of the client's own, are full."""
    lab = make_lab("T", RingSettings(token_ms=800, token_coefficient_ms=0))
    node = lab.node(1)
    node.conf.write_text(node.conf.read_text() + f"system {{\n  qb_ipc_type: {kind}\n}}\n")
    lab.start()
    lab.wait_formed()
    before = descriptors(node)
    assert client(node, "kind", 0) == ("1\n" if kind == "shm" else "0\n")
    client(node, "streams" if kind == "shm" else "stream", 15000)
    client(node, "connect", 20)
    client(node, "killed", 5)
    assert nothing_left(node, before)
    assert "disconnected" not in node.log_text()


def test_nothing_is_lost_while_the_ring_changes(make_lab: LabMaker) -> None:
    """Multicasts that come while the nodes synchronize wait; their sender has been told that they were sent."""
    lab = make_lab("TT", RingSettings(token_ms=800, token_coefficient_ms=0))
    lab.start()
    lab.wait_formed()
    first, second = lab.nodes
    sender = subprocess.Popen(
        first.place.command([sys.executable, str(PROGRAM), "stream", "30000"]), stderr=subprocess.PIPE, text=True
    )
    for _ in range(3):
        second.kill()
        lab.wait_formed()
        second.start()
        lab.wait_formed()
    _, errors = sender.communicate(timeout=120)
    assert (sender.returncode, errors) == (0, "")


def test_client_that_does_not_read_is_cut_off(make_lab: LabMaker) -> None:
    node = lone_node(make_lab).node(1)
    assert client(node, "deaf", 45) == "ENOTCONN\n"
    assert re.search(r"a client of cpg \(process \d+, user 0\) was disconnected: client does not read", node.log_text())


def test_daemon_that_is_told_not_to_serve_libraries(make_lab: LabMaker) -> None:
    lab = make_lab("T", RingSettings(token_ms=800, token_coefficient_ms=0))
    node = lab.node(1)
    node.conf.write_text(node.conf.read_text() + "system {\n  qb_ipc: no\n}\n")
    lab.start()
    lab.wait_formed()
    assert "@cpg" not in run(node.place, ["cat", "/proc/net/unix"]).stdout
