"""`totemctl cluster doctor`: what two doctors find out about the network between them, and each about its machine."""

import ast
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_daemon import FakeDaemon
from totemd.cli import cluster_doctor, ctl, doctor_checks, doctor_machine
from totemd.cli.doctor_exchange import MAGIC, SMALL_BYTES, Exchange, Peer
from totemd.cli.doctor_machine import IFF_MULTICAST, IFF_RUNNING, IFF_UP, Interface, bridge_of, snooping
from totemd.cli.doctor_report import Finding
from totemd.client.records import LastChange, Status, decode_status
from totemd.config import load
from totemd.config.model import Configuration
from totemd.ids import RingId

NODES = {1: "192.0.2.1", 2: "192.0.2.2"}
FULL_BYTES = 1455


def configuration(local: int = 1, *, nodes: int = 3, totem: str = "", resolve: str = "192.0.2") -> Configuration:
    listed = "".join(
        f"node {{\n nodeid: {i}\n name: n{i}\n ring0_addr: {resolve}.{i}\n}}\n" for i in range(1, nodes + 1)
    )
    text = (
        f"totem {{\n version: 2\n cluster_name: sea\n transport: udp\n{totem}}}\nnodelist {{\n{listed}}}\n"
        "quorum {\n provider: corosync_votequorum\n}\n"
    )
    return load(text, file="c", resolve=lambda name, version: [name], local_addresses=[f"{resolve}.{local}"])


class Wire:
    """Two doctors, and a network that loses what it is told to: (sender, to all, full size)."""

    def __init__(self, *lost: tuple[int, bool, bool], ahead_s: float = 0.0, way_s: float = 0.001) -> None:
        self.lost = set(lost)
        self.doctors = {
            nodeid: Exchange(nodeid, {other: NODES[other] for other in NODES if other != nodeid}, FULL_BYTES)
            for nodeid in NODES
        }
        self.ahead_s = {1: 0.0, 2: ahead_s}
        self.way_s = way_s
        self.now = 1000.0

    def run(self, rounds: int = 8) -> None:
        for round_ in range(rounds):
            for sender, receiver in ((1, 2), (2, 1)):
                for to_all in (False, True):
                    full = round_ % 2 == 1
                    probe = self.doctors[sender].probe(self.now + self.ahead_s[sender], to_all=to_all, full=full)
                    assert len(probe) == (FULL_BYTES if full else SMALL_BYTES)
                    self.now += self.way_s
                    if (sender, to_all, full) not in self.lost:
                        self.doctors[receiver].receive(probe, NODES[sender], self.now + self.ahead_s[receiver])
            self.now += 0.2

    def peer(self, nodeid: int = 1) -> Peer:
        """What this doctor knows of the other."""
        (peer,) = self.doctors[nodeid].peers.values()
        return peer

    def findings(self, nodeid: int = 1, *, multicast: bool = True) -> dict[str, Finding]:
        found = cluster_doctor._check_peer(self.peer(nodeid), "ling (2)", multicast=multicast, port=5415)
        return {finding.check: finding for finding in found}


def test_all_is_well() -> None:
    wire = Wire()
    wire.run()
    assert {check: finding.verdict for check, finding in wire.findings().items()} == {
        "multicast": "ok",
        "mtu": "ok",
        "clock": "ok",
    }
    assert "network" in wire.findings(multicast=False)


def test_there_is_an_end_when_all_is_known() -> None:
    wire = Wire()
    wire.run(1)
    assert not wire.doctors[1].complete(multicast=True)
    wire.run()
    assert wire.doctors[1].complete(multicast=True)
    without = Wire(*((sender, True, full) for sender in (1, 2) for full in (True, False)))
    without.run()
    assert without.doctors[1].complete(multicast=False)
    assert not without.doctors[1].complete(multicast=True)


def test_multicast_that_is_lost_in_one_direction() -> None:
    wire = Wire((1, True, False), (1, True, True))
    wire.run()
    here, there = wire.findings(1)["multicast"], wire.findings(2)["multicast"]
    assert here.verdict == there.verdict == "PROBLEM"
    assert here.text.startswith("multicast to ling (2) is lost")
    assert there.text.startswith("multicast from ling (2) is lost")
    assert "260 s" in here.text
    assert "querier" in here.remedy


def test_full_packets_that_are_lost() -> None:
    wire = Wire((2, True, True), (2, False, True))
    wire.run()
    assert wire.findings(1)["mtu"].text == "full packets from ling (2) are lost, small ones pass"
    assert wire.findings(2)["mtu"].text == "full packets to ling (2) are lost, small ones pass"


def test_a_node_that_is_heard_and_does_not_hear() -> None:
    wire = Wire(*((1, to_all, full) for to_all in (True, False) for full in (True, False)))
    wire.run()
    (finding,) = wire.findings(1).values()
    assert finding.verdict == "PROBLEM"
    assert "does not hear this node" in finding.text


@pytest.mark.parametrize(
    ("ahead_s", "verdict", "word"),
    [(0.02, "ok", "ahead"), (-2.0, "advice", "behind"), (3600.0, "PROBLEM", "ahead")],
)
def test_clocks_are_compared(ahead_s: float, verdict: str, word: str) -> None:
    wire = Wire(ahead_s=ahead_s, way_s=0.005)
    wire.run()
    offset = wire.peer().offset
    assert offset is not None
    assert offset.ahead_s == pytest.approx(ahead_s, abs=0.02)
    finding = wire.findings()["clock"]
    assert finding.verdict == verdict
    assert word in finding.text


def test_strangers_are_counted_and_believed_nothing() -> None:
    wire = Wire()
    probe = wire.doctors[2].probe(5.0, to_all=True, full=False)
    wire.doctors[1].receive(probe, "192.0.2.77", 5.0)
    wire.doctors[1].receive(Exchange(9, NODES, FULL_BYTES).probe(5.0, to_all=True, full=False), NODES[2], 5.0)
    assert wire.doctors[1].strangers == {"192.0.2.77": 1, NODES[2]: 1}
    assert not wire.peer().here


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 700), st.integers(0, 255))
def test_hostile_probes(data: bytes, place: int, value: int) -> None:
    wire = Wire()
    wire.run(2)
    doctor = wire.doctors[1]
    good = bytearray(wire.doctors[2].probe(wire.now, to_all=True, full=False))
    good[place % len(good)] = value
    for hostile in (data, MAGIC + data, MAGIC + len(data).to_bytes(2, "big") + data, bytes(good)):
        doctor.receive(hostile, NODES[2], wire.now)
    list(cluster_doctor._check_peer(wire.peer(), "ling (2)", multicast=True, port=5415))


def test_probes_of_many_nodes_stay_small() -> None:
    nodes = {nodeid: f"10.0.{nodeid >> 8}.{nodeid & 255}" for nodeid in range(1, 301)}
    one = Exchange(1, {nodeid: nodes[nodeid] for nodeid in nodes if nodeid != 1}, FULL_BYTES)
    told: set[int] = set()
    for nodeid in range(2, 301):
        others = {other: nodes[other] for other in nodes if other != nodeid}
        one.receive(Exchange(nodeid, others, FULL_BYTES).probe(1e9, to_all=True, full=True), nodes[nodeid], 1e9)
    listener = Exchange(2, {other: nodes[other] for other in nodes if other != 2}, FULL_BYTES)
    for _ in range(60):
        probe = one.probe(1e9 + 0.5, to_all=True, full=False)
        assert len(probe) == SMALL_BYTES
        listener.receive(probe, nodes[1], 1e9 + 0.6)
        told |= {1} if listener.peers[1].told else set()
    assert told == {1}


# --- the machine


def verdicts(findings: list[Finding]) -> dict[str, str]:
    """By check; a problem outweighs what else was found of it."""
    ordered = sorted(findings, key=lambda finding: finding.verdict == "PROBLEM")
    return {finding.check: finding.verdict for finding in ordered}


@pytest.mark.parametrize(
    ("interface", "check", "verdict"),
    [
        (None, "address", "PROBLEM"),
        (Interface("eth0", IFF_MULTICAST, 1500), "interface", "PROBLEM"),
        (Interface("eth0", IFF_UP | IFF_MULTICAST, 1500), "interface", "PROBLEM"),
        (Interface("eth0", IFF_UP | IFF_RUNNING, 1500), "interface", "PROBLEM"),
        (Interface("eth0", IFF_UP | IFF_RUNNING | IFF_MULTICAST, 1482), "mtu", "PROBLEM"),
        (Interface("eth0", IFF_UP | IFF_RUNNING | IFF_MULTICAST, 1483), "mtu", "ok"),
    ],
)
def test_interfaces(interface: Interface | None, check: str, verdict: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_checks, "interface_of", lambda address: interface)
    assert verdicts(list(doctor_checks.check_address(configuration())))[check] == verdict


def test_bridges_that_snoop(tmp_path: Path) -> None:
    bridge = tmp_path / "br0" / "bridge"
    bridge.mkdir(parents=True)
    (tmp_path / "eth0").mkdir()
    (tmp_path / "eth0" / "master").symlink_to(tmp_path / "br0")
    (tmp_path / "eth1").mkdir()
    assert [bridge_of(name, tmp_path) for name in ("br0", "eth0", "eth1")] == ["br0", "br0", None]
    assert snooping("br0", tmp_path) is None
    (bridge / "multicast_snooping").write_text("1\n")
    (bridge / "multicast_querier").write_text("0\n")
    assert snooping("br0", tmp_path) == (True, False)


def test_the_trap_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_checks, "bridge_of", lambda interface: "br0")
    monkeypatch.setattr(doctor_checks, "snooping", lambda bridge: (True, False))
    (finding,) = doctor_checks._check_bridge("eth0")
    assert finding.verdict == "advice"
    assert "works at first" in finding.text
    assert "/sys/class/net/br0/bridge/multicast_querier" in finding.remedy


def test_names_that_do_not_lead_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(name: str, version: str) -> list[str]:
        if name == "unknown.1":
            raise OSError("no such host")
        return {"unknown.2": ["127.0.1.1"]}.get(name, ["192.0.2.3"])

    monkeypatch.setattr(doctor_checks, "resolve", resolve)
    found = configuration(3, resolve="192.0.2")
    named = load(
        "".join(
            ["totem {\n version: 2\n cluster_name: sea\n transport: udp\n}\nnodelist {\n"]
            + [f"node {{\n nodeid: {i}\n ring0_addr: unknown.{i}\n}}\n" for i in (1, 2, 3)]
            + ["}\n"]
        ),
        file="c",
        resolve=lambda name, version: [f"192.0.2.{name[-1]}"],
        local_addresses=["192.0.2.3"],
    )
    first, second = doctor_checks.check_names(named)
    assert "unknown.1 cannot be resolved" in first.text
    assert "/etc/hosts" in first.remedy
    assert "an address of this machine alone" in second.text
    assert verdicts(list(doctor_checks.check_names(found))) == {"names": "ok"}


@pytest.mark.parametrize(("nodes", "verdict"), [(3, "ok"), (32, "advice")])
def test_worst_failover_is_said(nodes: int, verdict: str) -> None:
    (finding,) = doctor_checks.check_timeouts(configuration(nodes=nodes))
    assert finding.verdict == verdict
    worst_s = (3 + 0.65 * (nodes - 2)) * 2.2
    assert f"within {worst_s:.1f} s" in finding.text


@pytest.mark.parametrize(("nodes", "text"), [(3, "any 1 node may fail"), (5, "any 2 nodes"), (2, "two nodes")])
def test_how_many_may_fail(nodes: int, text: str) -> None:
    (finding,) = doctor_checks.check_quorum(configuration(nodes=nodes))
    assert text in finding.text


def test_key_files(tmp_path: Path) -> None:
    sealed = configuration(totem=f" crypto_cipher: aes256\n keyfile: {tmp_path}/key\n")
    (missing,) = doctor_checks.check_key(sealed)
    (tmp_path / "key").write_bytes(bytes(range(128)))
    (tmp_path / "key").chmod(0o640)
    (readable,) = doctor_checks.check_key(sealed)
    (tmp_path / "key").chmod(0o600)
    (good,) = doctor_checks.check_key(sealed)
    (tmp_path / "key").write_bytes(b"x")
    (short,) = doctor_checks.check_key(sealed)
    (unsealed,) = doctor_checks.check_key(configuration())
    found = [missing, readable, good, short, unsealed]
    assert [finding.verdict for finding in found] == ["PROBLEM", "PROBLEM", "ok", "PROBLEM", "advice"]
    assert readable.remedy == f"chmod 600 {tmp_path}/key"


@pytest.mark.parametrize(("free", "verdict"), [(True, "ok"), (False, "PROBLEM")])
def test_ports_that_somebody_else_uses(free: bool, verdict: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_checks, "port_is_free", lambda address, port: free)
    assert verdicts(list(doctor_checks.check_ports(configuration(), None)))["ports"] == verdict


def test_ports_of_a_daemon_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its ring shows that its packets pass; a daemon that does not use the ports runs with something else."""
    monkeypatch.setattr(doctor_checks, "input_filters", lambda: None)
    monkeypatch.setattr(doctor_checks, "port_is_free", lambda address, port: False)
    found = verdicts(list(doctor_checks.check_ports(configuration(nodes=1), ring_of(1.0))))
    assert found == {"ports": "ok", "firewall": "unknown"}
    two = replace(ring_of(1.0), members=ring_of(1.0).members * 2)
    assert verdicts(list(doctor_checks.check_ports(configuration(nodes=2), two)))["firewall"] == "ok"
    monkeypatch.setattr(doctor_checks, "port_is_free", lambda address, port: True)
    assert verdicts(list(doctor_checks.check_ports(configuration(), ring_of(1.0))))["ports"] == "PROBLEM"


def rules_in_a_namespace(*commands: str) -> list[str] | None:
    """What is seen of these rules, in a network namespace of their own."""
    script = "import sys; from totemd.cli.doctor_machine import input_filters; print(input_filters())"
    inner = " && ".join([*(f"nft '{command}'" for command in commands), f'"{sys.executable}" -c "{script}"'])
    done = subprocess.run(["unshare", "--net", "sh", "-c", inner], capture_output=True, text=True, check=True)
    found: list[str] | None = ast.literal_eval(done.stdout)
    return found


@pytest.mark.root
def test_chains_that_drop() -> None:
    table, chain = "add table inet guard", "add chain inet guard way { type filter hook input priority 0; policy %s; }"
    assert rules_in_a_namespace() == []
    assert rules_in_a_namespace(table, chain % "accept") == []
    assert rules_in_a_namespace(table, chain % "drop") == ["inet guard way"]
    rule = "add rule inet guard way tcp dport 22 drop"
    assert rules_in_a_namespace(table, chain % "accept", rule) == ["inet guard way"]


@pytest.mark.parametrize("output", ["", "{}", "[]", '{"nftables": 3}', '{"nftables": [{"rule": 1}]}', "x" * 1000])
def test_rules_that_cannot_be_read(output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nft").write_text(f"#!/bin/sh\ncat <<'END'\n{output}\nEND\n")
    (tmp_path / "nft").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert doctor_machine.input_filters() is None
    monkeypatch.setenv("PATH", "")
    assert doctor_machine.input_filters() is None


@pytest.mark.parametrize(
    ("filters", "verdict", "said"),
    [(None, "unknown", "nft list ruleset"), ([], "ok", "nothing here drops"), (["inet f i"], "advice", "insert rule")],
)
def test_the_firewall(filters: list[str] | None, verdict: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_checks, "input_filters", lambda: filters)
    monkeypatch.setattr(doctor_checks, "port_is_free", lambda address, port: True)
    found = [one for one in doctor_checks.check_ports(configuration(nodes=3), None) if one.check == "firewall"]
    assert [one.verdict for one in found] == [verdict]
    assert said in str(found[0])
    assert "5405" in str(found[0])


def test_a_clock_that_nobody_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    for kept, verdict in ((True, "ok"), (False, "advice"), (None, "unknown")):
        monkeypatch.setattr(doctor_checks, "clock_is_kept", lambda kept=kept: kept)
        assert verdicts(list(doctor_checks.check_clock())) == {"clock": verdict}
    assert doctor_machine.clock_is_kept() in (True, False, None)


def ring_of(age_s: float) -> Status:
    member = {"nodeid": 2, "name": "n2", "address": "", "votes": 1, "local": False}
    status = decode_status(
        {
            "nodeid": 1,
            "quorate": True,
            "votes": {"expected": 2, "highest": 2, "total": 2, "quorum": 2},
            "members": [member],
        }
    )
    object.__setattr__(status, "last_change", LastChange("joined", RingId(1, 4), age_s))
    return status


@pytest.mark.parametrize(
    ("status", "heard", "lasted_s", "verdict"),
    [
        (ring_of(300.0), False, 4.0, "ok"),
        (ring_of(30.0), True, 4.0, "unknown"),
        (ring_of(30.0), True, 300.0, "ok"),
        (None, True, 4.0, "unknown"),
        (None, True, 300.0, "ok"),
        (None, False, 300.0, "unknown"),
    ],
)
def test_only_time_tells_of_the_trap(status: Status | None, heard: bool, lasted_s: float, verdict: str) -> None:
    members = {2} if status is not None else set()
    assert cluster_doctor._check_trap(status, members, heard, lasted_s).verdict == verdict


# --- the command


def test_a_configuration_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ctl.main(["cluster", "doctor", "--config", str(tmp_path / "none"), "--json"]) == 1
    (finding, *_) = json.loads(capsys.readouterr().out)["findings"]
    assert finding["verdict"] == "PROBLEM"
    assert "none" in finding["text"]


def test_two_doctors_on_loopback(tmp_path: Path) -> None:
    """Real sockets, as on two machines; they end when both know all there is to know."""
    listed = "".join(f"node {{\n nodeid: {i}\n name: n{i}\n ring0_addr: 127.0.0.{i}\n}}\n" for i in (1, 2))
    (tmp_path / "c").write_text(
        "totem {\n version: 2\n cluster_name: doctors\n transport: udp\n"
        f" interface {{\n  mcastport: 15405\n }}\n}}\nnodelist {{\n{listed}}}\n"
    )
    command = [sys.executable, "-m", "totemd.cli.ctl", "--socket", str(tmp_path / "none"), "--json"]
    command += ["cluster", "doctor", "--config", str(tmp_path / "c"), "--seconds", "30", "--port", "15425"]
    started = [subprocess.Popen([*command, "--node", name], stdout=subprocess.PIPE, text=True) for name in ("n1", "n2")]
    for process in started:
        out, _ = process.communicate(timeout=60)
        found = {finding["check"]: finding["verdict"] for finding in json.loads(out)["findings"]}
        assert found["multicast"] == "ok", out
        assert found["mtu"] == "ok"
        assert process.returncode == 0


def doctor_file(tmp_path: Path, port: int) -> str:
    (tmp_path / "c").write_text(
        f"totem {{\n version: 2\n cluster_name: a\n transport: udpu\n interface {{\n  mcastport: {port}\n }}\n}}\n"
        "nodelist {\n node {\n nodeid: 1\n ring0_addr: 127.0.0.1\n }\n"
        " node {\n nodeid: 2\n ring0_addr: 127.0.0.2\n }\n}\n"
    )
    return str(tmp_path / "c")


def test_the_last_ports_of_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "--socket",
        str(tmp_path / "none"),
        "--json",
        "cluster",
        "doctor",
        "--config",
        doctor_file(tmp_path, 65530),
    ]
    assert ctl.main([*words, "--node", "1", "--seconds", "0.1"]) in (0, 1)
    found = [finding["text"] for finding in json.loads(capsys.readouterr().out)["findings"]]
    assert any("UDP 65520 (of the probes)" in text for text in found), found
    with pytest.raises(SystemExit) as ended:
        ctl.main([*words, "--port", "70000"])
    assert ended.value.code == 64


def test_a_broken_file_does_not_keep_from_examining_what_is_in_force(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = Path(doctor_file(tmp_path, 15445)).read_text()
    (tmp_path / "c").write_text("totem {\n nonsense\n")
    shown = {
        "version": 7,
        "committed_version": 7,
        "confirmed": True,
        "digest": "",
        "kind": "edit",
        "who": "",
        "when": 0,
    }
    shown.update({"what": "", "text": text, "file": "", "edited": True, "problem": "", "pending": None})
    with FakeDaemon(tmp_path / "socket") as daemon:
        daemon.on("config_show", shown)
        words = ["--socket", str(daemon.path), "cluster", "doctor", "--config", str(tmp_path / "c"), "--seconds", "0.1"]
        assert ctl.main([*words, "--json"]) == 1
        findings = json.loads(capsys.readouterr().out)["findings"]
        assert "in force instead" in findings[0]["remedy"]
        assert {"time-outs", "ports", "network"} <= {finding["check"] for finding in findings}
        assert ctl.main(words) == 1
        assert "sending and hearing probes" in capsys.readouterr().err
