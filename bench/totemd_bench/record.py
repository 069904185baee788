"""A run as JSON: the machine, what was asked for, every round."""

import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from totemd_bench.figures import medians
from totemd_bench.plan import Engine, Options
from totemd_bench.report import rows
from totemd_bench.stage import describe_python
from totemd_bench.suite import Key, Outcome, Results

FORMAT = 1


def machine(options: Options) -> dict[str, Any]:
    """Where and with what it is measured. Raises RingError when an interpreter cannot run totemd."""
    return {
        "processors": os.cpu_count(),
        "model": _processor_model(),
        "kernel": platform.release(),
        "corosync": _first_line(["corosync", "-v"]),
        "engines": {engine.label: _totemd(engine) for engine in options.engines if engine.python},
        "driver_python": sys.version.split()[0],
    }


def _totemd(engine: Engine) -> dict[str, str]:
    found = describe_python(engine.python)
    describe = ["git", "-C", str(Path(found["totemd"]).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    return found | {"commit": _first_line(describe)}


def _processor_model() -> str:
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _first_line(argv: Sequence[str]) -> str:
    try:
        lines = subprocess.run(argv, capture_output=True, text=True, check=False).stdout.splitlines()
    except OSError:
        return "unknown"
    return lines[0] if lines else "unknown"


def options_record(options: Options) -> dict[str, Any]:
    """What was asked for."""
    record = asdict(options)
    record["cells"] = [cell.name for cell in options.cells]
    record["scheduling"] = "rr" if record.pop("real_time") else "other"
    priority = record.pop("client_priority")
    record["client_scheduling"] = f"rr {priority}" if priority else "other"
    return record


def to_json(results: Results, where: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
    """The whole run."""
    return {
        "format": FORMAT,
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(results.began)),
        "began": results.began,
        "took_s": round(results.took_s, 1),
        "interrupted": results.interrupted,
        "machine": where,
        "options": asked,
        "results": [
            {
                **asdict(key),
                "rounds": [{"failed": one} if isinstance(one, str) else one for one in outcomes],
                "medians": medians(results.figures(key)),
            }
            for key, outcomes in results.rounds.items()
        ],
        "rows": [{**asdict(row), "target": str(row.target or ""), "verdict": row.verdict} for row in rows(results)],
        "notes": results.notes,
    }


def from_json(record: dict[str, Any]) -> Results:
    """What was found in a run. Raises ValueError if it is of another format."""
    if record.get("format") != FORMAT:
        raise ValueError(f"not of format {FORMAT}")
    results = Results(
        notes=record["notes"], began=record["began"], took_s=record["took_s"], interrupted=record["interrupted"]
    )
    for one in record["results"]:
        key = Key(one["cell"], one["nodes"], one["engine"], one["client"])
        outcomes: list[Outcome] = [found.get("failed", found) for found in one["rounds"]]
        results.rounds[key] = outcomes
    return results


def about(record: dict[str, Any]) -> list[str]:
    """Sentences that say where and how a run was made."""
    where, asked = record["machine"], record["options"]
    engines = "; ".join(
        f"{label} {engine['commit']} (Python {engine['python']}, {engine['compiled_modules']} compiled modules)"
        for label, engine in where["engines"].items()
    )
    clients = ", ".join(asked["clients"])
    token = f"{asked['token_ms']} ms" if asked["token_ms"] else "corosync's default, which grows with the nodes"
    interrupted = ", interrupted" if record["interrupted"] else ""
    machine = f"{where['processors']} processors ({where['model']}), Linux {where['kernel']}"
    when = f"{record['date']}, {record['took_s'] / 60:.0f} minutes{interrupted}"
    scheduling = f"scheduling: daemons {asked['scheduling']}, clients {asked['client_scheduling']}"
    rounds = f"{asked['rounds']} rounds in turns, {asked['seconds']:g} s of sending each; clients: {clients}"
    return [
        f"{when}. {machine}; all nodes of a ring share them.",
        f"{where['corosync']}; {engines}.",
        f"{rounds}; {scheduling}; token timeout: {token}.",
    ]
