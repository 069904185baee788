"""totemd beside corosync: the same work on rings of either, in turns on one machine.

The nodes are in network namespaces on one bridge, all with one corosync.conf (transport udp), and their clients are the
same program on libcpg; totemd's native socket is measured, too. One ring lives at a time. Needs root, corosync,
libcpg-dev, libquorum-dev, gcc and nftables; a picture needs matplotlib.
"""

import argparse
import json
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from totemd_bench import plots, record, report
from totemd_bench.plan import BASELINE, BIG, CELLS, LIBCPG, QUICK, WORKS, Engine, Options, choose, engine_named
from totemd_bench.stage import RingError
from totemd_bench.suite import Results, Suite

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 64, 130

CLIENTS = (LIBCPG, "native", "python")

EPILOG = f"""\
work (each a group of cells, any of which can be named alone):
{chr(10).join(f"  {work:12}{', '.join(cell.name for cell in CELLS.values() if cell.work == work)}" for work in WORKS)}

examples:
  make bench BENCH_ARGS=--quick
  ... --nodes 3 --work latency,rate-64 --rounds 5        a few cells, looked at closely
  ... --nodes 3 --work 512@2000,all:512@0                cells by bytes and messages a second (0: as many as it can)
  ... --engine pure=/usr/bin/python3 --engine compiled=/opt/t/bin/python --work rate
                                                         two builds of totemd and corosync in one run
  ... --engine sealed+totemd=/usr/bin/python3 --python /usr/bin/python3
                                                         what sealing costs
  ... --json run.json --plots pictures --markdown README.md
  ... --report run.json --markdown README.md             show an earlier run; nothing is measured

Rates a second are those of all senders together. Latency runs from before the client's multicast to the delivery, at
the sender itself and on the node that is the last to deliver. "1 MB" is {BIG} bytes in one cpg_mcast_joined. Loss is
of the multicasts, at each receiver. Leave, join and kill are of one node. Processor time is that of the daemons alone.

A figure is the median of its rounds; every round is in the JSON. A round whose client fails, or whose nodes do not
deliver the same messages in the same order, counts as failed. Interrupted, it shows what it has.
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        self.print_usage(sys.stderr)
        print(f"totemd_bench: {message} (see --help)", file=sys.stderr)
        sys.exit(EXIT_USAGE)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="totemd_bench",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    plain = Options()
    what = parser.add_argument_group("what is measured")
    what.add_argument("--nodes", type=_numbers, metavar="N,N", help=f"default {','.join(map(str, plain.nodes))}")
    what.add_argument("--work", type=_cells, dest="cells", metavar="WORK,CELL", help="default: all of it")
    what.add_argument("--clients", type=_clients, metavar="C,C", help="of libcpg,native,python; default libcpg,native")
    what.add_argument("--quick", action="store_true", help="a look at 1, 3 and 8 nodes that ends within 5 minutes")
    how = parser.add_argument_group("how")
    how.add_argument("--rounds", type=int, help=f"rounds of each cell (default {plain.rounds})")
    how.add_argument("--once", type=_names, metavar="WORK,CELL", help="these in the first round alone")
    how.add_argument("--seconds", type=float, help=f"of sending in each cell (default {plain.seconds:g})")
    how.add_argument("--idle", type=float, dest="idle_s", help=f"seconds of the idle cell (default {plain.idle_s:g})")
    how.add_argument("--tries", type=int, help=f"cold starts of totemd (default {plain.tries})")
    how.add_argument(
        "--corosync-tries", type=int, dest="baseline_tries", help=f"of corosync (default {plain.baseline_tries})"
    )
    how.add_argument(
        "--bound", type=float, dest="bound_s", help=f"seconds until a cold start has failed (default {plain.bound_s:g})"
    )
    how.add_argument(
        "--scheduling",
        choices=("rr", "other"),
        default="rr",
        help="system.sched_rr of both engines (default rr, as is)",
    )
    how.add_argument(
        "--client-scheduling",
        type=_priority,
        dest="client_priority",
        metavar="other|1..99",
        help="of the clients: ordinary, or a real-time priority (default 1, just below the daemons; other with other)",
    )
    how.add_argument("--token", type=int, dest="token_ms", metavar="MS", help="fixed; default: corosync's, by nodes")
    how.add_argument("--budget", type=float, dest="budget_s", metavar="S", help="begin nothing that would end later")
    who = parser.add_argument_group("who takes part")
    who.add_argument("--python", metavar="PATH", help="interpreter that runs totemd (default: this one)")
    who.add_argument(
        "--engine",
        action="append",
        metavar="LABEL=PATH",
        help="a totemd by its interpreter; may be repeated; sealed+LABEL=PATH (or aes128+LABEL ...): with sealed rings",
    )
    who.add_argument("--without-corosync", action="store_true", help="totemd alone; ratios are to the first one")
    out = parser.add_argument_group("output, besides the tables on stdout")
    out.add_argument("--json", type=Path, metavar="FILE", help="machine, options and every round")
    out.add_argument("--plots", type=Path, metavar="DIR", help="latency.png and throughput.png")
    out.add_argument(
        "--markdown",
        type=Path,
        metavar="FILE",
        help=f'the tables, between "{report.BEGIN}" and its end if they are there',
    )
    out.add_argument("--report", type=Path, metavar="FILE", help="show this earlier run instead of making one")
    return parser


def _numbers(text: str) -> list[int]:
    numbers = sorted({int(word) for word in text.split(",")})
    if not 1 <= numbers[0] <= numbers[-1] <= 64:
        raise argparse.ArgumentTypeError("from 1 to 64 nodes")
    return numbers


def _cells(text: str) -> Any:
    try:
        return choose(text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _names(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if unknown := set(names) - set(WORKS) - set(CELLS):
        raise argparse.ArgumentTypeError(f"no work or cell {', '.join(sorted(unknown))}")
    return names


def _priority(text: str) -> int:
    if text == "other":
        return 0
    if not text.isdecimal() or not 1 <= int(text) <= 99:
        raise argparse.ArgumentTypeError("other, or a priority from 1 to 99")
    return int(text)


def _clients(text: str) -> list[str]:
    clients = text.split(",")
    if unknown := set(clients) - set(CLIENTS):
        raise argparse.ArgumentTypeError(f"no client {', '.join(unknown)}; there are {', '.join(CLIENTS)}")
    return clients


def engines(arguments: argparse.Namespace) -> list[Engine]:
    """Those that take part. Raises ValueError."""
    found = [] if arguments.without_corosync else [Engine(BASELINE)]
    if arguments.python or not arguments.engine:
        found.append(Engine("totemd", arguments.python or sys.executable))
    found += map(engine_named, arguments.engine or ())
    if len({engine.label for engine in found}) != len(found):
        raise ValueError("every engine needs a label of its own")
    return found


def options_of(arguments: argparse.Namespace) -> Options:
    """What was asked for. Raises ValueError."""
    values: dict[str, Any] = dict(QUICK) if arguments.quick else {}
    given = vars(arguments)
    values |= {f.name: given[f.name] for f in fields(Options) if given.get(f.name) is not None}
    values["engines"] = engines(arguments)
    values["real_time"] = arguments.scheduling == "rr"
    values.setdefault("client_priority", 1 if arguments.scheduling == "rr" else 0)
    options = Options(**values)
    if min(options.rounds, options.tries, options.baseline_tries) < 1 or min(options.seconds, options.idle_s) <= 0:
        raise ValueError("rounds, tries and seconds are positive")
    return options


def missing() -> str | None:
    """What keeps it from running; None: nothing."""
    if os.geteuid() != 0:
        return "needs root, for network namespaces"
    wanted = ("corosync", "gcc", "ip", "nft", "nsenter", "unshare", "setpriv", "chrt")
    absent = [program for program in wanted if shutil.which(program) is None]
    headers = [name for name in ("cpg", "quorum") if not Path(f"/usr/include/corosync/{name}.h").exists()]
    absent += [f"lib{name}-dev" for name in headers]
    return f"needs {', '.join(absent)}" if absent else None


def show(results: Results, run: dict[str, Any], arguments: argparse.Namespace) -> None:
    """Everything that was asked for."""
    about = record.about(run)
    if arguments.json:
        arguments.json.write_text(json.dumps(run, indent=1) + "\n")
    if arguments.markdown:
        report.write_markdown(arguments.markdown, report.markdown(results, about))
    print(report.text(results, about))
    if arguments.plots:
        try:
            files = plots.draw(results, arguments.plots, "\n".join(about))
            print("pictures:", *files)
        except ImportError:
            print("no pictures: they need matplotlib (pip install 'totemd[bench]')", file=sys.stderr)


def main(words: Sequence[str] | None = None) -> int:
    """The command. Gives the exit status."""
    parser = _parser()
    arguments = parser.parse_args(words)
    if arguments.report:
        run = json.loads(arguments.report.read_text())
        arguments.json = None
        show(record.from_json(run), run, arguments)
        return EXIT_OK
    try:
        options = options_of(arguments)
    except ValueError as error:
        parser.error(str(error))
    if (reason := missing()) is not None:
        print(f"totemd_bench: {reason}", file=sys.stderr)
        return EXIT_FAILED
    try:
        where = record.machine(options)
    except RingError as error:
        print(f"totemd_bench: {error}", file=sys.stderr)
        return EXIT_FAILED
    for number in (signal.SIGINT, signal.SIGTERM):
        # Also where a shell has had it ignored.
        signal.signal(number, signal.default_int_handler)
    results = Suite(options).run()
    show(results, record.to_json(results, where, record.options_record(options)), arguments)
    return EXIT_INTERRUPTED if results.interrupted else EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
