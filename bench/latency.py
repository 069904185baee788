"""Latency of ordered delivery: a ring of totemd nodes beside a ring of corosync nodes, in turns on one machine.

Both rings live in network namespaces of their own for the whole run; each round loads one, then the other. One node
multicasts, the clients on all nodes measure from before the send to the delivery, with each engine's own client library
(totemd.client in Python, libcpg in C). Needs root, corosync, libcpg-dev and gcc. The figures are medians over rounds.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests" / "lab"))

from totemd_lab.loads import compile_client  # noqa: E402
from totemd_lab.nodes import Node, TotemdNode  # noqa: E402
from totemd_lab.places import Process  # noqa: E402
from totemd_lab.ring import Lab  # noqa: E402

ENGINES = {"corosync": "C", "totemd": "T"}


@dataclass(frozen=True)
class Figures:
    """Of one round or of many, microseconds."""

    p50_us: float
    p99_us: float


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
        return int(self.rate_per_s * self.seconds)


def figures(latencies_ns: list[int]) -> Figures:
    """Percentiles of one round."""
    cuts = statistics.quantiles(latencies_ns, n=100)
    return Figures(round(cuts[49] / 1000, 1), round(cuts[98] / 1000, 1))


def client(node: Node, plan: Plan, libcpg_program: Path, sending: bool, out: Path) -> Process:
    """Start a node's client."""
    program = [sys.executable, str(HERE / "latency_client.py"), str(node.directory / "run" / "totemd.sock")]
    argv = program if isinstance(node, TotemdNode) else [str(libcpg_program)]
    numbers = (plan.nodes, plan.count, plan.rate_per_s, plan.size_bytes, int(sending))
    return Process(node.place, [*argv, *map(str, numbers), str(out)], node.directory / "client")


def measure(lab: Lab, plan: Plan, libcpg_program: Path) -> Figures:
    """One round on one ring."""
    outs = [node.directory / "latencies" for node in lab.nodes]
    clients = [
        client(node, plan, libcpg_program, index == 0, out)
        for index, (node, out) in enumerate(zip(lab.nodes, outs, strict=True))
    ]
    for process in clients:
        if process.wait(plan.seconds + 30) != 0:
            raise SystemExit(f"a client failed: {process.output.read_text()}")
        process.close()
    return figures([int(line) for out in outs for line in out.read_text().splitlines()])


def compare(plan: Plan) -> dict[str, object]:
    """The whole run. Returns what is printed as JSON."""
    rounds: dict[str, list[Figures]] = {engine: [] for engine in ENGINES}
    labs: dict[str, Lab] = {}
    with tempfile.TemporaryDirectory(prefix="bench") as directory:
        libcpg_program = compile_client(HERE / "cpg_latency.c", Path(directory))
        try:
            for engine, kind in ENGINES.items():
                labs[engine] = Lab(Path(directory) / engine, kind * plan.nodes)
                labs[engine].start()
                labs[engine].wait_formed()
            for number in range(1, plan.rounds + 1):
                for engine, lab in labs.items():
                    rounds[engine].append(measure(lab, plan, libcpg_program))
                    print(f"round {number}/{plan.rounds} {engine:9}{rounds[engine][-1]}", file=sys.stderr)
        finally:
            for lab in labs.values():
                lab.close()
    medians = {
        engine: Figures(statistics.median(f.p50_us for f in found), statistics.median(f.p99_us for f in found))
        for engine, found in rounds.items()
    }
    ours, theirs = medians["totemd"], medians["corosync"]
    return {
        "plan": asdict(plan),
        "machine": {"processors": os.cpu_count(), "kernel": platform.release(), "python": platform.python_version()},
        "rounds": {engine: [asdict(f) for f in found] for engine, found in rounds.items()},
        "medians": {engine: asdict(f) for engine, f in medians.items()},
        "ratio": {
            "p50": round(ours.p50_us / theirs.p50_us, 2),
            "p99": round(ours.p99_us / theirs.p99_us, 2),
        },
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=3, help="nodes of each ring (default 3)")
    parser.add_argument("--rate", type=int, default=1000, help="messages a second (default 1000)")
    parser.add_argument("--size", type=int, default=64, help="bytes of a message, at least 8 (default 64)")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a round (default 3)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds for each engine (default 5)")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("needs root for network namespaces")
    if not 8 <= arguments.size <= 65536 or min(arguments.nodes, arguments.rate, arguments.rounds) < 1:
        parser.error("sizes are 8 to 65536 bytes; nodes, rate and rounds are positive")
    plan = Plan(arguments.nodes, arguments.rate, arguments.size, arguments.seconds, arguments.rounds)
    json.dump(compare(plan), sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
