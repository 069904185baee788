"""Three daemons on this machine's loopback, as anyone can run them: no root, no corosync, no namespaces."""

import pytest

from totemd_lab.clients import connect, deliveries, wait_members
from totemd_lab.configuration import RingSettings
from totemd_lab.nodes import TotemdNode
from totemd_lab.ring import LabMaker, wait_until

QUICK_MS = 1000


def settings(transport: str) -> RingSettings:
    return RingSettings(transport, token_ms=QUICK_MS, token_coefficient_ms=0)


@pytest.mark.parametrize("transport", ["udp", "udpu"])
def test_life_of_a_ring(make_loopback_lab: LabMaker, transport: str) -> None:
    """Formed, one leaves, one crashes and quorum is lost, all return."""
    lab = make_loopback_lab("TTT", settings(transport))
    first, second, third = lab.nodes
    lab.start()
    assert lab.wait_formed().quorate
    assert third.terminate() == 0
    assert lab.wait_formed().quorate
    second.kill()
    assert not lab.wait_formed().quorate
    lab.start([second, third])
    assert lab.wait_formed().quorate
    first.kill()
    lab.start([first])
    assert wait_until(lambda: lab.wait_formed().quorate, 10)


def test_daemon_says_goodbye_to_its_clients(make_loopback_lab: LabMaker) -> None:
    lab = make_loopback_lab("TT", settings("udpu"))
    lab.start()
    lab.wait_formed()
    with connect(lab.node(1)) as client:
        assert lab.node(1).terminate() == 0
        ended = client.wait_closed(5)
    assert ended is not None
    assert ended.reason


def test_client_that_returns_finds_the_order_going_on(make_loopback_lab: LabMaker) -> None:
    lab = make_loopback_lab("TT", settings("udpu"))
    lab.start()
    lab.wait_formed()
    with connect(lab.node(1)) as one, one.join("g") as here:
        for text in (b"first", b"second"):
            with connect(lab.node(2)) as two, two.join("g") as there:
                wait_members(here, 2)
                there.multicast(text)
                assert [message.data for message in deliveries(there, 1, 5.0)] == [text]
            assert [(message.nodeid, message.data) for message in deliveries(here, 1, 5.0)] == [(2, text)]


def test_two_daemons_never_share_a_run_directory(make_loopback_lab: LabMaker) -> None:
    lab = make_loopback_lab("T", settings("udpu"))
    node = lab.node(1)
    node.start()
    lab.wait_formed()
    twin = TotemdNode(node.member, node.place, node.directory)
    twin.start()
    try:
        assert twin.wait_end(10) not in (0, -6, -11)
        assert "Traceback" not in twin.log_text()
    finally:
        twin.close()
    assert lab.wait_formed().members == (1,)
