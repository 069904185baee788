"""The parsers of `totemctl cluster config ...`, `rotate-key` and `keygen`."""

import argparse
from typing import Final

from totemd.cli.command_line import Commands, number, seconds

_EXIT: Final = "Exit status: 0 done, 1 refused or error, 2 no quorum, 64 wrong usage, 130 ended with Ctrl-C."

_FILE_HELP: Final = "a corosync.conf, - for standard input (default: this node's)"


def add(commands: Commands, common: argparse.ArgumentParser) -> None:
    """The commands, those that only look first."""
    config = commands.add(
        "config",
        None,
        "the replicated configuration: show, edit, apply, history ...",
        "The configuration of a managed cluster: one text, the same on all nodes, with a version. It is changed on\n"
        "any node, for all of them at once: every node that is present checks the change, and only if all can do with\n"
        "it, it comes into force everywhere at the same moment. Nodes that are away get it when they return.",
        """\
Each node has the version in force as its corosync.conf, for people and other programs. Editing that file by hand does
nothing by itself: the daemon says that the file differs and goes on with what is in force. `config diff` shows such an
edit, `config apply` makes a version of it.

If no daemon can start any more with what is in force (all addresses are other ones now), stop all of them and, on every
node, write the file, raise config_version in it, and move STATE_DIR/changes away: then the file is the first version.

examples:
  totemctl cluster config edit
  totemctl cluster config history""",
    )
    actions = Commands(config, common, "actions")
    _add_views(actions)
    _add_changes(actions)
    _add_keys(commands)


def _add_views(actions: Commands) -> None:
    show = actions.add(
        "show",
        "cluster_config:show",
        "print the text in force",
        "Print the text of the version in force, or of an earlier one, as it stands in corosync.conf.",
        """\
The texts of the last 20 versions are kept. With --json also who made the version, when and why, and whether this node's
file says the same.

example:
  totemctl cluster config show > /etc/corosync/corosync.conf     give up what was edited by hand""",
    )
    show.add_argument("version", metavar="VERSION", nargs="?", type=number(0, "version"), help="default: in force")
    diff = actions.add(
        "diff",
        "cluster_config:diff",
        "show how a file differs from the text in force",
        "Show how this node's corosync.conf, or FILE, differs from the version in force (or from another one).",
        """\
Exit status: 0 both mean the same, 1 they differ, or error, 64 wrong usage.""",
    )
    diff.add_argument("file", metavar="FILE", nargs="?", help=_FILE_HELP)
    diff.add_argument("--version", metavar="N", type=number(0, "version"), help="compare with version N")
    validate = actions.add(
        "validate",
        "cluster_config:validate",
        "ask all present nodes whether a file would do",
        "Have every node that is present check a file as it would check a change. Nothing is stored or changed.",
        f"""\
Each node looks up the names, finds itself in the nodelist, and compares the votes with those in force. Syntax errors
are told with file and line before any node is asked. (`totemd -t -c FILE` checks a file on this machine alone.)

{_EXIT}""",
    )
    validate.add_argument("file", metavar="FILE", nargs="?", help=_FILE_HELP)
    history = actions.add(
        "history",
        "cluster_config:history",
        "list who changed what and when, and what became of it",
        "List the latest changes (100 are kept), the newest last, and why those were refused that were.",
        """\
Outcomes: committed; rejected (a node refused it), aborted (not decided in time), reverted (this node went back by
itself, as there was no quorum), rolled-back (and the cluster decided so).""",
    )
    history.add_argument("--limit", metavar="N", type=number(1, "count"), help="only the last N")


def _add_changes(actions: Commands) -> None:
    edit = actions.add(
        "edit",
        "cluster_change:edit",
        "edit the configuration and apply it to the whole cluster",
        "Open a copy of the text in force in $VISUAL or $EDITOR (else vi). What comes of it is checked by all nodes,\n"
        "shown as a difference, and applied when you say so.",
        f"""\
config_version is raised by itself, once. If something is wrong you can edit again; what is not applied is kept, and the
command says where.

{_EXIT}""",
    )
    _add_change_options(edit)
    edit.add_argument("--yes", action="store_true", help="do not ask before it is applied")
    apply = actions.add(
        "apply",
        "cluster_change:apply",
        "make a file the next version, on all nodes",
        "Propose a file as the next version of the configuration, and follow until it is in force on all members.",
        f"""\
The file must have been made from the version in force: its totem.config_version says so. One that was made from an
older version would undo what was changed since, so it is refused unless --force is given.

If there is no quorum with the new version within the time of --rollback-after, nodes go back to the version before by
themselves where that is safe, and the history says so.

{_EXIT}

examples:
  totemctl cluster config apply                        what was edited by hand in this node's corosync.conf
  totemctl cluster config apply new.conf --dry-run
  totemctl cluster config apply new.conf -m 'longer token timeout'""",
    )
    apply.add_argument("file", metavar="FILE", nargs="?", help=_FILE_HELP)
    _add_change_options(apply)
    apply.add_argument("--dry-run", action="store_true", help="only show the difference, and what the nodes say of it")
    apply.add_argument("--force", action="store_true", help="also a file that was made from an older version")
    rollback = actions.add(
        "rollback",
        "cluster_change:rollback",
        "go back to an earlier version, on all nodes",
        "Have the text of an earlier version become the next one. Versions only ever go up: going back from 8 to 7\n"
        "makes a version 9 that says what 7 said.",
        f"""\
Nodes that were removed stay removed, and keys stay as they are: a version from before a removal is refused.

{_EXIT}""",
    )
    rollback.add_argument(
        "version", metavar="VERSION", nargs="?", type=number(0, "version"), help="default: the one before this one"
    )


def _add_change_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-m", "--message", metavar="TEXT", help="what the history shall say of it")
    parser.add_argument(
        "--rollback-after",
        metavar="SECONDS",
        type=seconds,
        default=30.0,
        help="go back if there is no quorum for so long (default: 30)",
    )


def _add_keys(commands: Commands) -> None:
    commands.add(
        "rotate-key",
        "cluster_change:rotate_key",
        "give the ring a new key, without a pause",
        "Make a new key, hand it to every node in a box that only that node can open, and seal with it from one\n"
        "moment on. Messages flow on; what is on its way under the old key still counts for a moment.",
        f"""\
Shows how far each node is. If a node cannot take the key, nothing changes. Nodes that are away get it when they return,
as long as they are in the nodelist. Whoever has only the old key then can neither read nor send.

{_EXIT}""",
    )
    keygen = commands.add(
        "keygen",
        "cluster_config:keygen",
        "make a key file for a sealed ring",
        "Write a new random key into FILE, readable by its owner alone. An existing file is left as it is.",
        """\
For rings that are sealed and not managed (totem.secauth: on, totem.keyfile: FILE): copy the file to all nodes. In a
managed cluster `create`, `join` and `rotate-key` see to the keys.

example:
  totemctl cluster keygen /etc/corosync/authkey""",
    )
    keygen.add_argument("file", metavar="FILE")
