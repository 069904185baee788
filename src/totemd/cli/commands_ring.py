"""The commands of `totemctl` about ring, votes and the daemon itself. Each takes the parsed arguments."""

import json
import sys
import time
from argparse import Namespace
from collections.abc import Iterable, Mapping
from typing import Final

from totemd.cli import render
from totemd.client import blocking
from totemd.client.blocking import BlockingClient
from totemd.client.errors import TotemdClientError
from totemd.client.records import ExpectedVotes, Membership, Node, QuorumStatus, Synchronized

QUORATE: Final = 0
NOT_QUORATE: Final = 2


class CommandError(TotemdClientError):
    """The command cannot do what was asked; the text is for the person at the terminal."""

    exit_status = 1


class NoQuorumError(CommandError):
    """It cannot because there is no quorum."""

    exit_status = NOT_QUORATE


def connect(arguments: Namespace) -> BlockingClient:
    """The daemon that the arguments, or the environment, name."""
    return blocking.connect(arguments.socket, name="totemctl")


def print_json(value: object) -> None:
    """One object on one line, at once."""
    print(json.dumps(render.jsonable(value)), flush=True)


def say(arguments: Namespace, text: str, **facts: object) -> None:
    """What happened: `text` for people, `facts` for programs."""
    if arguments.json:
        print_json(facts)
    else:
        print(text, flush=True)


def progress(arguments: Namespace, text: str) -> None:
    """A step of something that takes long, for who waits at a terminal or reads a log; not for programs."""
    if not arguments.json:
        print(f"totemctl: {text} ...", file=sys.stderr, flush=True)


def counted(number: int, noun: str) -> str:
    """`1 vote`, `2 votes`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def names_of(nodes: Iterable[Node]) -> dict[int, str]:
    """What to call each node."""
    return {node.nodeid: node.name or node.address for node in nodes}


def find_node(nodes: Iterable[Node], wanted: str) -> Node:
    """The node with the name or the id `wanted`; CommandError that lists all when there is none, or two."""
    known = list(nodes)
    try:
        nodeid = int(wanted, 0)
    except ValueError:
        nodeid = -1
    found = [node for node in known if node.name == wanted or node.nodeid == nodeid]
    if len(found) == 1:
        return found[0]
    problem = "is the name of one node and the id of another" if found else "is no node of this cluster"
    listed = ", ".join(render.node_label(node.nodeid, names_of(known)) for node in known)
    raise CommandError(f"{wanted!r} {problem}; there are: {listed or 'none'}")


def status(arguments: Namespace) -> int:
    with connect(arguments) as client:
        found = client.status()
    if arguments.json:
        print_json(found)
    else:
        sys.stdout.write(render.status_text(found))
    return QUORATE if found.quorate else NOT_QUORATE


def nodes(arguments: Namespace) -> int:
    with connect(arguments) as client:
        if arguments.json:
            print_json({"nodes": client.nodes()})
        elif arguments.all:
            sys.stdout.write(render.all_nodes_text(client.nodes()))
        else:
            sys.stdout.write(render.members_text(client.status().members))
    return 0


def watch(arguments: Namespace) -> int:
    with connect(arguments) as client, client.track() as tracker:
        names = names_of(client.nodes())
        quorate: bool | None = None
        for event in tracker:
            if isinstance(event, Membership) and not names.keys() >= set(event.members):
                names = names_of(client.nodes())
            if arguments.json:
                print_json({"time": time.time(), "event": _EVENT_WORDS[type(event)], **render.jsonable(event)})
            else:
                print(f"{time.strftime('%H:%M:%S')} {describe(event, names, quorate)}", flush=True)
            if isinstance(event, QuorumStatus):
                quorate = event.quorate
    return 0


_EVENT_WORDS: Final[dict[type, str]] = {
    Membership: "membership",
    QuorumStatus: "quorum",
    ExpectedVotes: "expected_votes",
    Synchronized: "synchronized",
}


def describe(
    event: Membership | QuorumStatus | ExpectedVotes | Synchronized, names: Mapping[int, str], was_quorate: bool | None
) -> str:
    """One line about `event`, for people."""
    if isinstance(event, Membership):
        return _describe_membership(event, names)
    if isinstance(event, QuorumStatus):
        return _describe_quorum(event, was_quorate)
    if isinstance(event, ExpectedVotes):
        return f"expected  {event.expected_votes} votes are expected now"
    return f"ready     ring {event.ring}: all members agree, messages flow"


def _describe_membership(event: Membership, names: Mapping[int, str]) -> str:
    def listed(nodeids: Iterable[int]) -> str:
        return ", ".join(render.node_label(nodeid, names) for nodeid in nodeids)

    if event.kind == "transitional":
        return f"changing  {listed(event.members)} go on together"
    parts = [f"members   ring {event.ring}: {listed(event.members)}"]
    if event.joined:
        parts.append(f"joined: {listed(event.joined)}")
    if event.left:
        parts.append(f"left: {listed(event.left)}")
    if event.reason:
        parts.append(f"reason: {event.reason}")
    return "; ".join(parts)


def _describe_quorum(event: QuorumStatus, was_quorate: bool | None) -> str:
    if was_quorate is None:
        word = "quorate" if event.quorate else "NOT quorate"
    elif was_quorate == event.quorate:
        word = "still quorate" if event.quorate else "still NOT quorate"
    else:
        word = "gained" if event.quorate else "LOST"
    return f"quorum    {word}: {event.total_votes} of {event.expected_votes} votes, {event.quorum} needed"


def expected(arguments: Namespace) -> int:
    with connect(arguments) as client:
        client.expected(arguments.votes)
    say(
        arguments,
        f"All members were told to expect {counted(arguments.votes, 'vote')}.",
        expected_votes=arguments.votes,
    )
    return 0


def votes(arguments: Namespace) -> int:
    with connect(arguments) as client:
        known = client.nodes()
        node = find_node(known, arguments.node)
        client.set_votes(node.nodeid, arguments.votes)
    label = render.node_label(node.nodeid, names_of(known))
    say(
        arguments,
        f"Node {label} has {counted(arguments.votes, 'vote')} now.",
        nodeid=node.nodeid,
        votes=arguments.votes,
    )
    return 0


def stats(arguments: Namespace) -> int:
    with connect(arguments) as client:
        found = client.stats()
    if arguments.json:
        print_json(found)
    else:
        for key, value in render.flattened(found):
            print(f"{key} = {render.escape(value) if isinstance(value, bytes) else value}")
    return 0


def kill(arguments: Namespace) -> int:
    with connect(arguments) as client:
        known = client.nodes()
        node = find_node(known, arguments.node)
        label = render.node_label(node.nodeid, names_of(known))
        if node.state not in ("member", "leaving"):
            raise CommandError(f"node {label} is not a member now (it is {node.state!r}): there is nothing to end")
        tracker = client.track()
        begin_s = time.monotonic()
        client.kill(node.nodeid, arguments.reason)
        if node.local:
            gone = client.wait_closed(arguments.wait) is not None
        else:
            gone = _wait_until_gone(tracker, node.nodeid, arguments.wait)
        took_s = time.monotonic() - begin_s
    if not gone:
        raise CommandError(f"node {label} was told to end, but has not left the ring within {arguments.wait:g} s")
    what = "ended" if node.local else "left"
    text = f"Node {label} was told to end; it {what} after {took_s:.1f} s."
    say(arguments, text, nodeid=node.nodeid, took_s=round(took_s, 3))
    return 0


def _wait_until_gone(
    tracker: "blocking.Subscription[Membership | QuorumStatus | ExpectedVotes | Synchronized]",
    nodeid: int,
    timeout_s: float,
) -> bool:
    deadline = time.monotonic() + timeout_s
    while (remaining_s := deadline - time.monotonic()) > 0:
        event = tracker.next_event(remaining_s)
        if isinstance(event, Membership) and event.kind == "regular" and nodeid not in event.members:
            return True
    return False


def shutdown(arguments: Namespace) -> int:
    with connect(arguments) as client:
        nodeid = client.welcome.nodeid
        client.shutdown()
        reason = client.wait_closed(arguments.wait)
    if reason is None:
        raise CommandError(f"the daemon was told to end, but has not within {arguments.wait:g} s; look at its log")
    say(arguments, f"Node {nodeid} has left the ring; its daemon ends.", nodeid=nodeid)
    return 0


def reload(arguments: Namespace) -> int:
    with connect(arguments) as client:
        client.reload()
    say(arguments, "The configuration file was read again and is in effect.", reloaded=True)
    return 0


def decode(arguments: Namespace) -> int:
    from totemd.cli import decode as decoder

    return decoder.run(arguments.source, as_json=arguments.json, limit=arguments.limit, out=sys.stdout)


def demo(arguments: Namespace) -> int:
    from totemd.cli import demo as demonstration

    return demonstration.run(as_json=arguments.json)
