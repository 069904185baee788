"""Pictures of a run: latency and throughput over the number of nodes."""

from pathlib import Path
from typing import Any, Final

from totemd_bench.figures import KINDS, medians
from totemd_bench.plan import CELLS
from totemd_bench.suite import Results

LATENCY: Final = (
    ("latency-100", "own_p50"),
    ("latency-100", "far_p50"),
    ("latency-1000", "own_p50"),
    ("latency-1000", "far_p50"),
    ("latency-1000", "own_p99"),
    ("latency-1000", "far_p99"),
)
THROUGHPUT: Final = (
    ("rate-64", "rate"),
    ("all-rate-64", "rate"),
    ("rate-16k", "throughput"),
    ("all-rate-16k", "throughput"),
    ("rate-1m", "throughput"),
    ("loss-rate-16k", "throughput"),
)
PICTURES: Final = {"latency": LATENCY, "throughput": THROUGHPUT}


def draw(results: Results, directory: Path, caption: str) -> list[Path]:
    """Write the pictures that there are figures for. Returns them. Raises ImportError without matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    directory.mkdir(parents=True, exist_ok=True)
    files = []
    for name, panels in PICTURES.items():
        shown = [(cell, figure) for cell, figure in panels if any(key.cell == cell for key in results.rounds)]
        if not shown:
            continue
        columns = 2 if len(shown) > 1 else 1
        lines = (len(shown) + columns - 1) // columns
        canvas, axes = pyplot.subplots(lines, columns, figsize=(5.5 * columns, 3.2 * lines), squeeze=False)
        for axis, (cell, figure) in zip(axes.flat, shown, strict=False):
            _panel(axis, results, cell, figure)
        for axis in list(axes.flat)[len(shown) :]:
            axis.set_visible(False)
        canvas.suptitle(caption, fontsize=7)
        canvas.tight_layout()
        files.append(directory / f"{name}.png")
        canvas.savefig(files[-1], dpi=110)
        pyplot.close(canvas)
    return files


def _panel(axis: Any, results: Results, cell: str, figure: str) -> None:
    sizes = sorted({key.nodes for key in results.rounds})
    for engine, client in dict.fromkeys((key.engine, key.client) for key in results.rounds if key.cell == cell):
        points = []
        for key in results.rounds:
            if (key.cell, key.engine, key.client) != (cell, engine, client):
                continue
            values = [one[figure] for one in results.figures(key) if figure in one]
            if values:
                points.append((key.nodes, medians(results.figures(key))[figure], min(values), max(values)))
        points.sort()
        if not points:
            continue
        nodes, middle, low, high = zip(*points, strict=True)
        errors = [[m - v for m, v in zip(middle, low, strict=True)], [v - m for m, v in zip(middle, high, strict=True)]]
        axis.errorbar(nodes, middle, yerr=errors, marker="o", capsize=2, label=f"{engine} ({client})")
    axis.set_xscale("log", base=2)
    axis.set_xticks(sizes, [str(nodes) for nodes in sizes])
    axis.set_xlabel("nodes")
    axis.set_ylim(bottom=0)
    axis.set_ylabel(KINDS[figure].unit)
    axis.set_title(f"{CELLS[cell].title}: {KINDS[figure].title}", fontsize=9)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=7)
