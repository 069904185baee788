"""Requests about the configuration map: cmap_get, cmap_set, cmap_delete, cmap_adjust, cmap_list, cmap_track."""

from typing import TYPE_CHECKING, Final

from totemd.config.model import CmapEntry
from totemd.ipc.arguments import BOOLEAN, SCALAR, Argument, Arguments, choice, integer, text
from totemd.ipc.events import CMAP_TYPES, entry_map
from totemd.ipc.subscriptions import CmapSubscription
from totemd.ipc.table import Request
from totemd.limits import CMAP_KEY_MAX
from totemd.services.cmap import Cmap, Statistics

if TYPE_CHECKING:
    from totemd.ipc.session import Session

# one more than allowed, so that the service says what is wrong with a key
_KEY = Argument("key", text(CMAP_KEY_MAX + 1))

_STATISTICS: Final = "stats"
_MAP = Argument("map", choice("icmap", _STATISTICS), False, "icmap")


def _chosen(session: "Session", given: Arguments) -> Cmap | Statistics:
    cmap = session.services.cmap
    return cmap.statistics if given["map"] == _STATISTICS else cmap


def _get(session: "Session", ident: int, given: Arguments) -> object:
    return {"key": given["key"], **entry_map(_chosen(session, given).get(given["key"]))}


def _set(session: "Session", ident: int, given: Arguments) -> object:
    if given["type"] is None:
        session.services.cmap.set_value(given["key"], given["value"])
    else:
        session.services.cmap.set(given["key"], CmapEntry(CMAP_TYPES[given["type"]], given["value"]))
    return {}


def _delete(session: "Session", ident: int, given: Arguments) -> object:
    session.services.cmap.delete(given["key"])
    return {}


def _adjust(session: "Session", ident: int, given: Arguments) -> object:
    session.services.cmap.adjust(given["key"], given["step"])
    return {}


def _list(session: "Session", ident: int, given: Arguments) -> object:
    entries = _chosen(session, given).iterate(given["prefix"])
    return {"entries": [{"key": key, **entry_map(entry)} for key, entry in entries]}


def _track(session: "Session", ident: int, given: Arguments) -> object:
    session.check_subscription(ident)
    chosen = _chosen(session, given)
    subscription = CmapSubscription(session, ident, chosen)
    chosen.track(subscription, given["prefix"], prefix=not given["exact"])
    session.subscriptions[ident] = subscription
    return {}


CMAP_REQUESTS = (
    Request("cmap_get", (_KEY, _MAP), _get),
    Request("cmap_set", (_KEY, Argument("value", SCALAR), Argument("type", choice(*CMAP_TYPES), False)), _set),
    Request("cmap_delete", (_KEY,), _delete),
    Request("cmap_adjust", (_KEY, Argument("step", integer(-(2**31), 2**31 - 1))), _adjust),
    Request("cmap_list", (Argument("prefix", text(CMAP_KEY_MAX, empty=True), False, ""), _MAP), _list),
    Request(
        "cmap_track",
        (Argument("prefix", text(CMAP_KEY_MAX, empty=True), False, ""), Argument("exact", BOOLEAN, False, False), _MAP),
        _track,
    ),
)
