"""The command line of `totemctl cluster`: its parsers and their help. Imported only when that command is used.

Each group of commands has a function that adds it; what the commands do is in the modules that the targets name.
"""

import argparse

from totemd.cli import cluster_config_parsers, cluster_join_parsers
from totemd.cli.command_line import Commands, add_config_option, add_file_options, number, seconds

_QUORUM_EXIT = "Exit status: 0 quorate, 2 not quorate, 1 error (no daemon ...), 64 wrong usage."


def add_commands(commands: Commands, common: argparse.ArgumentParser) -> None:
    """All commands of the group, in the order in which one needs them."""
    cluster_join_parsers.add(commands, common)
    _add_views(commands)
    _add_quorum(commands)
    cluster_config_parsers.add(commands, common)
    _add_care(commands)


def _add_views(commands: Commands) -> None:
    status = commands.add(
        "status",
        "cluster_status:status",
        "show the cluster, its configuration, this node and its quorum",
        "Show the cluster's name and id, the version of its configuration, how its packets are sealed, this node, and\n"
        "what this node knows of members and quorum.",
        f"""\
With --compat the text is that of `pvecm status`: the blocks of corosync-quorumtool behind one about the cluster.
{_QUORUM_EXIT}

example:
  totemctl cluster status --json | jq .configuration.version""",
    )
    status.add_argument("--compat", action="store_true", help="print the layout of `pvecm status`")
    nodes = commands.add(
        "nodes",
        "cluster_status:nodes",
        "list the members of the cluster",
        "List the members by name; with --all also nodes that are configured and absent, and nodes that were removed.",
        """\
States: member, leaving, dead (was here since this daemon started), never (configured, not seen since), joining (listed
without votes: its join is not complete), removed (may not come back under its old identity).""",
    )
    nodes.add_argument("--all", action="store_true", help="also nodes that are absent, and nodes that were removed")


def _add_quorum(commands: Commands) -> None:
    expected = commands.add(
        "expected",
        "cluster_quorum:expected",
        "let the nodes that are present have quorum, for a while",
        "Have all present members expect N votes: show what that risks, and do it with --yes. Run-time only: it\n"
        "reverts by itself when configured nodes return, when the time is over, and when the daemons are restarted.",
        """\
Quorum is more than half of the expected votes. Lower ones let a part of the cluster go on alone: make sure that the
other nodes are off, or there will be two clusters that each believe to be the only one.

Exit status: 0 done (or, without --yes, shown), 1 refused or error, 64 wrong usage.

example:
  totemctl cluster expected 1             what would it mean?
  totemctl cluster expected 1 --yes       the last survivor goes on, for ten minutes
  totemctl cluster expected 1 --yes --for 3600""",
    )
    expected.add_argument("votes", metavar="N", type=number(1, "number of votes"), help="votes, at least those present")
    expected.add_argument("--yes", action="store_true", help="do it; without, only say what it would mean")
    expected.add_argument(
        "--for", dest="for_s", metavar="SECONDS", type=seconds, default=600.0, help="revert after (default: 600)"
    )
    wait = commands.add(
        "wait-quorum",
        "cluster_wait:wait_quorum",
        "wait until there is quorum, then run a command",
        "Wait until this node has quorum, however long it takes and whether its daemon runs already or not; then end,\n"
        "or become CMD.",
        """\
Exit status: 0 quorate, 2 not quorate within the time, 1 error, 64 wrong usage; that of CMD, if there is one.

examples:
  totemctl cluster wait-quorum --timeout 60 && echo quorate
  totemctl cluster wait-quorum -- systemctl start guests.target""",
    )
    wait.add_argument("--timeout", metavar="SECONDS", type=seconds, help="give up after (default: never)")
    wait.add_argument("command", metavar="-- CMD ...", nargs=argparse.REMAINDER, help="what to run then")


def _add_care(commands: Commands) -> None:
    mcast = commands.add(
        "mcast-addr",
        "cluster_names:mcast_addr",
        "tell the multicast address that follows from a cluster's name",
        "Print the multicast addresses that the ring of a cluster with this name has, unless its configuration says\n"
        "another (mcastaddr). Needs no daemon.",
        """\
Sixteen bits of the name decide: names of different clusters in one network may have the same address. With other names
behind the first, say whether they collide; a name that this node's own configuration has is compared in any case.

Exit status: 0 no two of them collide, 1 some do, or error, 64 wrong usage, 130 ended with Ctrl-C.

example:
  totemctl cluster mcast-addr cluster1 cluster2""",
    )
    mcast.add_argument("name", metavar="NAME")
    mcast.add_argument("others", metavar="OTHER", nargs="*", help="names of other clusters in this network")
    add_config_option(mcast)
    doctor = commands.add(
        "doctor",
        "cluster_doctor:doctor",
        "check this node and its network, and say what to do",
        "Check names, address, interface, multicast both ways, MTU, clocks, time-outs, ports and the key file. Each\n"
        "line says ok, or what to do, or what could not be checked and why.",
        """\
Run it on two nodes at the same time, or while their daemons run, to have the network between them checked as well.

Exit status: 0 nothing is wrong, 1 something is, 64 wrong usage, 130 ended with Ctrl-C.""",
    )
    doctor.add_argument("--seconds", metavar="S", type=seconds, default=5.0, help="listen for others (default: 5)")
    doctor.add_argument(
        "--port", metavar="P", type=number(2, "port", 65535), help="of the probes (default: the ring's + 10)"
    )
    doctor.add_argument("--node", metavar="NODE", help="which nodelist entry this is, if it cannot be told")
    doctor.add_argument("--keyfile", metavar="FILE", help="the key, if the daemon has it from its option --keyfile")
    add_config_option(doctor)
    separate = commands.add(
        "separate",
        "cluster_separate:separate",
        "take this node out of its cluster, on its own disk alone",
        "Put this node's configuration, key, identity and state aside, so that it belongs to no cluster any more. The\n"
        "daemon must be stopped. The others are not told: run `totemctl cluster remove` on one of them.",
        """\
The regular way is `totemctl cluster leave` here, or `remove` on another node. This is for a node that can do neither.

example:
  systemctl stop totemd
  totemctl cluster separate --i-know""",
    )
    separate.add_argument("--i-know", action="store_true", help="do it; without, only say what would be done")
    add_file_options(separate)
