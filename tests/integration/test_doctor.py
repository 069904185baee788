"""Doctors on machines whose network is not fit for a ring: each finds what is wrong, from both ends."""

import json
import subprocess
import sys
from typing import TypeAlias

import pytest

from totemd_lab.configuration import RingSettings
from totemd_lab.faults import drop_multicasts
from totemd_lab.nodes import TotemdNode
from totemd_lab.places import run
from totemd_lab.ring import Lab, LabMaker

pytestmark = pytest.mark.root

LISTEN_S = 4.0
Findings: TypeAlias = dict[str, list[dict[str, str]]]


def examine(lab: Lab) -> dict[int, Findings]:
    """What the doctors of all nodes say, by node and by check; they work at the same time."""
    started = {}
    for node in lab.nodes:
        assert isinstance(node, TotemdNode)
        command = [sys.executable, "-m", "totemd.cli.ctl", "--socket", str(node.socket), "--json", "cluster", "doctor"]
        command += ["--config", str(node.conf), "--node", str(node.nodeid), "--seconds", str(LISTEN_S)]
        started[node.nodeid] = subprocess.Popen(node.place.command(command), stdout=subprocess.PIPE, text=True)
    found: dict[int, Findings] = {}
    for nodeid, process in started.items():
        out, _ = process.communicate(timeout=60)
        by_check: Findings = {}
        for finding in json.loads(out)["findings"]:
            by_check.setdefault(finding["check"], []).append(finding)
        problems = [
            finding for findings in by_check.values() for finding in findings if finding["verdict"] == "PROBLEM"
        ]
        assert process.returncode == (1 if problems else 0)
        found[nodeid] = by_check
    return found


def verdicts(findings: Findings, check: str) -> set[str]:
    return {finding["verdict"] for finding in findings.get(check, [])}


def test_a_network_that_is_fit(make_lab: LabMaker) -> None:
    """Without daemons by probes alone, and beside a ring by its own evidence as well."""
    lab = make_lab("TT", RingSettings("udp"))
    for findings in examine(lab).values():
        assert verdicts(findings, "multicast") == verdicts(findings, "mtu") == {"ok"}, findings
        assert verdicts(findings, "address") == verdicts(findings, "interface") == verdicts(findings, "ports") == {"ok"}
        assert verdicts(findings, "daemon") == verdicts(findings, "igmp") == {"unknown"}
    lab.start()
    lab.wait_formed()
    for findings in examine(lab).values():
        assert verdicts(findings, "daemon") == verdicts(findings, "ports") == {"ok"}
        assert "too young to tell" in findings["igmp"][0]["text"]


def test_a_switch_that_forgot_who_listens(make_lab: LabMaker) -> None:
    lab = make_lab("TT", RingSettings("udp"))
    drop_multicasts(lab.node(2), 100)
    found = examine(lab)
    for nodeid, way in ((1, "to"), (2, "from")):
        (finding,) = (finding for finding in found[nodeid]["multicast"])
        assert finding["verdict"] == "PROBLEM"
        assert finding["text"].startswith(f"multicast {way} ")
        assert "querier" in finding["remedy"]


def test_a_way_that_is_too_narrow_and_an_interface_that_is_down(make_lab: LabMaker) -> None:
    lab = make_lab("TTT", RingSettings("udp"))
    run(lab.node(2).place, ["ip", "link", "set", "eth0", "mtu", "1400"])
    run(lab.node(3).place, ["ip", "link", "set", "eth0", "down"])
    found = examine(lab)
    assert any("full packets from" in finding["text"] for finding in found[1]["mtu"]), found[1]
    assert any("eth0 carries 1400 bytes" in finding["text"] for finding in found[2]["mtu"])
    assert any(finding["remedy"] == "ip link set eth0 up" for finding in found[3]["interface"])
    assert verdicts(found[1], "network") == {"unknown"}
