"""libcmap and corosync-cmapctl, unmodified, get from totemd what they get from the real daemon."""

import re
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

import cmap_probe
from totemd_lab.nodes import Node
from totemd_lab.places import Process, run
from totemd_lab.ring import Lab, LabMaker, wait_until

pytestmark = [pytest.mark.root, pytest.mark.corosync]

BETTER = (
    # A type that does not exist, without a value: the real daemon stores it, and cannot say what it has.
    (r"(set 'probe.value' type (?:-1|0|13|14) ''): 1$", r"\1: 7"),
    # The same for what clears statistics.
    (r"(set 'stats.clear.[a-z]+' type 99 '\\x01'): 1$", r"\1: 7"),
    # Bits that mean nothing, which the real daemon refuses in its other map alone.
    (r"(track (?:-|'stats\.[a-z._]*'|'totem\.'|'ab') 16): 1\nuntrack: 1$", r"\1: 7\nuntrack: 9"),
)
"""What totemd answers on purpose otherwise, as patterns of the real answers."""

NOT_OURS = re.compile(
    r"(resources|internal_configuration\.service\.[467]|runtime\.services\.(mon|wd|pload))\.|"
    r"(logging\.logfile|system\.state_dir) "
)
"""Keys of services that totemd has not got, and those that differ between any two nodes."""

COUNTED = re.compile(r"^(runtime\.services\.\w+\.\d\.[rt]x \(u64\)) = \d+$|^(stats\.\S+ \(\S+\)) = .*$", re.MULTILINE)
CONNECTION = re.compile(r"service(\d)\.\d+\.0x[0-9a-f]+\.")


def started(make_lab: LabMaker, kinds: str) -> Lab:
    lab = make_lab(kinds)
    lab.start()
    lab.wait_formed()
    return lab


def tool(node: Node, *argv: str) -> str:
    result = run(node.place, ["corosync-cmapctl", *argv], check=False)
    return f"{result.returncode}\n{result.stdout}{result.stderr}"


def probe(node: Node) -> str:
    result = run(node.place, [sys.executable, str(Path(cmap_probe.__file__))], check=False, timeout_s=60)
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}\n{node.log_text()}"
    return result.stdout


def test_every_call_has_the_same_result(make_lab: LabMaker) -> None:
    expected = probe(started(make_lab, "C").nodes[0])
    for pattern, replacement in BETTER:
        expected, count = re.subn(pattern, replacement, expected, flags=re.MULTILINE)
        assert count, pattern
    assert probe(started(make_lab, "T").nodes[0]).splitlines() == expected.splitlines()


def test_a_started_cluster_has_the_same_keys(make_lab: LabMaker) -> None:
    real, ours = started(make_lab, "CC"), started(make_lab, "TT")

    def keys(lab: Lab, *argv: str) -> list[str]:
        text = CONNECTION.sub(r"service\1.P.", tool(lab.nodes[0], *argv))
        text = COUNTED.sub(lambda found: found[1] or found[2], text)
        return [line for line in text.splitlines() if not NOT_OURS.match(line)]

    assert keys(ours) == keys(real)
    assert keys(ours, "-m", "stats") == keys(real, "-m", "stats")


STEPS = (
    "-s t.u8 u8 255 -s|-g t.u8",
    "-s t.i8 i8 -128|-g t.i8",
    "-s t.u16 u16 65535|-s t.i16 i16 -3|-s t.u32 u32 7|-s t.i32 i32 -7|-s t.u64 u64 9|-s t.i64 i64 -9|t.",
    "-s t.flt flt 1.5|-s t.dbl dbl -2.25|-s t.str str hello|-g t.flt t.dbl t.str",
    "-s t.bin bin /etc/hostname|-g t.bin|-b -g t.bin|-q -g t.bin t.none",
    "-s t.u8 u8 256|-s t.u8 foo 1|-s ab u8 1|-s a,b u8 1|-g none|-d none|-d t.u8|-g t.u8|-D t.i|t.|-D t.",
    "-s totem.version u32 3|-d system.sched_rr|-D nodelist.|-s internal_configuration.x u8 1",
    "-m stats -g stats.none|-m stats -s stats.pg.x u8 1|-m stats -D stats.pg|-C bogus|-C all|-C knet|-C ipc",
    "-p {file}|t.",
    "-s totem.token u32 4000|-g runtime.config.totem.token runtime.config.totem.consensus",
    "-s runtime.force_gather str yes|-g runtime.force_gather",
    "-s quorum.cancel_wait_for_all u8 1|-g quorum.cancel_wait_for_all",
)


def test_cmapctl_prints_the_same(make_lab: LabMaker, tmp_path: Path) -> None:
    file = tmp_path / "settings"
    file.write_text("t.one u8 1\nt.two str two words\n# a comment\nt.one u8 2\n")

    def transcript(node: Node) -> list[str]:
        said = []
        for step in "|".join(STEPS).format(file=file).split("|"):
            said.append(f"$ {step}\n{tool(node, *step.split())}")
            if " t." not in step:
                time.sleep(0.1)  # what acts by itself has acted
        return said

    assert transcript(started(make_lab, "T").nodes[0]) == transcript(started(make_lab, "C").nodes[0])


@pytest.mark.parametrize("kind", ["T", "C"])
def test_cmapctl_tracks(make_lab: LabMaker, tmp_path: Path, kind: str) -> None:
    node = started(make_lab, kind).nodes[0]
    outputs: list[Path] = []

    def watch(*argv: str) -> Process:
        outputs.append(tmp_path / f"watch{len(outputs)}")
        command = f"sleep 20 | stdbuf -oL corosync-cmapctl {' '.join(argv)}"
        return Process(node.place, ["sh", "-c", command], outputs[-1])

    with (
        closing(watch("-t", "t.key")),
        closing(watch("-T", "t.")),
        closing(watch("-m", "stats", "-T", "stats.ipcs.")),
        closing(watch("-m", "stats", "-t", "stats.ipcs.global.closed")),
    ):
        assert wait_until(
            lambda: all("quit" in output.read_text() or "finish" in output.read_text() for output in outputs), 5
        )
        tool(node, "-s", "t.key", "u8", "1")
        tool(node, "-s", "t.key", "str", "x")
        tool(node, "-s", "t.other", "u8", "1")
        tool(node, "-d", "t.key")
        one, prefix, clients, closed = (output for output in outputs)
        expected = ["create> t.key (u8) = 1", "modify> t.key (str) = x", "delete> t.key (str) = x"]
        with_other = [*expected[:2], "create> t.other (u8) = 1", expected[2]]

        def lines(output: Path) -> list[str]:
            return [line for line in output.read_text().splitlines() if "> " in line]

        assert wait_until(lambda: lines(one) == expected, 5), one.read_text()
        assert wait_until(lambda: lines(prefix) == with_other, 5), prefix.read_text()
        appeared = re.compile(r"create> stats\.ipcs\.service0\.\d+\.0x[0-9a-f]+\.procname \(str\) = corosync-cmapct\n")
        vanished = re.compile(r"delete> stats\.ipcs\.service0\.\d+\.0x[0-9a-f]+\.requests \(u64\) = [1-9]")
        assert wait_until(lambda: bool(appeared.search(clients.read_text())), 5), clients.read_text()
        assert wait_until(lambda: bool(vanished.search(clients.read_text())), 5), clients.read_text()
        assert wait_until(lambda: bool(lines(closed)), 5), closed.read_text()
