"""`totemctl`: ask the daemon on this machine, and tell it things, over its native socket.

This file holds the command line and its help, cluster.py those of `totemctl cluster`; what the commands do is in
commands_ring.py, commands_data.py, decode.py, demo.py, simulate.py and cluster_*.py. All of that is imported when used,
because monitoring calls `totemctl status` often.
"""

import argparse
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import Final

from totemd.cli.command_line import (
    EXIT_ERROR,
    EXIT_HELP,
    EXIT_INTERRUPTED,
    EXIT_PIPE_CLOSED,
    Commands,
    Parser,
    common_options,
    number,
    replace_closed_streams,
    seconds,
    settle_output,
    trouble,
)
from totemd.errors import TotemdError

_EPILOG: Final = f"""\
examples:
  totemctl status                    membership, votes and quorum of this node
  totemctl --json status | jq .quorate
  totemctl watch                     follow nodes that come and go, until Ctrl-C
  totemctl cpg send chat 'hello'     one message to all members of the group "chat"
  totemctl demo                      a cluster of three on this machine, for a minute

{EXIT_HELP}
Of `status`: 0 quorate, 2 not quorate, 1 error.

The daemon's socket is /run/totemd/totemd.sock unless --socket or the environment variable TOTEMD_SOCKET names another.
"""


CLUSTER_EPILOG: Final = """\
Exit status: 0 done, 1 error, 2 there is no quorum, 64 wrong usage, 130 ended with Ctrl-C.
With --json an error is an object, too: {"error": TEXT, "code": EXIT STATUS}, besides the line on standard error.

examples:
  totemctl cluster status                          the cluster, its configuration, its quorum
  totemctl cluster doctor                          what is wrong here, and what to do about it
  totemctl cluster wait-quorum -- start-guests     run a command once there is quorum"""


def build_parser(*, cluster: bool = True) -> Parser:
    """The whole command line; without `cluster` that command is only named, not filled."""
    parser = Parser(
        prog="totemctl",
        description="Ask and steer the totemd on this machine: membership, votes, messages, configuration map.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[common_options(default=True)],
    )
    common = common_options(default=False)
    commands = Commands(parser, common, "commands")
    _add_ring_commands(commands)
    _add_cpg_commands(commands, common)
    _add_cmap_commands(commands, common)
    _add_daemon_commands(commands)
    _add_cluster_commands(commands, common, fill=cluster)
    _add_offline_commands(commands)
    return parser


def _add_ring_commands(commands: Commands) -> None:
    commands.add(
        "status",
        "commands_ring:status",
        "show membership, votes and quorum",
        "Show this node's ring, its votes and its members, in the layout of `corosync-quorumtool -siH`.",
        """\
"Nodes" and the table list the members of the ring at this moment; nodes that are down are not in it (`nodes --all`
lists them). "Ring ID" changes with every change of the membership.

Exit status: 0 quorate, 2 not quorate, 1 error (no daemon, no permission ...), 64 wrong usage, 130 ended
with Ctrl-C.
With --json: cluster_name, nodeid, ring {rep, seq, id}, quorate, votes {expected, highest, total, quorum}, flags,
members [{nodeid, name, address, votes, local}] and more.

example:
  totemctl status >/dev/null && echo quorate""",
    )
    nodes = commands.add(
        "nodes",
        "commands_ring:nodes",
        "list the members by name",
        "List the members of the ring by name, in the layout of `corosync-quorumtool -l`.",
        """\
With --all (and always with --json) also nodes that are not members, with their state: member, dead, leaving, or never
(listed in the configuration but not seen since this daemon started).""",
    )
    nodes.add_argument("--all", action="store_true", help="also nodes that are down, with the state of each")
    commands.add(
        "watch",
        "commands_ring:watch",
        "follow membership and quorum until Ctrl-C",
        epilog="""\
Prints the present state, then a line for each change, with its reason:
  members   the ring's new membership, who joined and who left
  quorum    kept, gained or lost, with the votes
  ready     all members agree on the state of all services; messages flow again""",
    )
    expected = commands.add(
        "expected",
        "commands_ring:expected",
        "set the expected votes of the whole cluster",
        "Set how many votes the cluster expects, on all members, until the next reconfiguration.",
        """\
Quorum is more than half of the expected votes. Lowering them lets a part of the cluster go on alone: make sure that the
other part is really down, or there will be two clusters that each believe to be the only one.
`totemctl cluster expected N` says first what that means here, and ends by itself.

example:
  totemctl expected 1        the last survivor goes on""",
    )
    expected.add_argument("votes", metavar="N", type=number(1, "number of votes"), help="votes, at least 1")
    votes = commands.add("votes", "commands_ring:votes", "set the votes of one node")
    votes.add_argument("node", metavar="NODE", help="node id or name")
    votes.add_argument("votes", metavar="N", type=number(0, "number of votes"), help="votes, 0 or more")


def _add_cpg_commands(commands: Commands, common: argparse.ArgumentParser) -> None:
    cpg = commands.add("cpg", None, "process groups: list, join, send", "Process groups: messages in one agreed order.")
    actions = Commands(cpg, common, "actions")
    actions.add("groups", "commands_data:cpg_groups", "list all groups and their members")
    join = actions.add(
        "join",
        "commands_data:cpg_join",
        "join a group and print what is delivered, until Ctrl-C",
        epilog=r"""
Bytes that are no printable UTF-8 are shown as \xNN.

example (on two nodes):
  totemctl cpg join chat
  totemctl cpg send chat hello""",
    )
    join.add_argument("group", metavar="GROUP")
    join.add_argument("--count", metavar="N", type=number(1, "count"), help="end after N messages")
    send = actions.add(
        "send",
        "commands_data:cpg_send",
        "send one message to all members of a group",
        "Join the group, send one message, wait until it has come back in its place in the total order, and leave.",
    )
    send.add_argument("group", metavar="GROUP")
    send.add_argument("text", metavar="TEXT")
    send.add_argument("--safe", action="store_true", help="deliver nowhere before every node has received it")
    send.add_argument("--timeout", metavar="SECONDS", type=seconds, default=10.0, help="give up after (default: 10)")


def _add_cmap_commands(commands: Commands, common: argparse.ArgumentParser) -> None:
    cmap = commands.add(
        "cmap", None, "configuration map: get, set, delete, list, track", "The configuration map of this node's daemon."
    )
    actions = Commands(cmap, common, "actions")
    get = actions.add("get", "commands_data:cmap_get", "print one key")
    get.add_argument("key", metavar="KEY")
    set_ = actions.add(
        "set",
        "commands_data:cmap_set",
        "set one key, on this node",
        epilog="""\
Without --type the key keeps its type; a new key becomes a string. Numbers may be written 0x10, binary values are
hexadecimal.

example:
  totemctl cmap set mine.limit 10 --type u32""",
    )
    set_.add_argument("key", metavar="KEY")
    set_.add_argument("value", metavar="VALUE")
    types = ("i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64", "flt", "dbl", "str", "bin")
    set_.add_argument("--type", choices=types, metavar="TYPE", help=f"one of {' '.join(types)}")
    delete = actions.add("delete", "commands_data:cmap_delete", "delete one key, on this node")
    delete.add_argument("key", metavar="KEY")
    list_ = actions.add("list", "commands_data:cmap_list", "print all keys, or those that begin with a prefix")
    list_.add_argument("prefix", metavar="PREFIX", nargs="?", default="")
    track = actions.add("track", "commands_data:cmap_track", "follow changes until Ctrl-C")
    track.add_argument("prefix", metavar="PREFIX", nargs="?", default="")
    track.add_argument("--exact", action="store_true", help="PREFIX is one whole key")
    for reading in (get, list_, track):
        reading.add_argument(
            "--map", choices=("icmap", "stats"), default="icmap", help="the configuration, or the statistics"
        )


def _add_daemon_commands(commands: Commands) -> None:
    commands.add("stats", "commands_ring:stats", "print the daemon's counters")
    kill = commands.add(
        "kill",
        "commands_ring:kill",
        "have a member's daemon end at once",
        "Tell a member's daemon, through the ring, to end itself, and wait until it has left. Nothing is asked.",
    )
    kill.add_argument("node", metavar="NODE", help="node id or name")
    kill.add_argument("--reason", metavar="TEXT", default="totemctl kill", help="what the node's log shall say")
    kill.add_argument("--wait", metavar="SECONDS", type=seconds, default=10.0, help="for its leaving (default: 10)")
    shutdown = commands.add(
        "shutdown",
        "commands_ring:shutdown",
        "have this node leave the ring and its daemon end",
        "Leave the ring cleanly and end this node's daemon. Nothing is asked; the others go on without it at once.",
    )
    shutdown.add_argument("--wait", metavar="SECONDS", type=seconds, default=10.0, help="for its end (default: 10)")
    commands.add(
        "reload",
        "commands_ring:reload",
        "have the daemon read its configuration file again",
        epilog="If the file is wrong, nothing changes, and the error names its line.",
    )


def _add_cluster_commands(commands: Commands, common: argparse.ArgumentParser, *, fill: bool) -> None:
    cluster = commands.add(
        "cluster",
        None,
        "create, extend, change and look after a cluster",
        "Make a cluster, let nodes join and leave it, change its configuration everywhere at once, look after it.",
        CLUSTER_EPILOG,
    )
    if fill:
        from totemd.cli.cluster import add_commands

        add_commands(Commands(cluster, common, "actions"), common)


def _add_offline_commands(commands: Commands) -> None:
    decode = commands.add(
        "decode",
        "commands_ring:decode",
        "print captured packets, one by one",
        "Print the packets of a capture file (pcap or pcapng), or one packet given in hexadecimal. Needs no daemon.",
        """\
example:
  tcpdump -i eth0 -w ring.pcap udp port 5405
  totemctl decode ring.pcap""",
    )
    decode.add_argument("source", metavar="PCAP-or-HEX")
    decode.add_argument("--limit", metavar="N", type=number(0, "count"), help="stop after N packets")
    commands.add(
        "demo",
        "commands_ring:demo",
        "start three daemons here and show what they do",
        "A cluster of three on this machine: one order of messages, a crash, lost quorum, healing. Needs neither root "
        "nor a running daemon, takes less than a minute, and leaves nothing behind.",
    )
    _add_simulate(commands)


def _add_simulate(commands: Commands) -> None:
    simulate = commands.add(
        "simulate",
        "simulate:simulate",
        "play simulated clusters with faults, and check what is promised",
        "Play clusters of whole nodes in a virtual world, one for each seed: production code, virtual time, a network "
        "that\nloses and delays, crashes, partitions, pauses. Every run is checked against the promises of the "
        "specification.\nNeeds no daemon, no network and no rights.",
        """\
What a run is like follows from its seed, --nodes and --faults alone: the same always happens again. After a violation
the schedule of what was done is made as small as it gets, printed and saved; edit it, and play it with --schedule.
FAULTS is one of none, loss, partitions, crashes, pauses, interfaces, all; sealed (with somebody on the wire), managed
(the configuration changes), cluster (both).

Exit status: 0 no violation, 1 violation, 64 wrong usage, 130 ended with Ctrl-C.

examples:
  totemctl simulate --seeds 1000 --nodes 2-9
  totemctl simulate --seed 17 --nodes 2-9 --trace -
  totemctl simulate --schedule simulate-17.txt --trace trace.txt""",
    )
    simulate.add_argument("--seeds", metavar="N", type=number(1, "count"), help="how many seeds (default: 100)")
    simulate.add_argument(
        "--seed", metavar="S", type=number(0, "seed"), help="the first seed; without --seeds the only"
    )
    simulate.add_argument("--nodes", metavar="A-B", default="2-5", help="sizes of clusters, up to 64 (default: 2-5)")
    simulate.add_argument("--faults", metavar="FAULTS", default="all", help="what may go wrong (default: all)")
    simulate.add_argument("--schedule", metavar="FILE", help="play this schedule instead of a seed's")
    simulate.add_argument("--trace", metavar="FILE", help="write every packet, timer, effect and event (-: to stdout)")
    simulate.add_argument("--jobs", metavar="J", type=number(1, "count"), help="processes (default: one per core)")
    simulate.add_argument("--keep-going", action="store_true", help="do not stop at the first violation")
    simulate.add_argument("--no-shrink", action="store_true", help="do not make the schedule of a violation smaller")
    simulate.add_argument("--save", metavar="FILE", help="where that goes (default: simulate-SEED.txt here)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status. A user's mistake is one line on stderr, never a traceback."""
    replace_closed_streams()
    words = sys.argv[1:] if argv is None else list(argv)
    arguments = build_parser(cluster="cluster" in words).parse_args(words)
    module, function = arguments.target.split(":")
    # Not of the others: what follows events prints one object for each, and nothing else.
    as_json = arguments.json and "cluster" in words
    try:
        status: int = getattr(import_module(f"totemd.cli.{module}"), function)(arguments)
        sys.stdout.flush()
        return status
    except TotemdError as error:
        status = int(getattr(error, "exit_status", EXIT_ERROR))
        _tell_failure(str(error), status, as_json=as_json)
        return status
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough; Python would complain once more when it flushes at exit.
        settle_output()
        return EXIT_PIPE_CLOSED
    except OSError as error:
        _tell_failure(trouble(error), EXIT_ERROR, as_json=as_json)
        settle_output()
        return EXIT_ERROR


def _tell_failure(text: str, status: int, *, as_json: bool) -> None:
    """Why there is no result: a line on stderr, and for programs an object in the result's place."""
    print(f"totemctl: {text}", file=sys.stderr)
    if as_json:
        from totemd.cli.commands_ring import print_json

        with suppress(OSError):
            print_json({"error": text, "code": status})


if __name__ == "__main__":
    sys.exit(main())
