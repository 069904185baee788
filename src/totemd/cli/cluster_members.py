"""`totemctl cluster invite`, `remove` and `leave`: what a member's daemon does about who belongs to the cluster."""

import time
from argparse import Namespace
from typing import TYPE_CHECKING, Any, Final

from totemd.cli.commands_ring import CommandError, NoQuorumError, progress, say
from totemd.client import blocking
from totemd.client.errors import Refused

if TYPE_CHECKING:
    from totemd.client.requests import Request

NO_QUORUM: Final = "no_resources"
"""The code word with which the daemon tells that there is no quorum."""

INVITE_TIMEOUT_S: Final = 30.0


def invite(arguments: Namespace) -> int:
    from totemd.client import requests

    request = requests.cluster_invite(int(arguments.ttl), arguments.node_name, arguments.votes)
    found = _ask(arguments, request, INVITE_TIMEOUT_S)
    until = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(found["expires"]))
    address, port = found["contacts"][0]
    text = (
        f"{found['ticket']}\n\nOn the new machine, until {until}:\n  totemctl cluster join TICKET\n"
        f"It must reach {address} at TCP port {port}. Whoever has the ticket can join with it, once."
    )
    say(arguments, text, **found)
    return 0


def remove(arguments: Namespace) -> int:
    from totemd.client import requests

    what = "ending its daemon, then taking it" if arguments.force else "taking it"
    progress(arguments, f"{what} out of the configuration, for up to {arguments.timeout:g} s")
    found = _ask(arguments, requests.cluster_remove(arguments.node, force=arguments.force), arguments.timeout)
    text = f"Node {found['nodeid']} ({found['name']}) is removed: version {found['version']} of the configuration. "
    text += "The others have a new key. " if found["sealed"] else ""
    text += "It may come back with a new ticket only, as a new node."
    say(arguments, text, **found)
    return 0


def leave(arguments: Namespace) -> int:
    from totemd.client import requests

    with blocking.connect(arguments.socket, name="totemctl", timeout_s=arguments.timeout) as client:
        progress(arguments, "giving the votes back")
        found = _call(client, requests.cluster_leave())
        progress(arguments, "waiting for the daemon's end")
        ended = client.wait_closed(arguments.timeout) is not None
    text = (
        f"This node, {found['nodeid']} ({found['name']}), has given its votes back, and its daemon "
        f"{'has ended' if ended else 'has not ended yet: stop it'}. The others take it out for good"
        f"{' and change the key' if found['sealed'] else ''} now. To join a cluster again: "
        "totemctl cluster join --replace TICKET"
    )
    say(arguments, text, **found, ended=ended)
    return 0 if ended else 1


def _ask(arguments: Namespace, request: "Request[dict[str, Any]]", timeout_s: float) -> dict[str, Any]:
    with blocking.connect(arguments.socket, name="totemctl", timeout_s=timeout_s) as client:
        return _call(client, request)


def _call(client: blocking.BlockingClient, request: "Request[dict[str, Any]]") -> dict[str, Any]:
    try:
        return client.call(request)
    except Refused as error:
        if error.code == NO_QUORUM:
            raise NoQuorumError(error.message) from None
        raise CommandError(error.message) from None
