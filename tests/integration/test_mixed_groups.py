"""libcpg programs on corosync's and on totemd's nodes of one ring, in one group: all have one and the same history.

The same program runs everywhere, so that whatever differs would come from the daemons.
"""

from pathlib import Path

import pytest

from totemd_lab.beside import wait_ready
from totemd_lab.configuration import RingSettings
from totemd_lab.faults import drop_multicasts
from totemd_lab.loads import Load, LoadPlan, check_one_order, mixed_sizes
from totemd_lab.ring import Lab, LabMaker, wait_until
from totemd_lab.upstream import again_when_a_real_node_aborts

pytestmark = [pytest.mark.root, pytest.mark.corosync]

KINDS = "CTCT"
SETTINGS = RingSettings(token_ms=1000, token_coefficient_ms=0)
MESSAGES = 300
BIG_MESSAGES = 3
BIG = 1_500_000
"""More than one request of libcpg holds, so it comes in parts."""
LOSS_PERCENT = 2


@again_when_a_real_node_aborts
def test_all_record_one_history(make_lab: LabMaker, libcpg_program: Path) -> None:
    lab = make_lab(KINDS, SETTINGS)
    lab.start()
    wait_ready(lab)
    for node in lab.nodes:
        drop_multicasts(node, LOSS_PERCENT)
    expected = len(lab.nodes) * (MESSAGES + BIG_MESSAGES)
    loads = []
    for node in lab.nodes:
        sizes = mixed_sizes(node.nodeid, MESSAGES, big_count=BIG_MESSAGES, big=BIG)
        plan = LoadPlan(len(lab.nodes), sizes, expected, timeout_s=120)
        loads.append(Load(node, plan, libcpg_program, libcpg_only=True))
    for load in loads:
        load.finish()
    check_one_order(loads)


@again_when_a_real_node_aborts
def test_all_record_the_same_changes(make_lab: LabMaker, libcpg_program: Path) -> None:
    """Members join, leave, are killed, and their nodes leave and crash and return, while messages are on their way."""
    lab = make_lab(KINDS, SETTINGS)
    lab.start()
    wait_ready(lab)
    witnesses = lab.nodes[:2]
    sizes = mixed_sizes(7, 200, largest=4000)
    recording = [Load(node, LoadPlan(2, sizes), libcpg_program, libcpg_only=True) for node in witnesses]
    assert wait_until(lambda: all(len(load.messages()) >= 2 * len(sizes) for load in recording), 60)

    def member(number: int, tag: str) -> Load:
        plan = LoadPlan(3, mixed_sizes(number, 50, largest=4000))
        load = Load(lab.node(number), plan, libcpg_program, tag, libcpg_only=True)
        _see(recording, load, f"+{number}:{load.pid}")
        return load

    for number in (3, 4):
        leaver, killed, stranded = member(number, "a"), member(number, "b"), member(number, "c")
        leaver.stop()
        _see(recording, leaver, f"-{number}:{leaver.pid}")
        killed.kill()
        _see(recording, killed, f"-{number}:{killed.pid}")
        lab.node(number).kill()
        _see(recording, stranded, f"-{number}:{stranded.pid}")
        lab.wait_formed()
        lab.start([lab.node(number)])
        wait_ready(lab)
        back = member(number, "d")
        assert lab.node(number).terminate() == 0
        _see(recording, back, f"-{number}:{back.pid}")
        lab.wait_formed()
        lab.start([lab.node(number)])
        wait_ready(lab)
    assert wait_until(lambda: recording[0].lines() == recording[1].lines(), 20), _describe(lab, recording)


def _see(recording: list[Load], load: Load, words: str) -> None:
    """Wait until all recorded a change with these words."""
    found = wait_until(lambda: all(any(words in line for line in each.lines()) for each in recording), 30)
    assert found, f"{words} on {load.node!r} was not seen by all: {[each.lines()[-3:] for each in recording]}"


def _describe(lab: Lab, recording: list[Load]) -> str:
    one, other = (load.lines() for load in recording)
    place = next((index for index, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(one))
    return f"at {place}: {one[place : place + 3]} and {other[place : place + 3]}\n{lab.describe()}"
