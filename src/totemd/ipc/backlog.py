"""What waits for clients that read slowly, of both fronts together, and the bound on it.

One client alone is cut off at CLIENT_BACKLOG_BYTES_MAX. Many that stay below it could still fill the daemon's memory:
if more than CLIENTS_BACKLOG_BYTES_MAX wait for all of them after everything was written that could be, then clients are
cut off until it is less: of the user for whom most waits, the one with the most. So no user can have others cut off.
"""

from collections import Counter
from collections.abc import Callable

from totemd.limits import CLIENT_BACKLOG_BYTES_MAX, CLIENTS_BACKLOG_BYTES_MAX


class Backlog:
    """One per node."""

    def __init__(self) -> None:
        self.total_bytes = 0
        """Of clients that have not been cut off."""
        self._waiting: dict[Account, None] = {}

    @property
    def too_much(self) -> bool:
        """Whether `enforce` will cut somebody off."""
        return self.total_bytes > CLIENTS_BACKLOG_BYTES_MAX

    def enforce(self) -> None:
        """Cut off whom the bound demands; what could be written has been."""
        while self.too_much:
            by_user: Counter[int] = Counter()
            for account in self._waiting:
                by_user[account.uid] += account.queued_bytes
            uid, _ = by_user.most_common(1)[0]
            worst = max((account for account in self._waiting if account.uid == uid), key=_size)
            total_bytes = self.total_bytes
            worst.cut_off(
                f"client does not read: {worst.queued_bytes} bytes queued, the most of {total_bytes} for all clients"
            )

    def add(self, account: "Account", size_bytes: int) -> None:
        """More waits for a client; called by its account."""
        self._waiting[account] = None
        self.total_bytes += size_bytes

    def remove(self, account: "Account", size_bytes: int) -> None:
        """Less waits for a client; called by its account."""
        self.total_bytes -= size_bytes
        if not account.queued_bytes:
            self._waiting.pop(account, None)

    def forget(self, account: "Account") -> None:
        """A client is gone, or will be soon; called by its account."""
        self._waiting.pop(account, None)
        self.total_bytes -= account.queued_bytes


class Account:
    """What waits for one client of user `uid`."""

    __slots__ = ("_backlog", "_closed", "_cut", "queued_bytes", "uid")

    def __init__(self, backlog: Backlog, uid: int, cut: Callable[[str], None]) -> None:
        """`cut` ends the connection, and must be safe at any time; it may add a farewell."""
        self._backlog = backlog
        self._cut = cut
        self._closed = False
        self.uid = uid
        self.queued_bytes = 0

    def add(self, size_bytes: int) -> None:
        """So many bytes more are queued; too many for this client end its connection."""
        self.queued_bytes += size_bytes
        if self._closed:
            return
        if self.queued_bytes > CLIENT_BACKLOG_BYTES_MAX:
            self.cut_off(f"client does not read: {self.queued_bytes} bytes queued", added_bytes=size_bytes)
        else:
            self._backlog.add(self, size_bytes)

    def remove(self, size_bytes: int) -> None:
        """So many bytes have left the daemon."""
        self.queued_bytes -= size_bytes
        if not self._closed:
            self._backlog.remove(self, size_bytes)

    def cut_off(self, reason: str, *, added_bytes: int = 0) -> None:
        """End the connection; `added_bytes` of what is queued are not counted yet."""
        self.queued_bytes -= added_bytes
        self.close()
        self.queued_bytes += added_bytes
        self._cut(reason)

    def close(self) -> None:
        """What is still queued will leave the daemon's memory soon. Calling it again is fine."""
        if not self._closed:
            self._closed = True
            self._backlog.forget(self)


def _size(account: Account) -> int:
    return account.queued_bytes
