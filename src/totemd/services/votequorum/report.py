"""What an electorate looks like from outside: the reply to GETINFO and the cmap's runtime keys."""

from totemd.config.model import CmapEntry, CmapType, TieBreaker
from totemd.errors import Code, ServiceError
from totemd.ids import NodeId
from totemd.services.votequorum.electorate import Electorate, Voter
from totemd.services.votequorum.events import InfoFlag, NodeInfoReply
from totemd.wire.votequorum import (
    NODE_QDEVICE_ALIVE,
    NODE_QDEVICE_CAST_VOTE,
    NODE_QDEVICE_MASTER_WINS,
    NODE_QDEVICE_REGISTERED,
    U32_MAX,
)

_DEVICE_FLAGS = (
    (NODE_QDEVICE_REGISTERED, InfoFlag.QDEVICE_REGISTERED),
    (NODE_QDEVICE_ALIVE, InfoFlag.QDEVICE_ALIVE),
    (NODE_QDEVICE_CAST_VOTE, InfoFlag.QDEVICE_CAST_VOTE),
    (NODE_QDEVICE_MASTER_WINS, InfoFlag.QDEVICE_MASTER_WINS),
)


def node_info(electorate: Electorate, nodeid: NodeId, device_name: bytes) -> NodeInfoReply:
    """The reply for `nodeid` (0: this node). NOT_EXIST: never seen."""
    voter = electorate.voter(nodeid or electorate.own_nodeid)
    if voter is None:
        raise ServiceError(Code.NOT_EXIST, f"node {nodeid} was never seen")
    present = electorate.present()
    total = sum(member.votes for member in present)
    if voter.flags & NODE_QDEVICE_CAST_VOTE:
        total += electorate.device_votes
    return NodeInfoReply(
        nodeid=voter.nodeid,
        state=voter.state,
        votes=voter.votes,
        expected_votes=voter.expected_votes,
        highest_expected=max((member.expected_votes for member in present), default=0),
        total_votes=total,
        quorum=electorate.quorum,
        flags=_info_flags(electorate, voter),
        qdevice_votes=electorate.device_votes,
        qdevice_name=device_name,
    )


def _info_flags(electorate: Electorate, voter: Voter) -> InfoFlag:
    settings = electorate.settings
    chosen = (
        (settings.two_node, InfoFlag.TWO_NODE),
        (electorate.quorate, InfoFlag.QUORATE),
        (settings.wait_for_all, InfoFlag.WAIT_FOR_ALL),
        (electorate.last_man_standing, InfoFlag.LAST_MAN_STANDING),
        (settings.tie_breaker is not TieBreaker.NONE, InfoFlag.AUTO_TIE_BREAKER),
        (settings.allow_downscale, InfoFlag.ALLOW_DOWNSCALE),
    )
    flags = InfoFlag(0)
    for condition, flag in chosen:
        if condition:
            flags |= flag
    for bit, flag in _DEVICE_FLAGS:
        if voter.flags & bit:
            flags |= flag
    return flags


def runtime_keys(electorate: Electorate, *, reconfigured: bool = False) -> dict[str, CmapEntry]:
    """runtime.votequorum.*: some keys exist only once their feature was used, as in corosync, or once the options have
    been read again (`reconfigured`)."""
    settings = electorate.settings
    keys = {
        "this_node_id": _u32(electorate.own_nodeid),
        "ev_barrier": _u32(electorate.expected_barrier),
        "two_node": CmapEntry(CmapType.U8, int(settings.two_node)),
    }
    if electorate.lowest:
        keys["lowest_node_id"] = _u32(electorate.lowest)
        keys["highest_node_id"] = _u32(electorate.highest)
    if settings.wait_for_all:
        keys["wait_for_all_status"] = CmapEntry(CmapType.U8, int(electorate.waiting_for_all))
    if reconfigured or settings.tie_breaker is not TieBreaker.NONE:
        keys["atb_type"] = _u32(settings.tie_breaker.value)
    if settings.expected_votes_tracking:
        keys["ev_tracking_barrier"] = _u32(electorate.tracked_expected)
    if any(voter.flags & NODE_QDEVICE_MASTER_WINS for voter in electorate.present()):
        keys["qdevice_master_wins"] = CmapEntry(CmapType.U8, 1)
    return {f"runtime.votequorum.{name}": entry for name, entry in keys.items()}


def _u32(value: int) -> CmapEntry:
    return CmapEntry(CmapType.U32, min(value, U32_MAX))
