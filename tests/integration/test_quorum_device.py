"""The quorum device: corosync's own qdevice and qnetd, unmodified, and a device of our own beside both daemons."""

import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from totemd_lab import native
from totemd_lab.configuration import RingSettings
from totemd_lab.device import Qdevice, Qnetd, add_device, wait_votes
from totemd_lab.nodes import Node, TotemdNode
from totemd_lab.places import run
from totemd_lab.ring import Lab, LabMaker, wait_until
from totemd_lab.upstream import again_when_a_real_node_aborts

pytestmark = [pytest.mark.root, pytest.mark.corosync]

SETTINGS = RingSettings(token_ms=800, token_coefficient_ms=0)
PROBE = Path(__file__).parents[1] / "lab" / "library_probe.py"
TIMES = {"timeout": "5000", "sync_timeout": "15000"}

CALLS = """
v = Votequorum()
Q, R, Z = c_char_p(b"Q"), c_char_p(b"R"), c_char_p(b"Z")

def settled():
    time.sleep(0.4)
    say("   ", v.take(), v.info())

def again():
    say("tracked anew", v.call("trackstop"), v.track(5, 2), v.take())

say("track", v.track(5, 2), v.take())
say("not registered", v.poll(b"Q", 1, v.ring), v.poll(b"Q", 1, (1, 99)), v.call("qdevice_master_wins", Q, 1))
say("not registered", v.call("qdevice_unregister", Q), v.call("qdevice_update", Q, R))
say("no name", v.call("qdevice_register", c_char_p(b"")))
say("register", v.call("qdevice_register", Q), v.call("qdevice_register", Q), v.call("qdevice_register", Z))
settled()
again()
say("wrong polls", v.poll(b"Z", 1, v.ring), v.poll(b"Q", 1, (1, 99)), v.poll(b"Z", 1, (1, 99)))
for cast_vote in (1, 0, 7):
    say("poll", cast_vote, v.poll(b"Q", cast_vote, v.ring))
    settled()
say("master wins", v.call("qdevice_master_wins", Z, 1), v.call("qdevice_master_wins", Q, 1))
settled()
say("master wins not", v.call("qdevice_master_wins", Q, 0))
settled()
say("rename", v.call("qdevice_update", Z, R), v.call("qdevice_update", Q, R))
settled()
say("votes", v.call("setvotes", c_uint32(0), c_uint32(0)))
settled()
say("other node", v.info(2))
again()
"""

OTHER_NODE = """
v = Votequorum()
say("track", v.track(5, 2), v.take(), v.info(1), v.info())
say("register", v.call("qdevice_register", c_char_p(b"Q")), v.call("qdevice_register", c_char_p(b"R")))
time.sleep(0.4)
say("   ", v.take(), v.info())
say("unregister", [v.call("qdevice_unregister", c_char_p(name)) for name in (b"Q", b"R", b"R")])
time.sleep(0.4)
say("   ", v.take(), v.info())
"""

UNREGISTER = """
v = Votequorum()
say(v.info(), v.call("qdevice_unregister", c_char_p(b"R")))
time.sleep(0.4)
say(v.info())
"""

HOLD_SYNCHRONIZATION = """
v = Votequorum()
v.track(5, 2), v.take()
say(v.call("qdevice_register", c_char_p(b"Q")), v.poll(b"Q", 1, v.ring))
"""


def play(lab: Lab, nodeid: int, script: str) -> str:
    """Play a script of calls beside a node."""
    return run(lab.node(nodeid).place, [sys.executable, str(PROBE)], text_in=script, timeout_s=60).stdout


def tool(lab: Lab, nodeid: int, *argv: str) -> str:
    """What a tool prints, and its status; without the date."""
    result = run(lab.node(nodeid).place, argv, check=False)
    # How many rings there were depends on who met whom first.
    varying = r"Date: .*|(?<=Ring ID: {10}1\.)\w+"
    return f"{argv} {result.returncode}\n" + re.sub(varying, "", result.stdout + result.stderr)


def synchronizing(node: Node) -> bool:
    """Whether its services exchange what they know."""
    assert isinstance(node, TotemdNode)
    status = native.status(node.socket)
    return status is not None and bool(status["syncing"])


def configured(lab: Lab, section: str) -> Lab:
    """The same with a device that this test plays itself."""
    for node in lab.nodes:
        text = node.conf.read_text()
        node.conf.write_text(text.replace("quorum {\n", f"quorum {{\n    device {{\n        {section}\n    }}\n", 1))
    return lab


def calls(lab: Lab) -> str:
    """All of a device's calls, and what the tools say of it."""
    lab.start()
    lab.wait_formed()
    return "\n".join(
        [
            play(lab, 1, CALLS),
            tool(lab, 1, "corosync-quorumtool", "-s"),
            tool(lab, 2, "corosync-quorumtool", "-s"),
            tool(lab, 2, "corosync-quorumtool", "-p"),
            play(lab, 2, OTHER_NODE),
            tool(lab, 1, "corosync-quorumtool", "-f"),
            play(lab, 1, UNREGISTER),
            tool(lab, 1, "corosync-quorumtool", "-s"),
        ]
    )


@again_when_a_real_node_aborts
@pytest.mark.parametrize(
    ("section", "quorum"),
    [("model: net\n        votes: 1", {"expected_votes": "3"}), ("model: net", {})],
    ids=["given", "derived"],
)
def test_a_device_is_answered_as_by_corosync(make_lab: LabMaker, section: str, quorum: dict[str, str]) -> None:
    settings = replace(SETTINGS, quorum=quorum)
    real, ours = (calls(configured(make_lab(kind * 2, settings), section)) for kind in "CT")
    assert "Qdevice" in real
    assert ours == real


@again_when_a_real_node_aborts
def test_the_options_that_forbid_a_device_do_so_at_start(make_lab: LabMaker) -> None:
    settings = RingSettings(token_ms=800, token_coefficient_ms=0, quorum={"two_node": "1"})
    for kind in "CT":
        lab = configured(make_lab(kind, settings), "model: net\n        votes: 1")
        lab.start()
        assert lab.node(1).wait_end(10) != 0
        assert "two_node" in lab.node(1).log_text()


def test_the_tools_work_while_synchronization_waits_for_the_device(make_lab: LabMaker) -> None:
    lab = configured(make_lab("TT", SETTINGS), "model: net\n        votes: 1\n        sync_timeout: 12000")
    lab.start()
    lab.wait_formed()
    assert play(lab, 1, HOLD_SYNCHRONIZATION) == "1 1\n"
    lab.node(2).kill()
    # A tool that is under way when synchronization begins is held until its end, as with corosync.
    assert wait_until(lambda: synchronizing(lab.node(1)), 10), lab.describe()
    wait_log = "A,V,NMW n1 (local)\n         2          1         NR n2\n"
    assert wait_log in wait_votes(lab, [lab.node(1)], "Total votes:      2.*NR n2")[1]
    assert "TRY_AGAIN" in tool(lab, 1, "corosync-cfgtool", "-k", "9")
    assert tool(lab, 1, "corosync-cmapctl", "-g", "runtime.votequorum.this_node_id").endswith("= 1\n")
    wait_votes(lab, [lab.node(1)], "Total votes:      1 *\n.*blocked.*NA,NV")


@pytest.fixture
def devices() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def with_devices(lab: Lab, stack: ExitStack, directory: Path) -> list[Qdevice]:
    """A formed ring whose devices all vote."""
    qnetd = Qnetd(lab, directory)
    stack.callback(qnetd.kill)
    add_device(lab, qnetd.address, **TIMES)
    qnetd.start()
    lab.start()
    lab.wait_formed()
    devices = [Qdevice(node) for node in lab.nodes]
    for device in devices:
        stack.callback(device.kill)
        device.start()
    wait_votes(lab, lab.nodes, r"Total votes:      3.*A,V,NMW.*A,V,NMW.*0          1            Qdevice")
    return devices


@pytest.mark.slow
@pytest.mark.qdevice
@pytest.mark.parametrize("kinds", ["TT", "CT"])
def test_corosyncs_own_device_decides_a_tie(make_lab: LabMaker, devices: ExitStack, tmp_path: Path, kinds: str) -> None:
    @again_when_a_real_node_aborts
    def script(make_lab: LabMaker) -> None:
        devices.close()
        lab = make_lab(kinds, SETTINGS)
        running = with_devices(lab, devices, Path(tmp_path, lab.directory.name))
        lab.plug(lab.node(2), up=False)
        wait_votes(lab, [lab.node(1)], r"Nodes: +1\n.*Quorate: +Yes.*Total votes:      2.*A,V,NMW n1", 40)
        wait_votes(lab, [lab.node(2)], r"Nodes: +1\n.*Quorate: +No.*Total votes:      1.*NV", 40)
        lab.plug(lab.node(2), up=True)
        lab.wait_formed(timeout_s=40)
        wait_votes(lab, lab.nodes, r"Total votes:      3.*A,V,NMW.*A,V,NMW", 40)
        assert all(device.running() for device in running)
        for device in running:
            device.kill()
        wait_votes(lab, lab.nodes, r"Quorate: +Yes.*Total votes:      2.*NA,NV.*NA,NV", 40)
        lab.node(2).terminate()
        wait_votes(lab, [lab.node(1)], r"Quorate: +No.*Total votes:      1", 40)
        running[0].start()
        wait_votes(lab, [lab.node(1)], r"Quorate: +Yes.*Total votes:      2.*A,V,NMW", 40)

    script(make_lab=make_lab)
