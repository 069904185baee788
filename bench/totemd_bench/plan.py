"""What is measured, in which order, and about how long it takes. Nothing here touches the machine."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

BASELINE: Final = "corosync"
"""The engine that the others are compared with, where it takes part."""

SAMPLES_MIN: Final = 150
"""Messages of a cell with a rate at least. More than a hundred, since each of many senders rounds its share down."""

LIBCPG: Final = "libcpg"


@dataclass(frozen=True)
class Engine:
    """A daemon that takes part."""

    label: str
    python: str = ""
    """The interpreter that runs totemd; none: corosync."""
    cipher: str = ""
    """By which its rings are sealed; none: open, as corosync's."""


CIPHERS: Final = ("aes128", "aes192", "aes256", "chacha20")
SEALED: Final = "sealed"
"""In front of an engine's label, like a cipher's name: aes256."""


def engine_named(text: str) -> Engine:
    """`LABEL=PATH`; `sealed+LABEL=PATH` or `chacha20+LABEL=PATH`: with sealed rings. Raises ValueError."""
    label, _, python = text.partition("=")
    if not label or not python:
        raise ValueError(f"--engine {text}: LABEL=PATH is wanted")
    first, plus, _ = label.partition("+")
    if not plus:
        return Engine(label, python)
    if first not in (SEALED, *CIPHERS):
        raise ValueError(f"--engine {text}: what stands before + is {SEALED} or a cipher ({', '.join(CIPHERS)})")
    return Engine(label, python, "aes256" if first == SEALED else first)


@dataclass(frozen=True)
class Cell:
    """One thing that is measured on a formed ring."""

    name: str
    work: str
    title: str
    size_bytes: int = 0
    """Of a message; 0: nothing is sent."""
    rate_per_s: int = 0
    """Of all senders together; 0: as fast as the daemons take it."""
    everyone: bool = False
    """Every node sends; otherwise one does."""
    loss_percent: int = 0

    def seconds(self, wanted: float) -> float:
        """How long messages are sent: longer than wanted where too few would come for a 99th percentile."""
        return max(wanted, SAMPLES_MIN / self.rate_per_s) if self.rate_per_s else wanted

    @property
    def loads(self) -> bool:
        """Whether clients send messages."""
        return self.size_bytes > 0


BIG: Final = 1_000_000
"""Bytes. A round number below the 1047552 that cpg_max_atomic_msgsize_get gives, so libcpg does not split it."""

CELLS: Final = {
    cell.name: cell
    for cell in (
        Cell("idle", "idle", "idle"),
        Cell("latency-100", "latency", "64 B at 100/s", 64, 100),
        Cell("latency-1000", "latency", "64 B at 1000/s", 64, 1000),
        Cell("rate-64", "rate", "64 B, one sends", 64),
        Cell("rate-16k", "throughput", "16 kB, one sends", 16384),
        Cell("rate-1m", "throughput", "1 MB, one sends", BIG),
        Cell("all-latency-100", "all", "64 B at 100/s, all send", 64, 100, everyone=True),
        Cell("all-latency-1000", "all", "64 B at 1000/s, all send", 64, 1000, everyone=True),
        Cell("all-rate-64", "all", "64 B, all send", 64, everyone=True),
        Cell("all-rate-16k", "all", "16 kB, all send", 16384, everyone=True),
        Cell("loss-latency-100", "loss", "64 B at 100/s, 1 % lost", 64, 100, loss_percent=1),
        Cell("loss-latency-1000", "loss", "64 B at 1000/s, 1 % lost", 64, 1000, loss_percent=1),
        Cell("loss-rate-16k", "loss", "16 kB, one sends, 1 % lost", 16384, loss_percent=1),
        # The ring's peak under all that came before.
        Cell("memory", "memory", "memory after load"),
        Cell("leave", "membership", "leave (SIGTERM)"),
        Cell("join", "membership", "join of one node"),
        Cell("kill", "membership", "kill -9"),
        Cell("start", "start", "cold start of all"),
    )
}
"""In the order in which a ring goes through them; `start` has rings of its own."""

WORKS: Final = tuple(dict.fromkeys(cell.work for cell in CELLS.values()))

SIZE_MIN: Final = 24
SIZE_MAX: Final = 1 << 20
"""Of a message: load.h's head, and what its buffers hold."""

NATIVE_CELLS: Final = ("latency-100", "latency-1000", "rate-64", "rate-16k", "rate-1m")
"""Those of CELLS that are measured with totemd's own clients, too."""


def has_native(cell: Cell) -> bool:
    """Whether it is measured with totemd's own clients, too."""
    return cell.name in NATIVE_CELLS or cell.work == "own"


NEEDS_TWO: Final = ("all", "loss", "membership")
"""Work that says nothing about a single node."""


OWN_CELL: Final = re.compile(r"(all:)?(\d+)@(\d+)")
"""The name of a cell by its numbers: bytes and messages a second, 0 for as many as it can."""


def cell_named(name: str) -> Cell:
    """One of CELLS, or one by its numbers ("512@2000", "all:512@0"). Raises ValueError for any other name."""
    if name in CELLS:
        return CELLS[name]
    found = OWN_CELL.fullmatch(name)
    if found is None or not SIZE_MIN <= int(found[2]) <= SIZE_MAX:
        raise ValueError(
            f"{name} is no work ({', '.join(WORKS)}), no cell ({', '.join(CELLS)}) and not like 512@2000 or all:512@0"
        )
    everyone, size, rate = found[1], int(found[2]), int(found[3])
    title = f"{size} B at {f'{rate}/s' if rate else 'any rate'}{', all send' if everyone else ''}"
    return Cell(name, "own", title, size, rate, everyone=bool(everyone))


def choose(words: Iterable[str]) -> list[Cell]:
    """The cells of these works or names, in the order of CELLS. Raises ValueError for a word that is neither."""
    chosen: dict[str, Cell] = {}
    for word in words:
        found = [cell for cell in CELLS.values() if word == cell.work] or [cell_named(word)]
        chosen |= {cell.name: cell for cell in found}
    places = list(CELLS)
    return sorted(chosen.values(), key=lambda cell: places.index(cell.name) if cell.name in CELLS else 1)


@dataclass(frozen=True)
class Options:
    """How it is measured. Times are seconds unless the name says otherwise."""

    nodes: Sequence[int] = (1, 2, 3, 8, 16, 32)
    cells: Sequence[Cell] = tuple(CELLS.values())
    engines: Sequence[Engine] = ()
    clients: Sequence[str] = (LIBCPG, "native")
    rounds: int = 3
    once: Sequence[str] = ()
    """Works and cells with a single round."""
    seconds: float = 3.0
    """Of sending in a cell."""
    idle_s: float = 30.0
    tries: int = 20
    """Cold starts of totemd."""
    baseline_tries: int = 5
    """Cold starts of corosync."""
    bound_s: float = 60.0
    """After which a cold start has failed."""
    real_time: bool = True
    """The daemons; corosync's default."""
    client_priority: int = 1
    """Of round-robin scheduling; 0: ordinary processes, with which the machine's other ones are measured, too.

    1 is below the daemons, as clients are by default. At 99, the daemons' own, a single sender gets its turn also where
    the daemons of many nodes fill few processors, but many senders let the daemons' sockets overflow.
    """
    token_ms: int | None = None
    """A fixed token timeout; None: corosync's default, which grows with the nodes."""
    budget_s: float | None = None
    """Nothing new is begun after that."""


QUICK: Final = {
    "nodes": (1, 3, 8),
    "cells": tuple(cell for cell in CELLS.values() if cell.name not in ("all-latency-100", "loss-latency-100")),
    "rounds": 2,
    "once": ("idle", "memory", "rate-1m", "all", "loss", "membership"),
    "seconds": 0.5,
    "idle_s": 10.0,
    "tries": 2,
    "baseline_tries": 1,
    "bound_s": 15.0,
    "token_ms": 1000,
    "budget_s": 285.0,
}
"""What --quick changes in Options; an option that is given has precedence."""


@dataclass(frozen=True)
class Step:
    """A measurement: a cell, with the client that loads it."""

    cell: Cell
    client: str = LIBCPG


@dataclass(frozen=True)
class Task:
    """A ring's whole life: it is started, measured and stopped, with no other one beside it."""

    nodes: int
    engine: Engine
    round: int
    steps: Sequence[Step] = field(default_factory=tuple)

    @property
    def cold(self) -> bool:
        """Whether starting it is what is measured."""
        return any(step.cell.work == "start" for step in self.steps)


def why_skipped(cell: Cell, nodes: int) -> str | None:
    """The reason for which a cell is not measured with so many nodes; None: it is."""
    if nodes == 1 and cell.work in NEEDS_TWO:
        return "says nothing about one node"
    return None


def skipped(options: Options) -> list[str]:
    """What is left out of what was asked for, with the reasons."""
    found = []
    for nodes in options.nodes:
        reasons: dict[str, list[str]] = {}
        for cell in options.cells:
            if (reason := why_skipped(cell, nodes)) is not None:
                reasons.setdefault(reason, []).append(cell.name)
        found += [f"N = {nodes}: {', '.join(names)}: {reason}" for reason, names in reasons.items()]
    return found


def steps_of(options: Options, nodes: int, engine: Engine, number: int = 0) -> list[Step]:
    """What a formed ring of this engine goes through in the `number`th round, from 0."""
    steps: list[Step] = []
    for cell in options.cells:
        if cell.work == "start" or why_skipped(cell, nodes) is not None:
            continue
        if number and (cell.name in options.once or cell.work in options.once):
            continue
        clients = [LIBCPG]
        if cell.loads:
            clients = [c for c in options.clients if c == LIBCPG or (engine.python and has_native(cell))]
        steps += [Step(cell, client) for client in clients]
    return steps


def in_turn(engines: Sequence[Engine], number: int) -> list[Engine]:
    """The engines in the order of the `number`th round: each is first once in as many rounds as there are engines."""
    shift = number % len(engines)
    return [*engines[shift:], *engines[:shift]]


def schedule(options: Options) -> list[Task]:
    """Everything, in order: a round of all rings, small ones first, the engines in turns; cold starts after the first
    round, so that there is something of everything early.
    """
    tasks = _round(options, 0) + _starts(options)
    for number in range(1, options.rounds):
        tasks += _round(options, number)
    return tasks


def _round(options: Options, number: int) -> list[Task]:
    tasks = []
    for nodes in options.nodes:
        for engine in in_turn(options.engines, number):
            if steps := steps_of(options, nodes, engine, number):
                tasks.append(Task(nodes, engine, number, steps))
    return tasks


def _starts(options: Options) -> list[Task]:
    tasks: list[Task] = []
    for nodes in options.nodes:
        for cell in (cell for cell in options.cells if cell.work == "start"):
            for number in range(max(options.tries, options.baseline_tries)):
                for engine in in_turn(options.engines, number):
                    if number < (options.tries if engine.python else options.baseline_tries):
                        tasks.append(Task(nodes, engine, number, [Step(cell)]))
    return tasks


def token_s(options: Options, nodes: int) -> float:
    """The token timeout of a ring."""
    if options.token_ms is not None:
        return options.token_ms / 1000
    return 3.0 + 0.65 * max(0, nodes - 2)


def expected_step_s(options: Options, nodes: int, step: Step) -> float:
    """About how long a step takes."""
    cell = step.cell
    if cell.name == "idle":
        return options.idle_s + 1.0
    if cell.loads:
        return cell.seconds(options.seconds) + 0.35 + 0.03 * nodes
    if cell.name == "kill":
        return 2.2 * token_s(options, nodes) + 1.5
    return 1.0 + 0.05 * nodes


def expected_begin_s(nodes: int) -> float:
    """About how long a ring takes to start, and to stop."""
    return 1.5 + 0.25 * nodes


def expected_s(options: Options, task: Task) -> float:
    """About how long a task takes."""
    begin = expected_begin_s(task.nodes)
    if task.cold:
        return begin + (0.0 if task.engine.python else options.bound_s / 2 if task.nodes >= 8 else 3.0)
    return begin + sum(expected_step_s(options, task.nodes, step) for step in task.steps)
