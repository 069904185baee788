"""Tables of what was found, beside what was to be reached."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from totemd_bench.figures import KINDS, medians, ratio
from totemd_bench.plan import BASELINE, LIBCPG, cell_named, choose
from totemd_bench.suite import Key, Results

FORMED: Final = "formed"
"""A figure of all rounds together: how many of them had figures at all."""

LATENCIES: Final = ("own_p50", "own_p99", "own_p999", "far_p50", "far_p99", "far_p999", "cpu_per_message")

SHOWN: Final = {
    "idle": ("idle_cpu", "rss", "pss"),
    "latency": LATENCIES,
    "rate": ("rate", "cpu_per_message"),
    "throughput": ("throughput", "cpu_per_message"),
    "memory": ("peak",),
    "membership": ("duration",),
    "start": (FORMED, "from_start", "from_first_packet", "from_last_packet", "start_cpu"),
}
"""The figures of a cell's rows, by `figures_of`'s word for it."""


@dataclass(frozen=True)
class Target:
    """What is to be reached."""

    cells: Sequence[str]
    figures: Sequence[str]
    bound: float
    at_most: bool = True
    """Otherwise at least."""
    relative: bool = True
    """The bound is of the ratio to corosync's figure; otherwise of the figure itself."""
    nodes_from: int = 1
    nodes_to: int = 10_000
    every_round: bool = False
    """Judged by the worst round; otherwise by the median."""

    def applies(self, nodes: int) -> bool:
        """Whether it is meant for so many nodes."""
        return self.nodes_from <= nodes <= self.nodes_to

    def met(self, value: float) -> bool:
        """Whether a value is within the bound."""
        return value <= self.bound if self.at_most else value >= self.bound

    def __str__(self) -> str:
        unit = "" if self.relative else KINDS[self.figures[0]].unit if self.figures[0] in KINDS else ""
        text = f"{'at most' if self.at_most else 'at least'} {self.bound:g}{'x' if self.relative else f' {unit}'}"
        if self.figures[0] == FORMED:
            text = "all"
        if self.nodes_from == self.nodes_to:
            text += f", {self.nodes_from} nodes"
        elif self.nodes_from > 1:
            text += f", from {self.nodes_from} nodes"
        return text


PACED: Final = ("latency-100", "latency-1000")

TARGETS: Final = (
    Target(PACED, ("own_p50", "far_p50"), 1.0),
    Target(PACED, ("own_p99", "far_p99"), 1.2),
    Target(("rate-64",), ("rate",), 1.0, at_most=False),
    Target(("rate-16k",), ("throughput",), 2.0, at_most=False, nodes_from=2, nodes_to=32),
    Target(("start",), (FORMED,), 1.0, at_most=False, relative=False),
    Target(("start",), ("from_last_packet",), 3.0, relative=False, nodes_from=32, nodes_to=32, every_round=True),
    Target(("start",), ("start_cpu",), 0.35, relative=False),
    Target(("idle",), ("idle_cpu",), 1.5),
    Target(("idle",), ("rss",), 40.0, relative=False),
)


@dataclass(frozen=True)
class Entry:
    """A row's figure with so many nodes."""

    nodes: int
    ours: float | None
    theirs: float | None
    failed: int
    """Of our rounds."""
    their_failed: int
    rounds: int
    judged: float | None
    """What the target's bound is held against."""
    met: bool | None
    """None: no target, or nothing to judge."""

    @property
    def ratio(self) -> float | None:
        """Ours to theirs."""
        return None if self.ours is None or self.theirs is None else ratio(self.ours, self.theirs)


@dataclass(frozen=True)
class Row:
    """One figure of one cell of one contestant beside corosync's."""

    cell: str
    figure: str
    contestant: str
    target: Target | None
    entries: Sequence[Entry]
    absent: Sequence[int] = ()
    """Numbers of nodes with which the cell was not measured, though others were."""

    @property
    def verdict(self) -> str:
        """In words, over all numbers of nodes."""
        if self.target is None:
            return ""
        judged = [entry for entry in self.entries if self.target.applies(entry.nodes)]
        missed = [str(entry.nodes) for entry in judged if entry.met is False]
        unknown = [str(entry.nodes) for entry in judged if entry.met is None]
        parts = [f"missed at {', '.join(missed)}"] if missed else []
        unknown += [str(nodes) for nodes in self.absent if self.target.applies(nodes)]
        parts += [f"not judged at {', '.join(unknown)}"] if unknown else []
        return "; ".join(parts) or ("met" if judged else "not measured")


def figures_of(cell_name: str) -> Sequence[str]:
    """The figures that a cell's rows show."""
    cell = cell_named(cell_name)
    if cell.rate_per_s:
        return LATENCIES
    if cell.loads:
        return SHOWN["rate" if cell.size_bytes < 1024 else "throughput"]
    return SHOWN["memory" if cell.name == "memory" else cell.work]


def target_of(cell: str, figure: str, client: str) -> Target | None:
    """The target of a row. Targets are of libcpg's clients, which both daemons serve."""
    if client != LIBCPG:
        return None
    return next((target for target in TARGETS if cell in target.cells and figure in target.figures), None)


def baseline_of(results: Results) -> str:
    """The engine that the others are compared with: corosync, without it the first."""
    engines = list(dict.fromkeys(key.engine for key in results.rounds))
    return BASELINE if BASELINE in engines or not engines else engines[0]


def contestants(results: Results) -> list[tuple[str, str]]:
    """Pairs of engine and client as they appear, without the one that the others are compared with."""
    pairs = list(dict.fromkeys((key.engine, key.client) for key in results.rounds))
    return [pair for pair in pairs if pair != (baseline_of(results), LIBCPG)] or pairs


def rows(results: Results) -> list[Row]:
    """All rows, cell by cell."""
    found = []
    cells = choose(key.cell for key in results.rounds)
    sizes = sorted({key.nodes for key in results.rounds})
    for cell in (cell.name for cell in cells):
        for figure in figures_of(cell):
            for engine, client in contestants(results):
                target = target_of(cell, figure, client)
                entries = [
                    _entry(results, Key(cell, nodes, engine, client), figure, target)
                    for nodes in sizes
                    if Key(cell, nodes, engine, client) in results.rounds
                ]
                if any(entry.ours is not None or entry.failed for entry in entries):
                    name = engine if client == LIBCPG else f"{engine}, {client} client"
                    absent = sorted(set(sizes) - {entry.nodes for entry in entries})
                    found.append(Row(cell, figure, name, target, entries, absent))
    return found


def _entry(results: Results, key: Key, figure: str, target: Target | None) -> Entry:
    baseline = baseline_of(results)
    theirs_key = Key(key.cell, key.nodes, baseline, LIBCPG)
    ours, theirs = _value(results, key, figure), None
    if key != theirs_key:
        theirs = _value(results, theirs_key, figure)
    judged = met = None
    if target is not None and target.applies(key.nodes):
        values = [one[figure] for one in results.figures(key) if figure in one]
        judged = ours
        if target.every_round and values:
            judged = max(values) if target.at_most else min(values)
        if target.relative:
            judged = None
            if ours is not None and theirs is not None and baseline == BASELINE:
                judged = ratio(ours, theirs)
        if judged is not None:
            met = target.met(judged)
        elif results.failures(key):
            # What fails has not reached anything.
            met = False
    rounds = len(results.rounds[key])
    their_failed = len(results.failures(theirs_key))
    return Entry(key.nodes, ours, theirs, len(results.failures(key)), their_failed, rounds, judged, met)


def _value(results: Results, key: Key, figure: str) -> float | None:
    if key not in results.rounds:
        return None
    if figure == FORMED:
        return len(results.figures(key)) / len(results.rounds[key])
    return medians(results.figures(key)).get(figure)


def number(value: float | None) -> str:
    """With three digits that mean something."""
    if value is None:
        return "-"
    if value >= 100_000:
        return f"{value / 1000:.0f}k"
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"


def entry_text(row: Row, entry: Entry) -> str:
    """A table's field: ours : theirs = ratio, with a mark where a target is missed."""
    show: Callable[[float | None], str] = number
    if row.figure == FORMED:

        def show(value: float | None) -> str:
            return "-" if value is None else f"{value:.0%}"

    ours = "failed" if entry.ours is None and entry.failed else show(entry.ours)
    text = ours
    if entry.theirs is not None:
        text += f" : {show(entry.theirs)}"
    elif entry.their_failed:
        text += " : failed"
    if entry.ratio is not None and row.figure != FORMED:
        text += f" = {entry.ratio:.2f}"
    if entry.failed and entry.ours is not None and row.figure != FORMED:
        text += f" ({entry.failed} of {entry.rounds} failed)"
    return f"{text} (!)" if entry.met is False else text


def table(chosen: Sequence[Row]) -> str:
    """Markdown, aligned for reading as text."""
    sizes = sorted({entry.nodes for row in chosen for entry in row.entries})
    heads = ["work", "figure", "daemon", *(f"N = {nodes}" for nodes in sizes)]
    targets = any(row.target for row in chosen)
    lines = [[*heads, "target", "verdict"] if targets else heads]
    for row in chosen:
        kind = KINDS.get(row.figure)
        figure = "formed" if kind is None else f"{kind.title}, {kind.unit}"
        by_nodes = {entry.nodes: entry_text(row, entry) for entry in row.entries}
        fields = [cell_named(row.cell).title, figure, row.contestant, *(by_nodes.get(nodes, "") for nodes in sizes)]
        if targets:
            fields += [str(row.target) if row.target else "", row.verdict]
        lines.append(fields)
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    lines.insert(1, ["-" * width for width in widths])
    return "".join(f"| {' | '.join(f.ljust(w) for f, w in zip(line, widths, strict=True))} |\n" for line in lines)


def failures(results: Results) -> list[str]:
    """Each reason with what it kept from being measured."""
    counted = Counter((key, reason) for key in results.rounds for reason in results.failures(key))
    return [
        f"{cell_named(key.cell).title}, N = {key.nodes}, {key.engine} ({key.client} client), {count} of "
        f"{len(results.rounds[key])} rounds: {reason}"
        for (key, reason), count in counted.items()
    ]


def how_to_read(results: Results) -> str:
    """What the fields of the tables mean."""
    return (
        f'Fields are "daemon : {baseline_of(results)} = ratio", medians of the rounds; (!) marks a target that is '
        'missed. "At the farthest" is the latest delivery of a message on any node.\n'
    )


def text(results: Results, about: Sequence[str]) -> str:
    """All that was found, for people: rows with a target first."""
    every = rows(results)
    parts = ["".join(f"{line}\n" for line in about), how_to_read(results)]
    if with_target := [row for row in every if row.target is not None]:
        parts.append(table(with_target))
    if others := [row for row in every if row.target is None]:
        parts.append(f"Without a target:\n\n{table(others)}")
    parts += [_list("Not measured", failures(results)), _list("Remarks", results.notes)]
    return "\n".join(part for part in parts if part)


def markdown(results: Results, about: Sequence[str]) -> str:
    """The same for a README: what has no target is folded away."""
    every = rows(results)
    parts = ["".join(f"{line}\n" for line in about), how_to_read(results)]
    parts.append(table([row for row in every if row.target is not None]))
    others = table([row for row in every if row.target is None])
    rest = [others, _list("Not measured", failures(results)), _list("Remarks", results.notes)]
    body = "\n".join(part for part in rest if part)
    parts.append(f"<details><summary>Everything else that was measured</summary>\n\n{body}\n</details>\n")
    return "\n".join(parts)


def _list(head: str, lines: Iterable[str]) -> str:
    body = "".join(f"- {line}\n" for line in lines)
    return f"{head}:\n\n{body}" if body else ""


BEGIN: Final = "<!-- benchmark: begin -->"
END: Final = "<!-- benchmark: end -->"


def put_between_marks(document: str, content: str) -> str:
    """The document with the content between its marks; the content alone if it has none."""
    if BEGIN not in document or END not in document:
        return content
    before, rest = document.split(BEGIN, 1)
    return f"{before}{BEGIN}\n{content}{END}{rest.split(END, 1)[1]}"


def write_markdown(file: Path, content: str) -> None:
    """Fill a file's marks, or write a new file."""
    document = file.read_text() if file.exists() else ""
    file.write_text(put_between_marks(document, content))
