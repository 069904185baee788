"""Talk to totemd from Python: `open_client` for trio programs, `totemd.client.blocking` for scripts.

    import trio
    from totemd.client import open_client

    async def main() -> None:
        async with open_client() as client:
            print((await client.status()).quorate)

    trio.run(main)

Names are imported when they are first used, so that scripts which only need the blocking client do not pay for trio.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from totemd.client._trio import Client, Group, Subscription, Tracker, open_client
    from totemd.client.errors import (
        CannotConnect,
        ConnectionLost,
        CutOff,
        ProtocolError,
        Refused,
        TotemdClientError,
        TryAgain,
    )
    from totemd.client.records import (
        CmapChanged,
        CmapValue,
        DaemonRestarted,
        Delivered,
        ExpectedVotes,
        GroupChange,
        GroupInfo,
        GroupMember,
        Member,
        MembersChanged,
        Membership,
        Node,
        QuorumStatus,
        Status,
        Synchronized,
        Votes,
        Welcome,
    )

__all__ = [
    "CannotConnect",
    "Client",
    "CmapChanged",
    "CmapValue",
    "ConnectionLost",
    "CutOff",
    "DaemonRestarted",
    "Delivered",
    "ExpectedVotes",
    "Group",
    "GroupChange",
    "GroupInfo",
    "GroupMember",
    "Member",
    "MembersChanged",
    "Membership",
    "Node",
    "ProtocolError",
    "QuorumStatus",
    "Refused",
    "Status",
    "Subscription",
    "Synchronized",
    "TotemdClientError",
    "Tracker",
    "TryAgain",
    "Votes",
    "Welcome",
    "open_client",
]

_FROM_TRIO = {"Client", "Group", "Subscription", "Tracker", "open_client"}
_FROM_ERRORS = {
    "CannotConnect",
    "ConnectionLost",
    "CutOff",
    "ProtocolError",
    "Refused",
    "TotemdClientError",
    "TryAgain",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "_trio" if name in _FROM_TRIO else "errors" if name in _FROM_ERRORS else "records"
    return getattr(import_module(f"{__name__}.{module}"), name)
