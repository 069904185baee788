"""Bytes on their way to one client, and the bound on them.

The shell takes chunks, writes them as the socket allows and reports what was written. A client that does not read makes
the sum grow; at CLIENT_BACKLOG_BYTES_MAX it is cut off rather than that the daemon's memory grows with it.
"""

from totemd.limits import CLIENT_BACKLOG_BYTES_MAX


class Outbox:
    """Queued chunks, in order. A chunk is no frame: a frame may be spread over two chunks."""

    __slots__ = ("_chunks", "queued_bytes")

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self.queued_bytes = 0
        """Bytes put and not yet reported as written, whether taken or not."""

    @property
    def overflown(self) -> bool:
        """True once more is queued than a client may leave unread."""
        return self.queued_bytes > CLIENT_BACKLOG_BYTES_MAX

    def put(self, chunk: bytes) -> None:
        """Queue one chunk."""
        self._chunks.append(chunk)
        self.queued_bytes += len(chunk)

    def take(self) -> list[bytes]:
        """All chunks that were not taken yet."""
        chunks = self._chunks
        self._chunks = []
        return chunks

    def written(self, count_bytes: int) -> None:
        """The operating system has taken so many bytes."""
        self.queued_bytes -= count_bytes

    def __bool__(self) -> bool:
        return bool(self._chunks)
