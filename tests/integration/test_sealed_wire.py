"""A sealed ring of real daemons with somebody on its wire: what he hears is noise, what he sends changes nothing."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from totemd.seal.datagram import MAGIC
from totemd_lab import native
from totemd_lab.clients import connect, deliveries, wait_members
from totemd_lab.configuration import RingSettings
from totemd_lab.loads import SOURCE
from totemd_lab.nodes import Node, TotemdNode
from totemd_lab.places import Process
from totemd_lab.ring import Lab, LabMaker, wait_until
from totemd_lab.wire import frames, payloads

pytestmark = [pytest.mark.root]

FLOOD = int(os.environ.get("TOTEMD_LAB_FORGERIES", "60000"))
RATE_PER_S = int(os.environ.get("TOTEMD_LAB_FORGERIES_PER_S", "20000"))
"""0: as fast as it goes; what the kernel then drops of the ring's own may cost it tokens."""

SECRET = b"the quick brown fox jumps over the lazy dog"
GROWTH_MAX_BYTES = 32 * 1024 * 1024


def settings(key: Path, transport: str) -> RingSettings:
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    return RingSettings(
        transport,
        # The floods take all of a small machine's processors.
        token_ms=10_000,
        token_coefficient_ms=0,
        totem={"secauth": "on", "keyfile": str(key), "cluster_name": "hake-ling-tope"},
        quorum={"expected_votes": "3"},
    )


def tool(lab: Lab, node: Node, name: str, *words: object) -> Process:
    argv = [sys.executable, "-m", "totemd_lab.wire", *map(str, words)]
    return Process(node.place, argv, lab.directory / name, {"PYTHONPATH": str(SOURCE.parent)})


def tapped(lab: Lab, seconds: float) -> tuple[Path, Process]:
    """Begin to hear what the first node sends and receives."""
    file = lab.directory / f"tap-{time.monotonic_ns()}"
    output = f"{file.name}.output"
    process = tool(lab, lab.node(1), output, "tap", file, seconds)
    assert wait_until(lambda: "ready" in (lab.directory / output).read_text(), 10)
    return file, process


def sealing(node: Node) -> dict[str, int]:
    assert isinstance(node, TotemdNode)
    stats = native.ask(node.socket, "stats", timeout_s=10)
    assert stats is not None
    counters: dict[str, int] = stats["sealing"]
    return counters


def talk(lab: Lab, count: int) -> None:
    """Messages from the third node to the second, all of which arrive in order."""
    with (
        connect(lab.node(2)) as one,
        one.join("secrets") as here,
        connect(lab.node(3)) as two,
        two.join("secrets") as there,
    ):
        wait_members(here, 2)
        for number in range(count):
            there.multicast(SECRET * 20 + b"%d" % number)
        heard = deliveries(here, count, 30.0)
    assert [message.data for message in heard] == [SECRET * 20 + b"%d" % number for number in range(count)]


@pytest.mark.parametrize("transport", ["udp", "udpu"])
def test_wire_of_a_sealed_ring(make_lab: LabMaker, tmp_path: Path, transport: str) -> None:
    lab = make_lab("TTT", settings(tmp_path / "key", transport))
    # From before the first packet on.
    file, process = tapped(lab, 30)
    lab.start()
    before = lab.wait_formed()
    talk(lab, 50)
    process.signal(signal.SIGTERM)
    process.wait(10)
    everything = b"".join(frames(file))
    heard = payloads(file)
    assert len(heard) > 50
    assert {data[: len(MAGIC)] for data in heard} == {MAGIC}
    for word in (SECRET[:12], b"hake-ling-tope", b"secrets", b"corosync", b"totemd", b"n1\0"):
        assert word not in everything, word
    flood(lab, file)
    assert lab.wait_formed() == before, lab.describe()
    talk(lab, 20)
    assert lab.wait_formed() == before


def flood(lab: Lab, file: Path) -> None:
    """A stranger, and a member's machine, send forgeries; nodes count them and go on as before."""
    sizes = {node.nodeid: node.rss_bytes() for node in lab.nodes}
    used = {node.nodeid: node.cpu_s() for node in lab.nodes}
    counted = {node.nodeid: sealing(node) for node in lab.nodes}
    place, address = lab.add_stranger()
    group = [lab.settings.mcast_address] if lab.settings.transport == "udp" else []
    targets = [*group, *(node.member.address for node in lab.nodes)]
    argv = [sys.executable, "-m", "totemd_lab.wire", "flood", file, FLOOD, RATE_PER_S, 1, address, 5405, *targets]
    process = Process(place, [*map(str, argv)], lab.directory / "flood", {"PYTHONPATH": str(SOURCE.parent)})
    talk(lab, 100)
    assert process.wait(300) == 0, process.output.read_text()
    print(process.output.read_text().strip())
    time.sleep(0.5)
    for node in lab.nodes:
        dropped = {word: count - counted[node.nodeid].get(word, 0) for word, count in sealing(node).items() if count}
        growth = node.rss_bytes() - sizes[node.nodeid]
        took_s = node.cpu_s() - used[node.nodeid]
        print(f"{node!r}: {dropped}, grown by {growth >> 10} KiB, {took_s:.1f} s of processor time")
        assert sum(dropped.values()) > FLOOD // 6, "the flood was lost before it reached the daemon"
        assert {"replayed", "forged or damaged", "unknown key"} <= dropped.keys()
        assert growth < GROWTH_MAX_BYTES
        assert node.log.stat().st_size < 100_000, "the log must not grow with the flood"
        assert "Traceback" not in node.log_text()
