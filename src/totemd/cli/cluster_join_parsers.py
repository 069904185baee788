"""The parsers of `totemctl cluster create|invite|join|leave|remove`."""

import argparse
from typing import Final

from totemd.cli.command_line import Commands, add_file_options, number, seconds, time_up_to
from totemd.limits import TICKET_TTL_MAX_S

_QUORUM_EXIT: Final = "Exit status: 0 done, 1 refused or error, 2 no quorum, 64 wrong usage, 130 ended with Ctrl-C."


def add(commands: Commands, common: argparse.ArgumentParser) -> None:
    """The commands, in the order in which one needs them."""
    _add_create(commands)
    _add_invite(commands)
    _add_join(commands)
    _add_leave(commands)
    _add_remove(commands)


def _add_create(commands: Commands) -> None:
    create = commands.add(
        "create",
        "cluster_create:create",
        "make this machine the first node of a new cluster",
        "Make a new cluster whose only node is this machine: its configuration, its key, and who this node is.\n"
        "Nothing is started. Refused where a configuration, a key or an identity exists.",
        """\
NAME has 1 to 15 letters, digits and inner hyphens. It cannot be changed later, and the default multicast address
follows from it: clusters in one network need different names.

examples:
  totemctl cluster create sea
  totemctl cluster create sea --address 192.0.2.1 --transport udpu --dry-run""",
    )
    create.add_argument("name", metavar="NAME", help="the cluster's name, 1 to 15 characters")
    create.add_argument("--node-name", metavar="N", help="this node's name (default: the host's)")
    create.add_argument("--node-id", metavar="I", type=number(1, "node id"), default=1, help="default: 1")
    create.add_argument("--votes", metavar="V", type=number(1, "number of votes"), default=1, help="default: 1")
    _add_address(create)
    create.add_argument("--mcast-addr", metavar="A", help="the ring's multicast address (default: from the name)")
    create.add_argument(
        "--mcast-port", metavar="P", type=number(2, "port", 65535), help="the ring's UDP port (default: 5405)"
    )
    create.add_argument(
        "--token-ms", metavar="M", type=number(100, "time-out"), help="how long the token may be away, in milliseconds"
    )
    create.add_argument("--transport", choices=("udp", "udpu"), default="udp", help="multicast (udp), or one by one")
    create.add_argument("--dry-run", action="store_true", help="print the configuration and write nothing")
    _add_files(create)


def _add_invite(commands: Commands) -> None:
    invite = commands.add(
        "invite",
        "cluster_members:invite",
        "print a ticket with which one new node can join",
        "Print a ticket. One machine can join with it, once, until it expires: `totemctl cluster join TICKET` there.",
        f"""\
The ticket is as good as a key: whoever has it can become a node. It names this node's address and the fingerprint of
its certificate; this node listens on TCP port 5406 (totem.join_port) until its last ticket has expired.
{_QUORUM_EXIT}

example:
  totemctl cluster invite --ttl 3600 --node-name ling""",
    )
    invite.add_argument(
        "--ttl",
        metavar="SECONDS",
        type=time_up_to(TICKET_TTL_MAX_S, 1),
        default=600.0,
        help="how long it is valid (default: 600)",
    )
    invite.add_argument("--node-name", metavar="N", help="only a node of this name may use it")
    invite.add_argument(
        "--votes",
        metavar="V",
        type=number(0, "number of votes"),
        default=1,
        help="of the new node, at most (default: 1)",
    )


def _add_join(commands: Commands) -> None:
    join = commands.add(
        "join",
        "cluster_join:join",
        "make this machine a node of the cluster that gave a ticket",
        "Join the cluster that gave TICKET: be checked, prove that this machine and all members reach each other on\n"
        "the ring's own addresses, get configuration and key, start the daemon, and wait until its votes count.",
        """\
Nothing of the cluster changes before this machine has been checked, and it has no votes before it is a member: a join
that fails on its way costs the others nothing, and can be tried again with the same ticket.
TICKET may be "-": it is read from standard input, so that it is seen in no list of processes.

Exit status: 0 this node is a member and counts (with --no-start, or where there is no systemd: it has its place, and
its daemon is to be started), 1 refused or error, 2 the cluster has no quorum, 64 wrong usage, 130 ended with Ctrl-C.

examples:
  totemctl cluster join totemd1-hKFj...
  totemctl cluster join - --address 192.0.2.2 --node-name ling < ticket""",
    )
    join.add_argument("ticket", metavar="TICKET")
    join.add_argument("--node-name", metavar="N", help="this node's name (default: the host's)")
    join.add_argument("--node-id", metavar="I", type=number(1, "node id"), help="default: the lowest never used")
    join.add_argument("--votes", metavar="V", type=number(0, "number of votes"), help="default: what the ticket allows")
    _add_address(join)
    start = join.add_mutually_exclusive_group()
    start.add_argument("--start", metavar="COMMAND", help="how to start the daemon (default: systemctl, if it can)")
    start.add_argument("--no-start", action="store_true", help="do not start the daemon, and say how to")
    join.add_argument(
        "--replace", action="store_true", help="put the files of an earlier cluster aside and join as a new node"
    )
    join.add_argument(
        "--timeout", metavar="SECONDS", type=seconds, default=120.0, help="for becoming a member (default: 120)"
    )
    _add_files(join)


def _add_leave(commands: Commands) -> None:
    leave = commands.add(
        "leave",
        "cluster_members:leave",
        "take this node out of its cluster, for good",
        "Take this node out of the cluster: its votes go first, then its daemon ends, then the others take it out for\n"
        "good and, if the ring is sealed, get a new key. To come back it needs a new ticket, and is a new node then.",
        f"""\
To stop for a while only, stop the daemon. If the others cannot be reached: totemctl cluster separate.
{_QUORUM_EXIT}""",
    )
    leave.add_argument("--timeout", metavar="SECONDS", type=seconds, default=60.0, help="default: 60")


def _add_remove(commands: Commands) -> None:
    remove = commands.add(
        "remove",
        "cluster_members:remove",
        "take another node out of the cluster, for good",
        "Take NODE out of the cluster: its id and identity are never accepted again, and the remaining nodes of a\n"
        "sealed ring get a new key in the same change. Whatever that machine does afterwards with its old disk, it is\n"
        "not heard.",
        f"""\
The node is to be off. One that runs is refused, unless --force ends its daemon first.
{_QUORUM_EXIT}

example:
  totemctl cluster remove pike""",
    )
    remove.add_argument("node", metavar="NODE", help="node id or name")
    remove.add_argument("--force", action="store_true", help="if it runs, end its daemon first")
    remove.add_argument("--timeout", metavar="SECONDS", type=seconds, default=60.0, help="default: 60")


def _add_address(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--address", metavar="A", help="this node's address in the ring (default: found)")


def _add_files(parser: argparse.ArgumentParser) -> None:
    add_file_options(parser)
    parser.add_argument(
        "--keyfile", metavar="FILE", help="where the cluster's key is on this node (default: /etc/corosync/authkey)"
    )
