"""Say when this node's cluster gains or loses quorum, for as long as the script runs; plain Python, no trio.

python examples/watch_quorum.py [SOCKET]
"""

import sys
import time

from totemd.client import blocking
from totemd.client.blocking import TotemdClientError
from totemd.client.records import QuorumStatus


def follow(socket: str | None) -> None:
    """Print changes until the connection is lost."""
    with blocking.connect(socket, name="watch-quorum") as client, client.track() as events:
        for event in events:
            if isinstance(event, QuorumStatus):
                word = "quorate" if event.quorate else "NOT quorate"
                print(f"{word}: {event.total_votes} of {event.expected_votes} votes, ring {event.ring}", flush=True)


def main() -> None:
    while True:
        try:
            follow(sys.argv[1] if len(sys.argv) > 1 else None)
        except TotemdClientError as error:
            print(f"NOT quorate: {error}", flush=True)
            time.sleep(1.0)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print()
