"""Rings of totemd nodes alone: eight that start in the same instant, and thirty-two on one machine."""

import time

import pytest

from totemd_lab.configuration import RingSettings
from totemd_lab.nodes import Node
from totemd_lab.ring import Lab, LabMaker, wait_until

pytestmark = [pytest.mark.root, pytest.mark.slow]

COLD_STARTS = 10

CROWDED = RingSettings(token_ms=3000, token_coefficient_ms=0)
"""With the default coefficient 32 nodes would notice a crash after 22.5 s. They share two processors here."""


def test_ten_cold_starts_of_eight(make_lab: LabMaker) -> None:
    """All at once, ten times: ten rings of eight."""
    lab = make_lab("T" * 8)
    times_s = []
    for _ in range(COLD_STARTS):
        started = lab.start()
        assert lab.wait_formed(timeout_s=20).quorate
        times_s.append(time.monotonic() - started)
        for node in lab.nodes:
            node.kill()
    print("formed after", *(f"{seconds:.1f}" for seconds in times_s), "s")


@pytest.mark.timeout(400)
def test_thirty_two_nodes(make_lab: LabMaker) -> None:
    """17 of 32 are quorate, 16 are not, and restarts make the ring whole."""
    lab = make_lab("T" * 32, CROWDED)
    started = lab.start()
    assert lab.wait_formed(timeout_s=90).quorate
    say("32 formed and quorate", started)

    started = kill(lab.nodes[17:])
    assert lab.wait_formed(timeout_s=90).quorate
    say("15 killed, 17 quorate", started)

    started = kill(lab.nodes[16:17])
    wait_not_quorate(lab)
    assert not lab.wait_formed(timeout_s=60).quorate
    say("one more killed, 16 not quorate", started)

    started = lab.start(lab.nodes[16:])
    assert lab.wait_formed(timeout_s=90).quorate
    say("16 restarted, 32 quorate", started)


def kill(nodes: list[Node]) -> float:
    """Kill all these in one instant. Returns when."""
    started = time.monotonic()
    for node in nodes:
        node.kill()
    return started


def wait_not_quorate(lab: Lab) -> None:
    """Wait until no node calls itself quorate."""

    def nobody() -> bool:
        views = [node.view() for node in lab.running()]
        return all(view is not None and not view.quorate for view in views)

    assert wait_until(nobody, 60), lab.describe()


def say(what: str, started: float) -> None:
    """Note a time."""
    print(f"{what}: {time.monotonic() - started:.1f} s")
