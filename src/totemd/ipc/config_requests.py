"""Requests about the replicated configuration: show, validate, propose, history, rollback, rotate_key. The node's shell
carries them out."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Protocol

from totemd.cluster.change import ROLLBACK_AFTER_DEFAULT_S, ROLLBACK_AFTER_MAX_S, TEXT_MAX_BYTES, VERSION_MAX, WHAT_MAX
from totemd.errors import Code, ServiceError
from totemd.ipc.arguments import Argument, Arguments, integer, text
from totemd.ipc.cluster_requests import Done, answer_by, check_may_change, who_asks
from totemd.ipc.table import LATER, Request

if TYPE_CHECKING:
    from totemd.ipc.session import Session


class ConfigurationPort(Protocol):
    """Who carries them out. `who` says for the history who asks. ServiceError, or `done` with one: refused before
    anybody was asked; what becomes of a change is in the value."""

    def show(self, version: int | None) -> Mapping[str, object]:
        """The version in force, or an earlier one that is still kept."""

    def history(self) -> Mapping[str, object]:
        """The latest changes, the oldest first."""

    def validate(self, text: str, done: Done) -> None:
        """Would this text do, on every node that is present?"""

    def propose(
        self, text: str, base_version: int | None, rollback_after_s: int, who: str, what: str, done: Done
    ) -> None:
        """Have it become the next version; `base_version` is what it was made from."""

    def roll_back(self, version: int | None, who: str, done: Done) -> None:
        """Have the text of an earlier version (None: of the one before) become the next version."""

    def rotate_key(self, who: str, done: Done) -> None:
        """Have the ring sealed with a new key."""


class NotManaged:
    """Where the configuration is kept by hand."""

    def show(self, version: int | None) -> Mapping[str, object]:
        raise _not_managed()

    def history(self) -> Mapping[str, object]:
        raise _not_managed()

    def validate(self, text: str, done: Done) -> None:
        raise _not_managed()

    def propose(
        self, text: str, base_version: int | None, rollback_after_s: int, who: str, what: str, done: Done
    ) -> None:
        raise _not_managed()

    def roll_back(self, version: int | None, who: str, done: Done) -> None:
        raise _not_managed()

    def rotate_key(self, who: str, done: Done) -> None:
        raise _not_managed()


def _not_managed() -> ServiceError:
    return ServiceError(
        Code.NOT_SUPPORTED,
        "this cluster's configuration is kept by hand: it has no totem.cluster_id (totemctl cluster create makes a "
        "cluster that has). Edit corosync.conf on all nodes, then: totemctl reload",
    )


def _show(session: "Session", ident: int, given: Arguments) -> object:
    return session.services.replicated.show(given["version"])


def _history(session: "Session", ident: int, given: Arguments) -> object:
    return session.services.replicated.history()


def _validate(session: "Session", ident: int, given: Arguments) -> object:
    session.services.replicated.validate(given["text"], answer_by(session, ident))
    return LATER


def _propose(session: "Session", ident: int, given: Arguments) -> object:
    check_may_change(session)
    session.services.replicated.propose(
        given["text"],
        given["base_version"],
        given["rollback_after_s"],
        who_asks(session),
        given["what"],
        answer_by(session, ident),
    )
    return LATER


def _rollback(session: "Session", ident: int, given: Arguments) -> object:
    check_may_change(session)
    session.services.replicated.roll_back(given["version"], who_asks(session), answer_by(session, ident))
    return LATER


def _rotate_key(session: "Session", ident: int, given: Arguments) -> object:
    check_may_change(session)
    session.services.replicated.rotate_key(who_asks(session), answer_by(session, ident))
    return LATER


_TEXT: Final = Argument("text", text(TEXT_MAX_BYTES))
_VERSION: Final = integer(0, VERSION_MAX)

CONFIG_REQUESTS = (
    Request("config_show", (Argument("version", _VERSION, False, None),), _show),
    Request("config_history", (), _history),
    Request("config_validate", (_TEXT,), _validate),
    Request(
        "config_propose",
        (
            _TEXT,
            Argument("base_version", _VERSION, False, None),
            Argument("what", text(WHAT_MAX, empty=True), False, ""),
            Argument("rollback_after_s", integer(1, ROLLBACK_AFTER_MAX_S), False, ROLLBACK_AFTER_DEFAULT_S),
        ),
        _propose,
    ),
    Request("config_rollback", (Argument("version", _VERSION, False, None),), _rollback),
    Request("config_rotate_key", (), _rotate_key),
)
