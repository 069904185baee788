"""`totemctl cluster expected`: what other expected votes would mean, and, with --yes, have them for a while."""

from argparse import Namespace
from collections.abc import Iterator

from totemd.cli import render
from totemd.cli.commands_ring import CommandError, connect, counted, print_json
from totemd.client.records import Node, Status


def expected(arguments: Namespace) -> int:
    """`totemctl cluster expected N [--yes] [--for S]`."""
    votes, seconds = arguments.votes, int(arguments.for_s)
    with connect(arguments) as client:
        status, nodes = client.status(), client.nodes()
        if status.provider is None:
            raise CommandError("nobody counts votes here: the configuration has no quorum.provider")
        present = status.votes.total
        if votes < max(present, 1):
            raise CommandError(f"{counted(present, 'vote')} present: fewer cannot be expected, not {votes}")
        configured = _configured(status)
        risky = votes < configured
        if arguments.yes or not risky:
            client.force_expected(votes, seconds, yes=bool(arguments.yes))
    done = arguments.yes or not risky
    if arguments.json:
        absent = [node for node in nodes if node.state != "member"]
        facts = {"expected_votes": votes, "configured": configured, "present": present, "seconds": seconds}
        print_json({**facts, "quorum": votes // 2 + 1, "done": done, "risk": risky, "absent": absent})
        return 0
    for line in _explain(status, nodes, votes, configured, seconds):
        print(line)
    if done:
        print(f"Done: all present members expect {counted(votes, 'vote')} for {_duration(seconds)} at most.")
    else:
        print(f"Nothing was changed. If that is what you want: totemctl cluster expected {votes} --yes")
    return 0


def _configured(status: Status) -> int:
    """What is expected without force."""
    return status.forced.configured if status.forced is not None else status.votes.expected


def _explain(status: Status, nodes: tuple[Node, ...], votes: int, configured: int, seconds: int) -> Iterator[str]:
    present, quorum = status.votes.total, votes // 2 + 1
    yield (
        f"{counted(present, 'vote')} present, {configured} expected as configured: "
        f"{configured // 2 + 1} are needed for quorum; with {votes} expected it is {quorum}."
    )
    if votes < configured:
        absent = [node for node in nodes if node.state not in ("member", "leaving")]
        names = {node.nodeid: node.name or node.address for node in absent}
        yield "RISK: if these nodes run, and only cannot be reached, they may have quorum as well, and both halves"
        yield "change the same data. Make sure that they are off, and stay off:"
        for node in absent:
            yield f"  {render.node_label(node.nodeid, names)}, {counted(node.votes, 'vote')}, {node.address}"
        if not absent:
            yield "  (no node is absent: this cluster only survives the loss of more nodes then)"
    yield (
        f"It lasts until nodes return with which there is quorum anyway, until a daemon's restart, or "
        f"{_duration(seconds)}; then"
    )
    yield f"{configured} votes are expected again. To go on without a node for good: totemctl cluster remove NODE."


def _duration(seconds: int) -> str:
    if seconds % 3600 == 0:
        return counted(seconds // 3600, "hour")
    if seconds % 60 == 0:
        return counted(seconds // 60, "minute")
    return f"{seconds} s"
