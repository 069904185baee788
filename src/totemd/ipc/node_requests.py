"""Requests that the node itself answers: ping, status, nodes, stats; and track and untrack."""

from typing import TYPE_CHECKING

from totemd.errors import Code, ServiceError
from totemd.ipc.arguments import BOOLEAN, IDENT, Argument, Arguments
from totemd.ipc.events import membership_map
from totemd.ipc.subscriptions import GroupSubscription
from totemd.ipc.table import Request
from totemd.ipc.track import TrackSubscription, quorum_now

if TYPE_CHECKING:
    from totemd.ipc.session import Session


def _ping(session: "Session", ident: int, given: Arguments) -> object:
    return {"time": session.services.node.now}


def _status(session: "Session", ident: int, given: Arguments) -> object:
    return session.services.node.status()


def _nodes(session: "Session", ident: int, given: Arguments) -> object:
    return {"nodes": session.services.node.nodes()}


def _stats(session: "Session", ident: int, given: Arguments) -> object:
    return session.services.node.stats()


def _track(session: "Session", ident: int, given: Arguments) -> object:
    session.check_subscription(ident)
    subscription = TrackSubscription(session, ident)
    subscription.start()
    session.subscriptions[ident] = subscription
    if not given["current"]:
        return {"membership": None, "quorum": None}
    membership = session.services.node.current_membership()
    return {
        "membership": None if membership is None else membership_map(membership),
        "quorum": quorum_now(session.services),
    }


def _untrack(session: "Session", ident: int, given: Arguments) -> object:
    subscription = session.subscriptions.get(given["id"])
    if subscription is None:
        raise ServiceError(Code.NOT_EXIST, f"this connection has no subscription with the id {given['id']}")
    if isinstance(subscription, GroupSubscription):
        raise ServiceError(Code.INVALID_PARAM, f"the subscription {given['id']} is a group; leave it with cpg_leave")
    subscription.disconnect()
    del session.subscriptions[given["id"]]
    return {}


NODE_REQUESTS = (
    Request("ping", (), _ping),
    Request("status", (), _status),
    Request("nodes", (), _nodes),
    Request("stats", (), _stats),
    Request("track", (Argument("current", BOOLEAN, False, True),), _track),
    Request("untrack", (Argument("id", IDENT),), _untrack),
)
