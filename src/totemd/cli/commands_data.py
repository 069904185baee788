"""The commands of `totemctl` about process groups and the configuration map. Each takes the parsed arguments."""

import os
import time
from argparse import Namespace
from collections.abc import Iterable

from totemd.cli import render
from totemd.cli.commands_ring import CommandError, connect, counted, names_of, print_json, say
from totemd.client.blocking import BlockingGroup
from totemd.client.errors import Refused, TryAgain
from totemd.client.records import Delivered, GroupChange, GroupMember, MembersChanged, Scalar


def cpg_groups(arguments: Namespace) -> int:
    with connect(arguments) as client:
        groups = client.cpg_groups()
        names = {} if arguments.json else names_of(client.nodes())
    if arguments.json:
        print_json({"groups": groups})
        return 0
    for group in groups:
        print(render.escape(group.group))
        for member in group.members:
            print(f"    {render.process_label(member, names)}")
    return 0


def cpg_join(arguments: Namespace) -> int:
    left = arguments.count
    with connect(arguments) as client:
        names = names_of(client.nodes())
        with client.join(os.fsencode(arguments.group)) as group:
            for event in group:
                if arguments.json:
                    word = "deliver" if isinstance(event, Delivered) else "members"
                    print_json({"event": word, **render.jsonable(event)})
                else:
                    print(_describe(event, names), flush=True)
                if left is not None and isinstance(event, Delivered):
                    left -= 1
                    if left == 0:
                        break
    return 0


def _describe(event: Delivered | MembersChanged, names: dict[int, str]) -> str:
    if isinstance(event, Delivered):
        sender = render.process_label(GroupMember(event.nodeid, event.pid), names)
        return f"{sender}: {render.escape(event.data)}"
    parts = [f"-- {counted(len(event.members), 'member')}"]
    parts += _describe_changes("joined", event.joined, names)
    parts += _describe_changes("left", event.left, names)
    return "; ".join(parts)


def _describe_changes(word: str, changes: Iterable[GroupChange], names: dict[int, str]) -> list[str]:
    return [
        f"{word}: {render.process_label(GroupMember(change.nodeid, change.pid), names)} ({change.reason})"
        for change in changes
    ]


def cpg_send(arguments: Namespace) -> int:
    data = os.fsencode(arguments.text)
    deadline = time.monotonic() + arguments.timeout
    with connect(arguments) as client:
        try:
            group = client.join(os.fsencode(arguments.group), timeout_s=arguments.timeout)
            group.multicast(data, safe=arguments.safe, timeout_s=max(0.0, deadline - time.monotonic()))
        except TryAgain as error:
            raise CommandError(f"not sent within {arguments.timeout:g} s: {error}") from None
        receivers = _wait_for_own(group, client.welcome.nodeid, data, deadline)
        group.close()
    if receivers is None:
        raise CommandError(
            f"sent, but not delivered back within {arguments.timeout:g} s: the ring may be changing (totemctl watch)"
        )
    others = receivers - 1
    text = f"Sent to {arguments.group!r}: {counted(others, 'other member')}."
    say(arguments, text, group=arguments.group, other_members=others, safe=arguments.safe)
    return 0


def _wait_for_own(group: BlockingGroup, nodeid: int, data: bytes, deadline: float) -> int | None:
    """Wait until our message comes back; how many members the group had then. None: it did not."""
    members = 0
    while (remaining_s := deadline - time.monotonic()) > 0:
        event = group.next_event(remaining_s)
        if isinstance(event, MembersChanged):
            members = len(event.members)
        elif isinstance(event, Delivered) and event.nodeid == nodeid and event.data == data:
            return max(members, 1)
    return None


def cmap_get(arguments: Namespace) -> int:
    with connect(arguments) as client:
        entry = client.cmap_get(arguments.key, map_name=arguments.map)
    if arguments.json:
        print_json(entry)
    else:
        print(render.cmap_text(entry))
    return 0


def cmap_set(arguments: Namespace) -> int:
    with connect(arguments) as client:
        kind = arguments.type
        if kind is None:
            try:
                kind = client.cmap_get(arguments.key).type
            except Refused as error:
                if error.code != "not_exist":
                    raise
                kind = "str"
        client.cmap_set(arguments.key, cmap_value(kind, arguments.value), kind)
        entry = client.cmap_get(arguments.key)
    if arguments.json:
        print_json(entry)
    else:
        print(render.cmap_text(entry))
    return 0


def cmap_value(kind: str, text: str) -> Scalar:
    """What `text` means as a value of type `kind`; CommandError if it means nothing."""
    try:
        if kind == "str":
            return text
        if kind == "bin":
            return bytes.fromhex(text)
        if kind in ("flt", "dbl"):
            return float(text)
        return int(text, 0)
    except ValueError:
        wanted = {"bin": "hexadecimal digits", "flt": "a number", "dbl": "a number"}.get(kind, "an integer")
        raise CommandError(f"{text!r} is no value of type {kind}: {wanted} expected") from None


def cmap_delete(arguments: Namespace) -> int:
    with connect(arguments) as client:
        client.cmap_delete(arguments.key)
    say(arguments, f"{arguments.key} was deleted.", key=arguments.key, deleted=True)
    return 0


def cmap_list(arguments: Namespace) -> int:
    with connect(arguments) as client:
        entries = client.cmap_list(arguments.prefix, map_name=arguments.map)
    if arguments.json:
        print_json({"entries": entries})
        return 0
    for entry in entries:
        print(render.cmap_text(entry))
    return 0


def cmap_track(arguments: Namespace) -> int:
    follow = {"exact": arguments.exact, "map_name": arguments.map}
    with connect(arguments) as client, client.cmap_track(arguments.prefix, **follow) as changes:
        for change in changes:
            if arguments.json:
                print_json(change)
                continue
            entry = change.new or change.old
            print(f"{change.event:<7}{render.cmap_text(entry) if entry else change.key}", flush=True)
    return 0
