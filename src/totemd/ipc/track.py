"""Tracking of membership and quorum: what `track` replies, and the events that follow."""

from typing import TYPE_CHECKING, Final

from totemd.ipc.events import membership_map, ring_map
from totemd.ipc.ports import Synchronized
from totemd.ipc.services import Services
from totemd.services.votequorum.electorate import VoterState
from totemd.services.votequorum.events import ExpectedVotesChanged, NodeStanding, QuorumChanged
from totemd.totem.api import ConfigurationChanged

if TYPE_CHECKING:
    from totemd.ipc.session import Session

_STATE_WORDS: Final = {VoterState.MEMBER: "member", VoterState.DEAD: "dead", VoterState.LEAVING: "leaving"}


class TrackSubscription:
    """Hears the node's configurations and, if there is a quorum provider, its verdicts."""

    def __init__(self, session: "Session", ident: int) -> None:
        self._session = session
        self._ident = ident

    def start(self) -> None:
        """Register for everything that changes from now on."""
        services = self._session.services
        services.node.subscribe_membership(self)
        if services.votequorum is not None:
            services.votequorum.track_start(self, current=False, changes=True)

    def disconnect(self) -> None:
        """Hear no more."""
        services = self._session.services
        services.node.unsubscribe_membership(self)
        if services.votequorum is not None:
            services.votequorum.track_stop(self)

    def push(self, event: object) -> None:
        """Queue what the node or the provider says; the provider's node lists say nothing new."""
        if type(event) is ConfigurationChanged:
            self._session.event(self._ident, "membership", membership_map(event))
        elif type(event) is Synchronized:
            self._session.event(self._ident, "synchronized", {"ring": ring_map(event.ring)})
        elif type(event) is QuorumChanged:
            quorum = _quorum_map(self._session.services, event.quorate, event.nodes)
            self._session.event(self._ident, "quorum", quorum)
        elif type(event) is ExpectedVotesChanged:
            self._session.event(self._ident, "expected_votes", {"expected_votes": event.expected_votes})


def quorum_now(services: Services) -> dict[str, object]:
    """The present verdict, in the shape of event "quorum"; without a provider there are no votes."""
    if services.votequorum is not None:
        return _quorum_map(services, services.quorum.get_quorate(), services.votequorum.nodes())
    membership = services.quorum.membership
    return {
        "quorate": services.quorum.get_quorate(),
        "ring": ring_map(membership.ring),
        "expected_votes": 0,
        "total_votes": 0,
        "quorum": 0,
        "nodes": [{"nodeid": nodeid, "state": "member"} for nodeid in membership.members],
    }


def _quorum_map(services: Services, quorate: bool, nodes: tuple[NodeStanding, ...]) -> dict[str, object]:
    assert services.votequorum is not None
    info = services.votequorum.get_info()
    return {
        "quorate": quorate,
        "ring": ring_map(services.quorum.view.ring),
        "expected_votes": info.expected_votes,
        "total_votes": info.total_votes,
        "quorum": info.quorum,
        "nodes": [{"nodeid": node.nodeid, "state": _STATE_WORDS[node.state]} for node in nodes],
    }
