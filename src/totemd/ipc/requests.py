"""All requests of the native socket (protocol/, chapter "Native socket"), by name."""

from typing import Final

from totemd.ipc.arguments import BadRequest, shown, suggestion
from totemd.ipc.cfg_requests import CFG_REQUESTS
from totemd.ipc.cluster_requests import CLUSTER_REQUESTS
from totemd.ipc.cmap_requests import CMAP_REQUESTS
from totemd.ipc.config_requests import CONFIG_REQUESTS
from totemd.ipc.group_requests import GROUP_REQUESTS
from totemd.ipc.node_requests import NODE_REQUESTS
from totemd.ipc.quorum_requests import QUORUM_REQUESTS
from totemd.ipc.table import Request

REQUESTS: Final = {
    request.name: request
    for request in (
        *NODE_REQUESTS,
        *QUORUM_REQUESTS,
        *GROUP_REQUESTS,
        *CMAP_REQUESTS,
        *CFG_REQUESTS,
        *CLUSTER_REQUESTS,
        *CONFIG_REQUESTS,
    )
}


def find_request(name: object) -> Request:
    """The request of that name; BadRequest, with the nearest known name, if there is none."""
    request = REQUESTS.get(name) if type(name) is str else None
    if request is None:
        if name is None:
            raise BadRequest('the request has no "do"; it names what to do, for example "ping"')
        raise BadRequest(f"unknown request {shown(name)}{suggestion(name, REQUESTS)}")
    return request
