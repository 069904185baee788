"""What all sessions of one node share: the services they call and who waits for room in the send queue."""

from typing import TYPE_CHECKING

from totemd.errors import Code, ServiceError
from totemd.ipc.access import AccessPolicy
from totemd.ipc.backlog import Backlog
from totemd.ipc.cluster_requests import ClusterPort, NotManaged
from totemd.ipc.config_requests import ConfigurationPort
from totemd.ipc.config_requests import NotManaged as ConfigurationNotManaged
from totemd.ipc.events import DeliverEncoder
from totemd.ipc.ports import Credentials, NodePort, SharedBuffer, SharedBuffers
from totemd.services.cfg import Cfg
from totemd.services.cmap import Cmap
from totemd.services.cpg import Cpg
from totemd.services.quorum import Quorum
from totemd.services.votequorum.service import VoteQuorum

if TYPE_CHECKING:
    from totemd.ipc.session import Session


class NoSharedBuffers:
    """Where there are no files."""

    def open(self, path: bytes, size_bytes: int, owner: Credentials) -> SharedBuffer:
        raise ServiceError(Code.NOT_SUPPORTED, "this node reads no files of clients")


class Services:
    """One per node; `votequorum` is None without a quorum provider."""

    def __init__(
        self,
        *,
        node: NodePort,
        access: AccessPolicy,
        cpg: Cpg,
        cmap: Cmap,
        cfg: Cfg,
        quorum: Quorum,
        votequorum: VoteQuorum | None,
    ) -> None:
        self.node = node
        self.access = access
        self.cpg = cpg
        self.cmap = cmap
        self.cfg = cfg
        self.quorum = quorum
        self.votequorum = votequorum
        self.shared_buffers: SharedBuffers = NoSharedBuffers()
        """The shell puts its own here."""
        self.cluster: ClusterPort = NotManaged()
        """In a managed cluster the shell puts its own here."""
        self.replicated: ConfigurationPort = ConfigurationNotManaged()
        """The same for the configuration."""
        self.backlog = Backlog()
        self.deliver_encoder = DeliverEncoder()
        self.waiting: dict[Session, None] = {}
        """Sessions that got try_again and no "ready" since, in the order of asking."""
        self.resumable: dict[Session, None] = {}
        """Sessions that were blocked, and are to be resumed: the shell takes them out of here."""
        self.with_output: dict[Session, None] = {}
        """Sessions that have had something to write since the shell looked: it takes them out of here."""

    def queue_became_ready(self) -> None:
        """Tell every waiting session, once.

        The node calls this after each visit of the token that finds room in the send queue and no synchronization in
        progress, and when synchronization has completed; not only when that changes, since a request may have got
        try_again for another reason (a leave that is still under way). It costs nothing while nobody waits.
        """
        waiting, self.waiting = self.waiting, {}
        for session in waiting:
            session.queue_became_ready()
