"""Bytes on their way to one client.

The shell takes chunks, writes them as the socket allows and reports what was written. A client that does not read makes
the sum grow, until it is cut off (`ipc.backlog`) rather than that the daemon's memory grows with it.
"""

from totemd.ipc.backlog import Account


class Outbox:
    """Queued chunks, in order. A chunk is no frame: a frame may be spread over two chunks."""

    __slots__ = ("_account", "_chunks")

    def __init__(self, account: Account) -> None:
        self._chunks: list[bytes] = []
        self._account = account
        """Counts the bytes put and not yet reported as written, whether taken or not."""

    def put(self, *chunks: bytes) -> None:
        """Queue a whole frame. Counted as one: the farewell of who is cut off for it comes behind it."""
        self._chunks += chunks
        self._account.add(sum(map(len, chunks)))

    def take(self) -> list[bytes]:
        """All chunks that were not taken yet."""
        chunks = self._chunks
        self._chunks = []
        return chunks

    def written(self, count_bytes: int) -> None:
        """The operating system has taken so many bytes."""
        self._account.remove(count_bytes)

    def __bool__(self) -> bool:
        return bool(self._chunks)
