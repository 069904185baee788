"""SAFE in a mixed ring: nobody's client gets the message before every member of the ring has received it."""

import pytest

from totemd.client import blocking
from totemd_lab.clients import connect, deliveries, wait_members
from totemd_lab.configuration import RingSettings
from totemd_lab.faults import drop_multicasts, heal
from totemd_lab.ring import LabMaker
from totemd_lab.upstream import again_when_a_real_node_aborts

pytestmark = [pytest.mark.root, pytest.mark.corosync]

PATIENT = RingSettings(totem={"fail_recv_const": "10000000"})
"""A member that receives nothing but the token is put up with for long."""


def texts(group: blocking.BlockingGroup, count: int, timeout_s: float) -> list[bytes]:
    """What the next messages say, up to `count`; fewer when no more come in time."""
    return [message.data for message in deliveries(group, count, timeout_s)]


@pytest.mark.parametrize("kinds", ["TTC", "CTT", "TTT"])
@again_when_a_real_node_aborts
def test_safe_waits_for_the_slowest_member(make_lab: LabMaker, kinds: str) -> None:
    lab = make_lab(kinds, PATIENT)
    lab.start()
    lab.wait_formed()
    first, second = lab.of_kind("T")[:2]
    deaf = next(node for node in lab.nodes if node not in (first, second))
    with connect(first) as one, connect(second) as two, one.join("safe") as here, two.join("safe") as there:
        for group in (here, there):
            wait_members(group, 2)
        here.multicast(b"everyone hears this", safe=True)
        assert texts(here, 1, 5.0) == texts(there, 1, 5.0) == [b"everyone hears this"]
        drop_multicasts(deaf, 100)
        here.multicast(b"agreed")
        here.multicast(b"safe", safe=True)
        for group in (here, there):
            assert texts(group, 2, 1.0) == [b"agreed"], "a message was delivered that one member cannot have"
        heal(deaf)
        for group in (here, there):
            assert texts(group, 1, 5.0) == [b"safe"]
    assert lab.wait_formed().quorate
