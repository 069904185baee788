"""Latency of ordered delivery: a ring of totemd nodes beside a ring of corosync nodes, in turns on one machine.

Both rings live in network namespaces of their own for the whole run; each round loads one, then the other. One node
multicasts, the clients on all nodes measure from before the send to the delivery. "totemd" is measured with the very
program that corosync is measured with, in C on libcpg; the other rows are a client in C on the native socket, and
totemd.client in Python. Needs root, corosync, libcpg-dev and gcc. The figures are medians over rounds.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import TypeAlias

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests" / "lab"))

from totemd_lab.loads import compile_client  # noqa: E402
from totemd_lab.nodes import Node, TotemdNode  # noqa: E402
from totemd_lab.places import Process  # noqa: E402
from totemd_lab.ring import Lab  # noqa: E402

ENGINES = {"corosync": "C", "totemd": "T"}

CLIENTS = {"corosync": "corosync", "totemd": "totemd", "totemd, native": "totemd", "totemd, python": "totemd"}
"""What is measured, and on which ring."""


FAST_PER_S = 10_000
"""Messages sent for each second of a round that goes as fast as it can."""


@dataclass(frozen=True)
class Figures:
    """Of one round or of many, microseconds."""

    p50_us: float
    p99_us: float
    messages_per_s: float
    """Delivered at the slowest node."""


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    nodes: int
    rate_per_s: int
    size_bytes: int
    seconds: float
    rounds: int

    @property
    def count(self) -> int:
        return int((self.rate_per_s or FAST_PER_S) * self.seconds)


def figures(latencies_ns: list[int], messages_per_s: float) -> Figures:
    """Those of one round."""
    cuts = statistics.quantiles(latencies_ns, n=100)
    return Figures(round(cuts[49] / 1000, 1), round(cuts[98] / 1000, 1), round(messages_per_s))


def median(found: list[Figures]) -> Figures:
    """Each figure's median."""
    columns = zip(*(astuple(one) for one in found), strict=True)
    return Figures(*(statistics.median(column) for column in columns))


Programs: TypeAlias = dict[str, list[str]]
"""The command that measures, for each of CLIENTS."""

NATIVE = ("totemd, native", "totemd, python")
"""Those of CLIENTS that want a socket's path first."""


def programs(directory: Path) -> Programs:
    """Compile what must be."""
    libcpg = [str(compile_client(HERE / "cpg_latency.c", directory))]
    return {
        "corosync": libcpg,
        "totemd": libcpg,
        "totemd, native": [str(compile_client(HERE / "native_latency.c", directory))],
        "totemd, python": [sys.executable, str(HERE / "latency_client.py")],
    }


def client(node: Node, plan: Plan, name: str, program: list[str], sending: bool, out: Path) -> Process:
    """Start a node's client."""
    socket = [str(node.socket)] if name in NATIVE and isinstance(node, TotemdNode) else []
    numbers = (plan.nodes, plan.count, plan.rate_per_s, plan.size_bytes, int(sending))
    return Process(node.place, [*program, *socket, *map(str, numbers), str(out)], node.directory / "client")


def measure(lab: Lab, plan: Plan, name: str, program: list[str]) -> Figures:
    """One round on one ring."""
    outs = [node.directory / "latencies" for node in lab.nodes]
    clients = [
        client(node, plan, name, program, index == 0, out)
        for index, (node, out) in enumerate(zip(lab.nodes, outs, strict=True))
    ]
    elapsed_s = 0.0
    for process in clients:
        if process.wait(plan.seconds + 60) != 0:
            raise SystemExit(f"a client failed: {process.output.read_text()}")
        process.close()
        elapsed_s = max(elapsed_s, int(process.output.read_text().split()[-1]) / 1e9)
    return figures([int(line) for out in outs for line in out.read_text().splitlines()], plan.count / elapsed_s)


def run_rounds(plan: Plan, directory: Path) -> dict[str, list[Figures]]:
    """All rounds: the figures of each of CLIENTS."""
    rounds: dict[str, list[Figures]] = {name: [] for name in CLIENTS}
    labs: dict[str, Lab] = {}
    commands = programs(directory)
    try:
        for engine, kind in ENGINES.items():
            labs[engine] = Lab(directory / engine, kind * plan.nodes)
            labs[engine].start()
            labs[engine].wait_formed()
        for number in range(1, plan.rounds + 1):
            for name, engine in CLIENTS.items():
                rounds[name].append(measure(labs[engine], plan, name, commands[name]))
                print(f"round {number}/{plan.rounds} {name:15}{rounds[name][-1]}", file=sys.stderr)
    finally:
        for lab in labs.values():
            lab.close()
    return rounds


def compare(plan: Plan) -> dict[str, object]:
    """The whole run. Returns what is printed as JSON."""
    with tempfile.TemporaryDirectory(prefix="bench") as directory:
        rounds = run_rounds(plan, Path(directory))
    medians = {name: median(found) for name, found in rounds.items()}
    theirs = medians["corosync"]
    return {
        "plan": asdict(plan),
        "machine": {
            "processors": os.cpu_count(),
            "kernel": platform.release(),
            "python": f"{sys.version} {sys.executable}",
        },
        "rounds": {name: [asdict(f) for f in found] for name, found in rounds.items()},
        "medians": {name: asdict(f) for name, f in medians.items()},
        "ratios": {
            name: {
                "p50": round(ours.p50_us / theirs.p50_us, 2),
                "p99": round(ours.p99_us / theirs.p99_us, 2),
                "messages_per_s": round(ours.messages_per_s / theirs.messages_per_s, 2),
            }
            for name, ours in medians.items()
            if name != "corosync"
        },
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=3, help="nodes of each ring (default 3)")
    parser.add_argument(
        "--rate", type=int, default=1000, help="messages a second; 0: as fast as it goes (default 1000)"
    )
    parser.add_argument("--size", type=int, default=64, help="bytes of a message, at least 8 (default 64)")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a round (default 3)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds for each engine (default 5)")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("needs root for network namespaces")
    if not 8 <= arguments.size <= 65536 or min(arguments.nodes, arguments.rate + 1, arguments.rounds) < 1:
        parser.error("sizes are 8 to 65536 bytes; nodes and rounds are positive, the rate is not negative")
    plan = Plan(arguments.nodes, arguments.rate, arguments.size, arguments.seconds, arguments.rounds)
    json.dump(compare(plan), sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
