"""Who may use the daemon's sockets, decided once per connection from what the kernel says about the peer.

Root and the daemon's own user may do everything, and so may the users and groups that the configuration's `uidgid`
sections list (corosync.conf(5)) and those that a program has granted it at run time, by setting the cmap's key
uidgid.uid.NUMBER or uidgid.gid.NUMBER to 1 (u8): there is no half access, as a process that may multicast can already
do harm. Everybody else is refused with a text that says what the operator has to write.
"""

from collections.abc import Callable

from totemd.config.model import AccessSettings
from totemd.ipc.ports import Credentials

ROOT_UID = 0


class AccessPolicy:
    """The decision; `settings` may be replaced at any time and holds for connections made from then on."""

    def __init__(
        self, own_uid: int, settings: AccessSettings, granted: Callable[[str], bool] = lambda key: False
    ) -> None:
        """`granted`: whether a program has set such a key."""
        self.own_uid = own_uid
        self.settings = settings
        self._granted = granted

    def refusal(self, peer: Credentials) -> str | None:
        """None: the peer may do everything. Otherwise why not, and what to do about it."""
        if peer.uid in (ROOT_UID, self.own_uid):
            return None
        if peer.uid in self.settings.uids or peer.gid in self.settings.gids:
            return None
        if self._granted(f"uidgid.uid.{peer.uid}") or self._granted(f"uidgid.gid.{peer.gid}"):
            return None
        return (
            f"uid {peer.uid} (gid {peer.gid}) may not use this socket; allowed are root, uid {self.own_uid} "
            f"and those listed in the configuration: add `uidgid {{ uid: {peer.uid} }}` to corosync.conf and reload"
        )
