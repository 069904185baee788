"""Who may use the native socket, decided once per connection from what the kernel says about the peer.

Root and the daemon's own user may do everything, and so may the users and groups that the configuration's `uidgid`
sections list (corosync.conf(5)): there is no half access, as a process that may multicast can already do harm.
Everybody else is refused with a text that says what the operator has to write.
"""

from totemd.config.model import AccessSettings
from totemd.ipc.ports import Credentials

ROOT_UID = 0


class AccessPolicy:
    """The decision; `settings` may be replaced at any time and holds for connections made from then on."""

    def __init__(self, own_uid: int, settings: AccessSettings) -> None:
        self.own_uid = own_uid
        self.settings = settings

    def refusal(self, peer: Credentials) -> str | None:
        """None: the peer may do everything. Otherwise why not, and what to do about it."""
        if peer.uid in (ROOT_UID, self.own_uid):
            return None
        if peer.uid in self.settings.uids or peer.gid in self.settings.gids:
            return None
        return (
            f"uid {peer.uid} (gid {peer.gid}) may not use this socket; allowed are root, uid {self.own_uid} "
            f"and those listed in the configuration: add `uidgid {{ uid: {peer.uid} }}` to corosync.conf and reload"
        )
