"""A counter that is the same on every node: run this on several, type numbers, and all copies show the same sum.

    python examples/replicated_counter.py [SOCKET]

All members apply the same additions in the same order, so no copy needs a lock and none is the master. A newcomer asks
for the value; members answer with theirs at the question's place in the order, and the newcomer adds what came since.
"""

import os
import sys
from contextlib import suppress

import trio

from totemd.client import Delivered, Group, GroupMember, MembersChanged, open_client


async def read_numbers(group: Group) -> None:
    while line := await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
        with suppress(ValueError):
            await group.multicast(b"add %d" % int(line))


async def main() -> None:
    async with open_client(*sys.argv[1:2]) as client, client.join(b"counter") as group, trio.open_nursery() as nursery:
        me = GroupMember(client.welcome.nodeid, os.getpid())
        value, since = None, 0
        nursery.start_soon(read_numbers, group)
        async for event in group:
            if isinstance(event, MembersChanged) and me in [GroupMember(new.nodeid, new.pid) for new in event.joined]:
                if event.members == (me,):
                    value = 0
                else:
                    await group.multicast(b"ask")
            elif isinstance(event, Delivered):
                sender = GroupMember(event.nodeid, event.pid)
                match event.data.split():
                    case [b"add", number]:
                        value, since = None if value is None else value + int(number), since + int(number)
                    case [b"ask"] if sender == me:
                        since = 0
                    case [b"ask"] if value is not None:
                        await group.multicast(b"value %d %d %d" % (sender.nodeid, sender.pid, value))
                    case [b"value", nodeid, pid, base] if value is None and GroupMember(int(nodeid), int(pid)) == me:
                        value = int(base) + since
            print("value:", value, flush=True)


if __name__ == "__main__":
    try:
        trio.run(main)
    except* KeyboardInterrupt:
        pass
