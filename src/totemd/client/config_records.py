"""What the daemon says of the replicated configuration, as records."""

from typing import Any

from totemd.client.records import _get, _ids, _list, _map, _text
from totemd.ids import NodeId
from totemd.record import record


@record
class NodeReason:
    """Why a node refuses."""

    nodeid: NodeId
    name: str
    reason: str


@record
class ChangeProgress:
    """A change that is being decided on. `withdrawn`: it is being taken back."""

    version: int
    kind: str
    who: str
    what: str
    withdrawn: bool
    prepared: tuple[NodeId, ...]
    waiting: tuple[NodeId, ...]
    refused: tuple[NodeReason, ...]


@record
class ConfigurationVersion:
    """One version of the configuration. `when` is in Unix seconds, of the clock of the node where it was proposed."""

    version: int
    kind: str
    who: str
    when: int
    what: str
    text: str | None
    """None: not kept any more."""
    digest: str
    """32 hex digits; the same for texts that mean the same."""
    committed_version: int
    """The latest; higher than the version in force while this node has gone back by itself."""
    confirmed: bool
    """Whether a quorate ring has worked with the latest."""
    file: str
    """This node's corosync.conf."""
    edited: bool
    """Whether the file was edited by hand and says something else than what is in force."""
    problem: str
    pending: ChangeProgress | None


@record
class ChangeOutcome:
    """What became of a proposal. Not `accepted`: `why`, and what each node says against it."""

    accepted: bool
    version: int
    reasons: tuple[NodeReason, ...]
    why: str
    undecided: bool
    """It may still come into force: the history will tell."""
    quorate: bool
    """False: refused for lack of quorum."""
    after_restart: tuple[str, ...] = ()
    """Keys whose new values take effect when the daemons are started anew."""

    def explained(self) -> str:
        """Why it was refused, on one line."""
        words = [f"{reason.name or f'node {reason.nodeid}'}: {reason.reason}" for reason in self.reasons]
        return "; ".join([self.why, *words] if self.why else words) or "it was refused"


@record
class HistoryEntry:
    """A change and what became of it: committed, rejected, aborted, rolled-back, superseded or reverted."""

    version: int
    base_version: int
    kind: str
    who: str
    when: int
    what: str
    outcome: str
    reasons: tuple[NodeReason, ...]
    has_text: bool
    why: str = ""
    """Why it was not made, if no node has said so."""


def decode_version(value: object) -> ConfigurationVersion:
    fields = _map(value, "configuration")
    return ConfigurationVersion(
        version=_get(fields, "version", int),
        kind=_text(fields, "kind"),
        who=_text(fields, "who"),
        when=_get(fields, "when", int),
        what=_text(fields, "what"),
        text=None if fields.get("text") is None else str(_get(fields, "text", str)),
        digest=_text(fields, "digest"),
        committed_version=_get(fields, "committed_version", int),
        confirmed=_get(fields, "confirmed", bool),
        file=_text(fields, "file"),
        edited=_get(fields, "edited", bool),
        problem=_text(fields, "problem"),
        pending=_pending(fields.get("pending")),
    )


def decode_outcome(value: object) -> ChangeOutcome:
    fields = _map(value, "outcome")
    return ChangeOutcome(
        accepted=_get(fields, "accepted", bool),
        version=_get(fields, "version", int),
        reasons=_reasons(fields, "reasons"),
        why=_text(fields, "why"),
        undecided=_get(fields, "undecided", bool),
        quorate=_get(fields, "quorate", bool),
        after_restart=tuple(map(str, _list(fields, "after_restart"))),
    )


def decode_history(value: object) -> tuple[HistoryEntry, ...]:
    return tuple(_entry(_map(entry, "entry")) for entry in _list(_map(value, "history"), "entries"))


def _entry(fields: dict[str, Any]) -> HistoryEntry:
    return HistoryEntry(
        version=_get(fields, "version", int),
        base_version=_get(fields, "base_version", int),
        kind=_text(fields, "kind"),
        who=_text(fields, "who"),
        when=_get(fields, "when", int),
        what=_text(fields, "what"),
        outcome=_text(fields, "outcome"),
        reasons=_reasons(fields, "reasons"),
        has_text=_get(fields, "has_text", bool),
        why=_text(fields, "why"),
    )


def _pending(value: object) -> ChangeProgress | None:
    if value is None:
        return None
    fields = _map(value, "pending")
    return ChangeProgress(
        version=_get(fields, "version", int),
        kind=_text(fields, "kind"),
        who=_text(fields, "who"),
        what=_text(fields, "what"),
        withdrawn=_get(fields, "withdrawn", bool),
        prepared=_ids(fields, "prepared"),
        waiting=_ids(fields, "waiting"),
        refused=_reasons(fields, "refused"),
    )


def _reasons(fields: dict[str, Any], key: str) -> tuple[NodeReason, ...]:
    reasons = [_map(item, "reason") for item in _list(fields, key)]
    return tuple(NodeReason(_get(item, "nodeid", int), _text(item, "name"), _text(item, "reason")) for item in reasons)
