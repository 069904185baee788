"""A state directory that cannot be written: the node says so, and leaves rather than risk its ring number."""

import pytest

from totemd_lab.configuration import RingSettings
from totemd_lab.nodes import Node
from totemd_lab.places import run
from totemd_lab.ring import LabMaker

pytestmark = pytest.mark.root

SMALL = "size=64k"


def mount(node: Node, options: str) -> None:
    """Put the node's state directory on a file system of its own."""
    run(node.place, ["mount", "-t", "tmpfs", "-o", options, "lab", str(node.state)])


def fill(node: Node) -> None:
    """Use up the file system of the node's state directory."""
    run(node.place, ["dd", "if=/dev/zero", f"of={node.state}/ballast", "bs=4k"], check=False)


def test_read_only_state_directory(make_lab: LabMaker) -> None:
    lab = make_lab("T")
    node = lab.node(1)
    mount(node, "ro")
    node.start()
    assert node.wait_end(10) not in (0, -6, -11)
    assert str(node.state) in node.log_text()
    assert "Traceback" not in node.log_text()


def test_full_state_directory(make_lab: LabMaker) -> None:
    lab = make_lab("T")
    node = lab.node(1)
    mount(node, SMALL)
    fill(node)
    node.start()
    assert node.wait_end(10) not in (0, -6, -11)
    assert "space" in node.log_text()
    assert "Traceback" not in node.log_text()


def test_disk_fills_up_at_run_time(make_lab: LabMaker) -> None:
    lab = make_lab("TTT", RingSettings(token_ms=800, token_coefficient_ms=0))
    sick = lab.node(2)
    mount(sick, SMALL)
    lab.start()
    lab.wait_formed()
    fill(sick)
    # The next ring needs its number on disk.
    lab.node(3).kill()
    assert sick.wait_end(20) not in (0, -6, -11), lab.describe()
    assert "space" in sick.log_text()
    assert "Traceback" not in sick.log_text()
    assert not lab.wait_formed([lab.node(1)]).quorate
