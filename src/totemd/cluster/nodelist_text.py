"""Edits of a corosync.conf's text: a new cluster's, and nodes that come, are counted and go.

Text in, text out, so that comments, order and whatever else the file holds stay as they are. Values that come from
others are checked here, for they must not be able to write lines of their own. What the result means is for
`totemd.config.load` to judge.
"""

import base64
import re
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Final

from totemd.config.parser import FILE_SIZE_MAX, parse
from totemd.errors import ConfigError, OperatorError
from totemd.ids import NodeId
from totemd.limits import PROCESSOR_COUNT_MAX, VOTES_MAX
from totemd.record import record

CLUSTER_NAME_MAX: Final = 15
NODE_NAME_MAX: Final = 63

JOINING_VOTES: Final = "joining_votes"
"""The key of a node that is listed without votes until it has been a member: the votes that it will have then."""

LEAVING: Final = "leaving"
"""The key of a node that has given its votes back and is taken out as soon as it is gone."""

_BLANKS: Final = " \t\r\v\f"
_CLUSTER_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?")
_NODE_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")
_WORD: Final = re.compile(r"[!-z|~]+")
"""A value of one line without blanks and braces."""

_INDENT: Final = "    "


@record
class ListedNode:
    """A node as it is written into the nodelist. `joining_votes` None: it is counted as it stands."""

    nodeid: NodeId
    name: str
    address: str
    uuid: bytes
    public_key: bytes
    votes: int = 1
    joining_votes: int | None = None


def check_cluster_name(name: str) -> None:
    """OperatorError unless `name` may be a cluster's."""
    if len(name) > CLUSTER_NAME_MAX:
        raise OperatorError(
            f'the cluster name "{name[:80]}" has {len(name)} characters; at most {CLUSTER_NAME_MAX} are allowed'
        )
    if not _CLUSTER_NAME.fullmatch(name):
        raise OperatorError(f'"{name}" is no cluster name: use letters, digits and inner hyphens, 1 to 15 characters')


def check_node_name(name: str) -> None:
    """OperatorError unless `name` may be a node's."""
    if len(name) > NODE_NAME_MAX or not _NODE_NAME.fullmatch(name):
        raise OperatorError(
            f'"{name[:80]}" is no node name: use letters, digits, inner hyphens and dots, '
            f"1 to {NODE_NAME_MAX} characters"
        )


def new_cluster(
    *,
    name: str,
    cluster_id: bytes,
    node: ListedNode,
    transport: str = "udp",
    mcast_address: str | None = None,
    mcast_port: int | None = None,
    token_ms: int | None = None,
    join_port: int | None = None,
    keyfile: str | None = None,
) -> str:
    """The configuration of a managed, sealed cluster of one node; None leaves a key out, and its default in force.

    OperatorError if a value cannot be written.
    """
    check_cluster_name(name)
    totem = [
        ("version", "2"),
        ("config_version", "1"),
        ("cluster_name", name),
        ("cluster_id", cluster_id.hex()),
        ("transport", transport),
        ("crypto_cipher", "aes256"),
    ]
    for key, value in (("keyfile", keyfile), ("token", token_ms), ("join_port", join_port)):
        if value is not None:
            totem.append((key, str(value)))
    interface = [("linknumber", "0")]
    if mcast_address is not None:
        interface.append(("mcastaddr", mcast_address))
    if mcast_port is not None:
        interface.append(("mcastport", str(mcast_port)))
    lines = ["totem {", *_settings(totem, _INDENT)]
    if len(interface) > 1:
        lines += [f"{_INDENT}interface {{", *_settings(interface, 2 * _INDENT), f"{_INDENT}}}"]
    lines += ["}", "", "nodelist {", *_node_lines(node, _INDENT, _INDENT), "}", ""]
    lines += ["quorum {", f"{_INDENT}provider: corosync_votequorum", "}", ""]
    # Whoever starts the daemon has its standard error: systemd, a container, a terminal.
    lines += ["logging {", f"{_INDENT}to_stderr: yes", f"{_INDENT}to_syslog: no", "}"]
    return "\n".join(lines) + "\n"


def add_node(text: str, node: ListedNode) -> str:
    """`text` with `node` behind the other nodes. OperatorError if it cannot be: another node has the id, say."""
    file = _File(text)
    if len(file.nodes) >= PROCESSOR_COUNT_MAX:
        raise OperatorError(f"the nodelist has {len(file.nodes)} nodes; a ring has no more")
    if any(_nodeid(block) == node.nodeid for block in file.nodes):
        raise OperatorError(f"the nodelist has a node {node.nodeid} already")
    nodelist = file.one("nodelist")
    if nodelist is None:
        raise OperatorError("the configuration has no nodelist")
    outer, inner = _indents(file, nodelist)
    behind = file.nodes[-1].end + 1 if file.nodes else nodelist.end
    file.lines[behind:behind] = _node_lines(node, outer, inner)
    return file.checked()


def remove_node(text: str, nodeid: NodeId, version: int) -> str:
    """`text` without the node, whose id, name and uuid are written into section `removed`, with the configuration's
    `version` that removes it. OperatorError if there is no such node."""
    block = _File(text).node(nodeid)
    tombstone = [("nodeid", str(nodeid))]
    # As they stood in the file, where blanks are allowed.
    tombstone += [(key, value) for key in ("name", "uuid") if (value := block.value(key))]
    tombstone.append(("version", str(version)))
    lines = [f"{_INDENT}node {{", *(f"{2 * _INDENT}{key}: {value}" for key, value in tombstone), f"{_INDENT}}}"]
    file = _File(drop_node(text, nodeid))
    removed = file.one("removed")
    if removed is not None:
        file.lines[removed.end : removed.end] = lines
    else:
        while file.lines and not file.lines[-1].strip(_BLANKS):
            file.lines.pop()
        file.lines += ["", "removed {", *lines, "}", ""]
    return file.checked()


def drop_node(text: str, nodeid: NodeId) -> str:
    """`text` without the node and without a trace of it: for one that never became a member. OperatorError if there is
    no such node."""
    file = _File(text)
    block = file.node(nodeid)
    del file.lines[block.start : block.end + 1]
    return file.checked()


def set_votes(text: str, nodeid: NodeId, votes: int, *, joins: bool = False) -> str:
    """`text` with `votes` for the node, which is not a joining one any more, unless it still `joins`. OperatorError if
    there is no such node."""
    file = _File(text)
    block = file.node(nodeid)
    _check_votes(votes)
    _set(file, block, "quorum_votes", str(votes))
    joining = [line for key, _, line in block.settings if key == JOINING_VOTES]
    for line in reversed(() if joins else joining):
        del file.lines[line]
    return file.checked()


def mark_leaving(text: str, nodeid: NodeId) -> str:
    """`text` in which the node has no votes and is about to go. OperatorError if there is no such node."""
    file = _File(set_votes(text, nodeid, 0))
    _set(file, file.node(nodeid), LEAVING, "yes")
    return file.checked()


def _set(file: "_File", block: "_Block", key: str, value: str) -> None:
    """Change all places where the key stands, or add it at the section's end."""
    written = [line for known, _, line in block.settings if known == key]
    for line in written:
        file.lines[line] = f"{_leading(file.lines[line])}{key}: {value}"
    if not written:
        indent = _leading(file.lines[block.settings[0][2]]) if block.settings else 2 * _INDENT
        file.lines[block.end : block.end] = [f"{indent}{key}: {value}"]


def setting(text: str, nodeid: NodeId, key: str) -> str | None:
    """What `text` says for `key` of the node; None: nothing. OperatorError if there is no such node."""
    return _File(text).node(nodeid).value(key)


class _Block:
    """One section: indexes of the lines with its braces, and its own settings with theirs."""

    def __init__(self, path: str, start: int) -> None:
        self.path = path
        self.start = self.end = start
        self.settings: list[tuple[str, str, int]] = []

    def value(self, key: str) -> str | None:
        """The value of `key`, of which the last one counts."""
        return next((value for name, value, _ in reversed(self.settings) if name == key), None)


class _File:
    """A text's lines and sections."""

    def __init__(self, text: str) -> None:
        """ConfigError if the syntax is wrong."""
        parse(text, "corosync.conf")
        self.lines = text.split("\n")
        self.blocks: list[_Block] = []
        self._scan()

    def _scan(self) -> None:
        # The parser has seen it: every line is one of these, and the braces match.
        open_blocks: list[_Block] = []
        for number, raw in enumerate(self.lines):
            line = raw.strip(_BLANKS)
            if not line or line.startswith("#"):
                continue
            if "{" in line:
                name = line.partition("{")[0].strip(_BLANKS + ":")
                path = f"{open_blocks[-1].path}.{name}" if open_blocks else name
                open_blocks.append(_Block(path, number))
                self.blocks.append(open_blocks[-1])
            elif ":" in line:
                key, _, value = line.partition(":")
                if open_blocks:
                    open_blocks[-1].settings.append((key.strip(_BLANKS), value.strip(_BLANKS), number))
            else:
                open_blocks.pop().end = number

    @property
    def nodes(self) -> list[_Block]:
        return [block for block in self.blocks if block.path == "nodelist.node"]

    def one(self, path: str) -> _Block | None:
        """The last section of that path."""
        return next((block for block in reversed(self.blocks) if block.path == path), None)

    def node(self, nodeid: NodeId) -> _Block:
        for block in self.nodes:
            if _nodeid(block) == nodeid:
                return block
        raise OperatorError(f"the nodelist has no node {nodeid}")

    def checked(self) -> str:
        """The text as it is now; OperatorError if it is no configuration any more."""
        text = "\n".join(self.lines)
        try:
            parse(text, "corosync.conf")
        except ConfigError as error:
            raise OperatorError(f"the configuration cannot be changed: {error} ({FILE_SIZE_MAX} characters)") from None
        return text


def _nodeid(block: _Block) -> NodeId | None:
    value = block.value("nodeid")
    return int(value) if value is not None and re.fullmatch(r"[0-9]{1,10}", value) else None


def _leading(line: str) -> str:
    return line[: len(line) - len(line.lstrip(_BLANKS))]


def _indents(file: _File, nodelist: _Block) -> tuple[str, str]:
    """How the file indents a node's braces, and by how much more its settings."""
    if not file.nodes:
        return _leading(file.lines[nodelist.start]) + _INDENT, _INDENT
    last = file.nodes[-1]
    outer = _leading(file.lines[last.start])
    if not last.settings:
        return outer, _INDENT
    inner = _leading(file.lines[last.settings[0][2]])
    return outer, inner[len(outer) :] if inner.startswith(outer) and inner != outer else _INDENT


def _node_lines(node: ListedNode, outer: str, inner: str) -> list[str]:
    check_node_name(node.name)
    if not 1 <= node.nodeid <= 0xFFFFFFFF:
        raise OperatorError(f"{node.nodeid} is no node id: a number from 1 to 4294967295 is")
    try:
        address = str(ip_address(node.address))
    except ValueError:
        raise OperatorError(f'"{node.address[:80]}" is no IP address') from None
    settings = [
        ("nodeid", str(node.nodeid)),
        ("name", node.name),
        ("ring0_addr", address),
        ("uuid", node.uuid.hex()),
        ("public_key", base64.b64encode(node.public_key).decode()),
    ]
    _check_votes(node.votes)
    if node.votes != 1 or node.joining_votes is not None:
        settings.append(("quorum_votes", str(node.votes)))
    if node.joining_votes is not None:
        _check_votes(node.joining_votes)
        settings.append((JOINING_VOTES, str(node.joining_votes)))
    return [f"{outer}node {{", *_settings(settings, outer + inner), f"{outer}}}"]


def _check_votes(votes: int) -> None:
    if not 0 <= votes <= VOTES_MAX:
        raise OperatorError(f"{votes} is no number of votes: 0 to {VOTES_MAX} are allowed")


def _settings(settings: Iterable[tuple[str, str]], indent: str) -> list[str]:
    for key, value in settings:
        if not _WORD.fullmatch(value):
            raise OperatorError(f"{key}: {value[:80]!r} cannot be written into the configuration")
    return [f"{indent}{key}: {value}" for key, value in settings]
