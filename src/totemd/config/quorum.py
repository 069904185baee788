"""Section quorum: which options go together, and what follows from the nodelist (votequorum(5))."""

from collections.abc import Sequence

from totemd.config.document import Document, Table
from totemd.config.model import NodeEntry, QuorumSettings, TieBreaker
from totemd.ids import NodeId

PEER_EXPECTED_VOTES_MAX = 509
"""Above it the quorum exceeds 255, and corosync 3.1 keeps its quorum in eight bits."""


def read_quorum(document: Document, nodes: Sequence[NodeEntry], local: NodeEntry) -> QuorumSettings:
    """The quorum options after all rules. Raises ConfigError for combinations that corosync refuses as well."""
    quorum = document.table("quorum")
    provider = quorum.text("provider")
    if provider is None:
        text = "missing: this node will never report quorum; write provider: corosync_votequorum in section quorum"
        document.warn(quorum.warning("provider", text))
        return QuorumSettings(provider=None, votes=local.quorum_votes)
    _check_device(document, nodes)
    tie_breaker, tie_breaker_nodes = _tie_breaker(document, nodes)
    two_node = _two_node(document, nodes, tie_breaker)
    wait_for_all = quorum.flag("wait_for_all", two_node)
    last_man_standing = _last_man_standing(document, nodes)
    tie_breaker = _odd_votes(document, nodes, tie_breaker, wait_for_all)
    device_model, device_votes, expected_votes = _votes(document, nodes)
    allow_downscale = quorum.flag("allow_downscale")
    window_ms = quorum.number("last_man_standing_window") or 10_000
    device = document.table("quorum.device")
    return QuorumSettings(
        provider=provider,
        expected_votes=expected_votes,
        votes=local.quorum_votes,
        two_node=two_node,
        wait_for_all=wait_for_all,
        last_man_standing=last_man_standing,
        last_man_standing_window_s=window_ms / 1000,
        tie_breaker=tie_breaker,
        tie_breaker_nodes=tie_breaker_nodes if tie_breaker is TieBreaker.LIST else (),
        allow_downscale=allow_downscale,
        expected_votes_tracking=allow_downscale or quorum.flag("expected_votes_tracking"),
        device_model=device_model,
        device_votes=device_votes,
        device_timeout_s=(device.number("timeout") or 10_000) / 1000,
        device_sync_timeout_s=(device.number("sync_timeout") or 30_000) / 1000,
    )


def _check_device(document: Document, nodes: Sequence[NodeEntry]) -> None:
    quorum, device = document.table("quorum"), document.table("quorum.device")
    if not device.text("model"):
        return
    for key in ("two_node", "last_man_standing", "auto_tie_breaker", "allow_downscale"):
        if quorum.flag(key):
            raise quorum.error(key, "cannot be used together with a quorum device; remove one of the two")
    expected, votes = quorum.number("expected_votes"), device.number("votes")
    if expected is not None and votes is None:
        raise device.error("votes", "missing; with quorum.expected_votes given, the device's votes must be given too")
    if votes is None and any(node.quorum_votes != 1 for node in nodes):
        raise device.error("votes", "missing; it is derived only when every node has one vote")
    if votes and expected is not None and expected - votes < 2:
        left = expected - votes
        raise device.error(
            "votes", f"{votes} of {expected} expected votes leave {left} to the nodes; at least 2 must be"
        )


def _tie_breaker(document: Document, nodes: Sequence[NodeEntry]) -> tuple[TieBreaker, tuple[NodeId, ...]]:
    quorum = document.table("quorum")
    text = quorum.text("auto_tie_breaker_node")
    if not quorum.flag("auto_tie_breaker"):
        if text is not None:
            document.warn(quorum.warning("auto_tie_breaker_node", "not obeyed: auto_tie_breaker is not set to 1"))
        return TieBreaker.NONE, ()
    words = ["lowest"] if text is None else text.split()
    if words == ["lowest"]:
        return TieBreaker.LOWEST, ()
    if words == ["highest"]:
        return TieBreaker.HIGHEST, ()
    known = {node.nodeid for node in nodes}
    for word in words:
        if not (word.isascii() and word.isdecimal() and int(word) in known):
            raise quorum.error(
                "auto_tie_breaker_node",
                f'found "{word}"; allowed are lowest, highest or ids of the nodelist ({_ids(known)})',
            )
    if not words:
        raise quorum.error("auto_tie_breaker_node", "found nothing; allowed are lowest, highest or a list of node ids")
    return TieBreaker.LIST, tuple(int(word) for word in words)


def _ids(known: set[NodeId]) -> str:
    first = sorted(known)[:16]
    return " ".join(map(str, first)) + (" ..." if len(known) > len(first) else "")


def _two_node(document: Document, nodes: Sequence[NodeEntry], tie_breaker: TieBreaker) -> bool:
    quorum = document.table("quorum")
    if not quorum.flag("two_node"):
        return False
    if tie_breaker is not TieBreaker.NONE:
        text = "not obeyed: auto_tie_breaker is set, and only one of the two can be; remove one"
    elif len(nodes) > 2:
        text = f"not obeyed: the nodelist has {len(nodes)} nodes, and with more than two each half could be quorate"
    else:
        return True
    document.warn(quorum.warning("two_node", text))
    return False


def _last_man_standing(document: Document, nodes: Sequence[NodeEntry]) -> bool:
    quorum = document.table("quorum")
    if not quorum.flag("last_man_standing"):
        return False
    if any(node.quorum_votes > 1 for node in nodes):
        text = "not obeyed: it needs one vote per node, but the nodelist has nodes with more"
        document.warn(quorum.warning("last_man_standing", text))
        return False
    return True


def _odd_votes(
    document: Document, nodes: Sequence[NodeEntry], tie_breaker: TieBreaker, wait_for_all: bool
) -> TieBreaker:
    """With an odd number of votes the smaller half could break a tie that is none, unless all nodes were seen first."""
    if tie_breaker is TieBreaker.NONE or wait_for_all or sum(node.quorum_votes for node in nodes) % 2 == 0:
        return tie_breaker
    quorum = document.table("quorum")
    if quorum.flag("last_man_standing"):
        raise quorum.error(
            "auto_tie_breaker",
            "with last_man_standing and an odd number of votes it needs wait_for_all; set wait_for_all: 1",
        )
    text = "not obeyed: the number of votes is odd and wait_for_all is not set; set wait_for_all: 1"
    document.warn(quorum.warning("auto_tie_breaker", text))
    return TieBreaker.NONE


def _votes(document: Document, nodes: Sequence[NodeEntry]) -> tuple[str | None, int, int]:
    """Quorum device, its votes, and the expected votes with them."""
    quorum, device = document.table("quorum"), document.table("quorum.device")
    listed = sum(node.quorum_votes for node in nodes)
    given = quorum.number("expected_votes")
    model = device.text("model") or None
    device_votes = 0
    expected = listed if given is None else given
    if model is not None:
        given_votes = device.number("votes")
        device_votes = len(nodes) - 1 if given_votes is None else given_votes
        expected = listed + device_votes if given is None else given
    _check_expected(document, quorum, expected, listed, device_votes)
    return model, device_votes, expected


def _check_expected(document: Document, quorum: Table, expected: int, listed: int, device_votes: int) -> None:
    if expected == 0:
        raise document.table("nodelist").error("", "no node has a vote; give quorum_votes of 1 or more to some")
    if expected > 2**32 - 1:
        raise document.table("nodelist").error("", f"the votes sum up to {expected}; at most {2**32 - 1} are allowed")
    if expected > listed + device_votes:
        text = f"{expected} expected votes, but the nodelist has {listed}; leave it out to count the nodelist's"
        document.warn(quorum.warning("expected_votes", text))
    if expected > PEER_EXPECTED_VOTES_MAX:
        text = f"{expected} expected votes: corosync 3.1 counts a quorum in 8 bits and fails beyond"
        document.warn(quorum.warning("expected_votes", f"{text} {PEER_EXPECTED_VOTES_MAX}"))
