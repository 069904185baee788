"""Cold start: all nodes off, then started one by one in any order; what waits for quorum never runs before it is there.

TOTEMD_COLD_START_GAP_S makes the gaps longer than the seconds of an ordinary run, TOTEMD_COLD_START_ORDER fixes the
order ("3,1,5,2,4").
"""

import os
import random
import re
import sys
import time
from pathlib import Path

import pytest

from totemd_lab import native
from totemd_lab.configuration import RingSettings
from totemd_lab.nodes import Node, TotemdNode
from totemd_lab.places import Process
from totemd_lab.ring import Lab, LabMaker, wait_until

NODES = 5
QUORUM = 3
GAP_S = float(os.environ.get("TOTEMD_COLD_START_GAP_S", "1.0"))
"""The longest gap between two nodes' starts."""
PATIENCE_S = 40.0
UNIT = Path(__file__).parents[2] / "packaging" / "systemd" / "totemd-quorum.service"
SETTINGS = RingSettings(transport="udpu", token_ms=1000, token_coefficient_ms=0)
NOTE = "date +%s.%N"
"""What a guest does: it notes when it began."""


class Guest:
    """A process behind the command that totemd-quorum.service waits with."""

    def __init__(self, node: Node) -> None:
        assert isinstance(node, TotemdNode)
        self.node = node
        self._began = node.directory / "guest"
        command = waiting_command()
        assert command[0] == "totemctl"
        control = [sys.executable, "-m", "totemd.cli.ctl", "--socket", str(node.socket), *command[1:]]
        guest = ["sh", "-c", f"{NOTE} >{self._began}"]
        self.process = Process(node.place, [*control, "--", *guest], node.directory / "guest.log")

    def began(self) -> float | None:
        """Seconds of the wall clock."""
        try:
            return float(self._began.read_text())
        except (FileNotFoundError, ValueError):
            return None

    def close(self) -> None:
        self.process.close()


def waiting_command() -> list[str]:
    """Of the unit."""
    (command,) = re.findall(r"^ExecStart=(.*)$", UNIT.read_text(), re.MULTILINE)
    return str(command).split()


def quorate(node: Node) -> bool:
    assert isinstance(node, TotemdNode)
    status = native.status(node.socket) if node.running() else None
    return status is not None and bool(status["quorate"])


def random_order(lab: Lab) -> list[Node]:
    given = os.environ.get("TOTEMD_COLD_START_ORDER")
    if given:
        return [lab.node(int(number)) for number in given.split(",")]
    return random.sample(lab.nodes, len(lab.nodes))


def play(lab: Lab, *, late: Node | None = None) -> None:
    """Every node's guest waits from the beginning, but for that of `late`, which comes with its node."""
    order = random_order(lab)
    gaps = [random.uniform(0, GAP_S) for _ in order]
    print(f"order {[node.nodeid for node in order]}, gaps {[round(gap, 2) for gap in gaps]} s")
    guests = {node.nodeid: Guest(node) for node in lab.nodes if node is not late}
    try:
        for count, (node, gap_s) in enumerate(zip(order, gaps, strict=True), 1):
            if count == QUORUM:
                # Nobody has had quorum, and no guest runs, up to this moment.
                assert not any(quorate(one) for one in lab.nodes)
                assert [guest.began() for guest in guests.values()] == [None] * len(guests)
                third_started = time.time()
            node.start()
            if node is late:
                guests[node.nodeid] = Guest(node)
            time.sleep(gap_s)
        lab.wait_formed(timeout_s=PATIENCE_S)
        assert wait_until(lambda: all(guest.began() is not None for guest in guests.values()), PATIENCE_S)
        for guest in guests.values():
            began = guest.began()
            assert began is not None
            assert began > third_started
            assert guest.process.wait(PATIENCE_S) == 0
    finally:
        for guest in guests.values():
            guest.close()


def test_guests_start_after_quorum_and_never_before(make_loopback_lab: LabMaker) -> None:
    """R10."""
    lab = make_loopback_lab("TTTTT", SETTINGS)
    play(lab, late=random.choice(lab.nodes))


@pytest.mark.root
def test_the_same_with_multicast_and_networks_of_their_own(make_lab: LabMaker) -> None:
    play(make_lab("TTTTT", RingSettings(token_ms=1000, token_coefficient_ms=0)))


def test_a_node_that_comes_and_goes_does_not_let_guests_start(make_loopback_lab: LabMaker) -> None:
    lab = make_loopback_lab("TTTTT", SETTINGS)
    steady, fickle, third, *_ = random_order(lab)
    guest = Guest(steady)
    try:
        steady.start()
        # Never three votes at one time, though three nodes were seen in all.
        fickle.start()
        assert wait_until(lambda: len(view.members) == 2 if (view := steady.view()) else False, PATIENCE_S)
        fickle.kill()
        assert wait_until(lambda: len(view.members) == 1 if (view := steady.view()) else False, PATIENCE_S)
        third.start()
        lab.wait_formed([node for node in lab.nodes if node in (steady, third)], PATIENCE_S)
        assert guest.began() is None
        assert guest.process.running()
        fickle.start()
        assert wait_until(lambda: guest.began() is not None, PATIENCE_S)
    finally:
        guest.close()
