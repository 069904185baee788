"""What clients ask of the replicated configuration, carried out: `ipc.config_requests.ConfigurationPort` of a managed
node.

totemctl -> ipc -> ConfigurationFront -> Proposer -> service "changes"
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import trio

from totemd.cluster.change import Change, HistoryEntry
from totemd.cluster.text import digest, dropped, forgotten
from totemd.config.reload import compare
from totemd.errors import Code, ConfigError, OperatorError, ServiceError, TotemdError
from totemd.ids import NodeId
from totemd.ipc.cluster_requests import Done
from totemd.node import Node
from totemd.services.changes.api import Outcome
from totemd.services.changes.service import Changes
from totemd.shell.answering import answer
from totemd.shell.configuration_files import FileState
from totemd.shell.configuration_keeper import ParseText
from totemd.shell.proposing import Compose, Proposer

NOBODY: Final[NodeId] = 0
"""No node: a new key is for all of them."""

VERSIONS_OF: Final = ("committed", "superseded", "reverted", "rolled-back")
"""Outcomes of changes that were in force once."""


DRY_RUNS_MAX: Final = 20
DRY_RUN_PAUSE_S: Final = 0.5


class _TooLate(OperatorError):
    """What the change was made from is not in force any more."""


def _made_from(base: int, text: str) -> Compose:
    """`text`, as long as the version in force is `base`."""

    def compose(current: Change) -> str:
        if current.version != base:
            raise _TooLate(
                f"it was made from version {base}, and version {current.version} is in force; make it anew from "
                "that one (totemctl cluster config show)"
            )
        return text

    return compose


class ConfigurationFront:
    """One per managed node. `file_state` tells what corosync.conf was when it was last looked at."""

    def __init__(
        self,
        node: Node,
        changes: Changes,
        proposer: Proposer,
        file_state: Callable[[], FileState],
        parse: ParseText,
        pump: Callable[[], None],
    ) -> None:
        self._node = node
        self._changes = changes
        self._proposer = proposer
        self._file_state = file_state
        self._parse = parse
        self._pump = pump

    async def run(self, nursery: trio.Nursery) -> None:
        """What takes time goes into `nursery`."""
        self._nursery = nursery

    # What clients ask for

    def show(self, version: int | None) -> Mapping[str, object]:
        current, active = self._changes.current(), self._changes.active()
        shown = active if version is None else self._version(version)
        file = self._file_state()
        return {
            "version": shown.version,
            "committed_version": current.version,
            "confirmed": self._changes.confirmed,
            "digest": digest(shown.text or "").hex(),
            "kind": shown.kind,
            "who": shown.who,
            "when": shown.when,
            "what": shown.what,
            "text": shown.text,
            "file": file.path,
            "edited": file.edited,
            "problem": file.problem,
            "pending": self._pending(),
        }

    def history(self) -> Mapping[str, object]:
        return {"entries": [self._entry(entry) for entry in self._changes.history()]}

    def validate(self, text: str, done: Done) -> None:
        self._check(text)

        async def validate() -> dict[str, object]:
            later = await self._after_restart(text)
            outcome = await self._dry_run(text)
            for _ in range(DRY_RUNS_MAX):
                if not outcome.again:
                    break
                await trio.sleep(DRY_RUN_PAUSE_S)
                outcome = await self._dry_run(text)
            return self._outcome(outcome, later)

        self._answer(validate, done)

    def propose(
        self, text: str, base_version: int | None, rollback_after_s: int, who: str, what: str, done: Done
    ) -> None:
        base = self._changes.current().version if base_version is None else base_version
        self._check(text)

        compose = _made_from(base, text)

        async def propose() -> dict[str, object]:
            later = await self._after_restart(text)
            outcome = await self._proposer.propose(
                "edit", compose, who=who, what=what or "edited", rollback_after_s=rollback_after_s
            )
            return self._outcome(outcome, later)

        self._answer(propose, done)

    def roll_back(self, version: int | None, who: str, done: Done) -> None:
        base = self._changes.current().version
        entry = self._version(self._version_before() if version is None else version)
        if entry.text is None:
            raise ServiceError(Code.NOT_EXIST, f"the text of version {entry.version} is not kept any more")
        text = entry.text
        self._check(text)

        # What is committed in between (a removal, say) was not seen by the check, and would be undone.
        compose = _made_from(base, text)

        async def propose() -> dict[str, object]:
            later = await self._after_restart(text)
            what = f"back to version {entry.version}"
            return self._outcome(await self._proposer.propose("rollback", compose, who=who, what=what), later)

        self._answer(propose, done)

    def rotate_key(self, who: str, done: Done) -> None:
        if self._node.sealing is None:
            raise ServiceError(
                Code.NOT_SUPPORTED, "this ring is open (crypto_cipher: none), so there is no key to rotate"
            )

        async def propose() -> dict[str, object]:
            return self._outcome(
                await self._proposer.propose(
                    "rotate-key", lambda current: current.text, who=who, what="a new key", new_key_without=NOBODY
                )
            )

        self._answer(propose, done)

    # Within

    async def _dry_run(self, text: str) -> Outcome:
        decided = trio.Event()
        outcomes: list[Outcome] = []

        def answered(outcome: Outcome) -> None:
            outcomes.append(outcome)
            decided.set()

        self._node.set_time(trio.current_time())
        self._changes.dry_run(text, answered)
        self._pump()
        await decided.wait()
        return outcomes[0]

    def _answer(self, work: Callable[[], Awaitable[dict[str, object]]], done: Done) -> None:
        self._nursery.start_soon(answer, self._node, self._pump, work, done)

    async def _after_restart(self, text: str) -> list[str]:
        """Keys that the text changes and that a running daemon does not take over."""
        try:
            meaning = await trio.to_thread.run_sync(self._parse, text, abandon_on_cancel=True)
        except (TotemdError, OSError):
            # What is wrong with it every node will say.
            return []
        if meaning is None:
            return []
        return [change.key for change in compare(self._node.configuration, meaning).kept]

    def _check(self, text: str) -> None:
        """ServiceError if the text takes a node out by the way, undoes a removal, or is no configuration at all."""
        try:
            names = forgotten(self._changes.current().text, text)
            gone = dropped(self._changes.current().text, text)
        except ConfigError as error:
            raise ServiceError(Code.INVALID_PARAM, str(error)) from None
        if names:
            raise ServiceError(
                Code.INVALID_PARAM,
                f"this text has no section removed for {', '.join(names)}: a node that was removed would be let in "
                "again. Keep what section removed has",
            )
        if gone:
            raise ServiceError(
                Code.INVALID_PARAM,
                f"this text has no {', '.join(gone)} in its nodelist: a node is taken out by totemctl cluster remove, "
                "so that it cannot come back and the others get a new key",
            )

    def _version(self, version: int) -> HistoryEntry | Change:
        for change in (self._changes.active(), self._changes.current()):
            if change.version == version:
                return change
        for entry in reversed(self._changes.history()):
            if entry.version == version and entry.outcome in VERSIONS_OF:
                return entry
        raise ServiceError(Code.NOT_EXIST, f"there is no version {version} in the history")

    def _version_before(self) -> int:
        current = self._changes.current().version
        versions = [e.version for e in self._changes.history() if e.outcome in VERSIONS_OF and e.version < current]
        if not versions:
            raise ServiceError(Code.NOT_EXIST, "there is no version before this one")
        return max(versions)

    def _outcome(self, outcome: Outcome, after_restart: Sequence[str] = ()) -> dict[str, object]:
        return {
            "accepted": outcome.accepted,
            "version": outcome.version,
            "reasons": self._reasons(outcome.reasons),
            "why": outcome.why,
            "undecided": outcome.undecided,
            "quorate": outcome.quorate,
            "after_restart": list(after_restart),
        }

    def _entry(self, entry: HistoryEntry) -> dict[str, object]:
        return {
            "version": entry.version,
            "base_version": entry.base_version,
            "kind": entry.kind,
            "who": entry.who,
            "when": entry.when,
            "what": entry.what,
            "outcome": entry.outcome,
            "reasons": self._reasons(entry.reasons),
            "why": entry.why,
            "has_text": entry.text is not None,
        }

    def _reasons(self, reasons: Mapping[NodeId, str]) -> list[dict[str, object]]:
        return [
            {"nodeid": nodeid, "name": self._name(nodeid), "reason": reason}
            for nodeid, reason in sorted(reasons.items())
        ]

    def _pending(self) -> dict[str, object] | None:
        pending = self._changes.pending()
        if pending is None:
            return None
        refused = pending["refused"]
        assert isinstance(refused, dict)
        return {**pending, "refused": self._reasons(refused)}

    def _name(self, nodeid: NodeId) -> str:
        node = self._node.configuration.node(nodeid)
        return "" if node is None else node.name or node.address
