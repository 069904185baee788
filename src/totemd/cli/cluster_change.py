"""`totemctl cluster config edit|apply|rollback` and `rotate-key`: changes, and how they come along."""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from argparse import Namespace
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeAlias

import trio

from totemd.cli import running
from totemd.cli.cluster_config import NOT_QUORATE, REFUSED, print_refusal, read_text, shown, tell_restart
from totemd.cli.command_line import EXIT_ERROR, EXIT_OK
from totemd.cli.commands_ring import CommandError, connect, names_of, print_json
from totemd.client import Client, open_client
from totemd.client.config_records import ChangeOutcome, ChangeProgress, ConfigurationVersion
from totemd.client.errors import TotemdClientError
from totemd.cluster.text import difference, digest
from totemd.config.parser import parse, value_of
from totemd.errors import ConfigError, TotemdError

POLL_S: Final = 0.1
CONFIRM_EXTRA_S: Final = 10.0
"""How much longer than the nodes themselves we wait for the ring to work with a new version."""

ROLLBACK_AFTER_S: Final = 30

Propose: TypeAlias = Callable[[Client], Awaitable[ChangeOutcome]]


def apply(arguments: Namespace) -> int:
    """`config apply`."""
    with connect(arguments) as client:
        now = client.config_show()
        path = arguments.file or now.file
        text = read_text(path)
        base = _base_version(text, path, now, force=arguments.force)
        if digest(text) == digest(now.text or ""):
            return _nothing_to_do(arguments, f"{path} means the same as version {now.version}", now.version)
        if arguments.dry_run:
            outcome = client.config_validate(text)
            return _tell_dry_run(arguments, now, path, text, outcome)
    what = arguments.message or f"{path} applied"
    return _change(arguments, lambda client: _propose(client, text, base, what, arguments.rollback_after))


def rollback(arguments: Namespace) -> int:
    """`config rollback`."""
    return _change(arguments, lambda client: client.config_rollback(arguments.version))


def rotate_key(arguments: Namespace) -> int:
    """`rotate-key`."""
    return _change(arguments, lambda client: client.config_rotate_key())


def edit(arguments: Namespace) -> int:
    """`config edit`."""
    with connect(arguments) as client:
        now = client.config_show()
    if now.text is None:
        raise CommandError("the daemon does not give the text of the version in force")
    directory = Path(tempfile.mkdtemp(prefix="totemctl-"))
    copy = directory / "corosync.conf"
    copy.write_text(now.text)
    status = EXIT_ERROR
    told = False
    try:
        status = _edit_and_change(arguments, copy, now)
    except TotemdError as error:
        if _is_unchanged(copy, now.text):
            raise
        told = True
        raise CommandError(f"{error}; what you wrote is kept in {copy}") from None
    finally:
        # However it ended, by a refusal, a lost daemon, Ctrl-C ...
        if status == EXIT_OK or _is_unchanged(copy, now.text):
            shutil.rmtree(directory)
        elif not told:
            print(f"totemctl: what you wrote is kept in {copy}", file=sys.stderr)
    return status


def _edit_and_change(arguments: Namespace, copy: Path, now: ConfigurationVersion) -> int:
    text = _edited(copy, now, arguments)
    if text is None:
        return _nothing_to_do(arguments, "nothing was changed", now.version)
    what = arguments.message or "edited"
    return _change(arguments, lambda client: _propose(client, text, now.version, what, arguments.rollback_after))


def _is_unchanged(copy: Path, text: str) -> bool:
    with suppress(CommandError):
        return read_text(str(copy)) == text
    return False


async def _propose(client: Client, text: str, base: int, what: str, rollback_after_s: float) -> ChangeOutcome:
    seconds = max(1, round(rollback_after_s))
    return await client.config_propose(text, base_version=base, what=what, rollback_after_s=seconds)


def _base_version(text: str, path: str, now: ConfigurationVersion, *, force: bool) -> int:
    """What the file was made from: the version that it names, or that one raised by hand. CommandError."""
    number = value_of(parse(text, path), "totem", "config_version")
    try:
        version = now.committed_version if number is None else int(number)
    except ValueError:
        raise CommandError(f"{path}: config_version is {number!r}, which is no number") from None
    if version >= now.committed_version or force:
        return now.committed_version
    raise CommandError(
        f"{path} was made from version {version} of the configuration, and version {now.committed_version} is in "
        "force: it would undo what was changed since. See the difference (config diff), make the change in the newer "
        "text (config edit), or say --force"
    )


def _nothing_to_do(arguments: Namespace, text: str, version: int) -> int:
    if arguments.json:
        print_json({"accepted": True, "changed": False, "version": version})
    else:
        print(f"{text[0].upper()}{text[1:]}: there is nothing to do.")
    return 0


def _tell_dry_run(arguments: Namespace, now: ConfigurationVersion, path: str, text: str, outcome: ChangeOutcome) -> int:
    lines = difference(now.text or "", text, f"version {now.version}", path)
    if arguments.json:
        print_json({"accepted": outcome.accepted, "dry_run": True, "difference": lines, "reasons": outcome.reasons})
    else:
        sys.stdout.write(shown(lines))
        if outcome.accepted:
            print("Every node that is present would accept this. Nothing was changed.")
            tell_restart(outcome)
        else:
            print_refusal("this would be refused", outcome)
    return 0 if outcome.accepted else REFUSED


# What a person edits


def _edited(copy: Path, now: ConfigurationVersion, arguments: Namespace) -> str | None:
    """What the person made of the copy and wants applied; None if nothing. CommandError."""
    assert now.text is not None
    while True:
        _run_editor(copy)
        text = read_text(str(copy))
        if text == now.text:
            return None
        problem = _problem(text, copy, arguments)
        if problem is None:
            # With --json standard output is for one object.
            told = sys.stderr if arguments.json else sys.stdout
            told.write(shown(difference(now.text, text, f"version {now.version}", "what you wrote")))
            told.flush()
            if arguments.yes or _asked("Apply this to the whole cluster? [y/N] ", default=False):
                return text
            raise CommandError("not applied")
        print(f"totemctl: {problem}", file=sys.stderr)
        if not _asked("Edit it again? [Y/n] ", default=True):
            raise CommandError("not applied")


def _problem(text: str, copy: Path, arguments: Namespace) -> str | None:
    try:
        parse(text, str(copy))
    except ConfigError as error:
        return str(error)
    with connect(arguments) as client:
        outcome = client.config_validate(text)
    return None if outcome.accepted else f"this would be refused: {outcome.explained()}"


def _run_editor(copy: Path) -> None:
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        words = [*shlex.split(editor), str(copy)]
        ended = subprocess.run(words, check=False)
    except (OSError, ValueError) as error:
        raise CommandError(f"cannot run the editor {editor!r}: {error}; set VISUAL or EDITOR") from None
    if ended.returncode != 0:
        raise CommandError(f"the editor {editor!r} ended with status {ended.returncode}; nothing was applied")


def _asked(question: str, *, default: bool) -> bool:
    """What the person answers; without a terminal nobody can, and it is no."""
    if not sys.stdin.isatty():
        return False
    print(question, end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline()
    if not answer:
        # Ctrl-D: nobody answers any more.
        print(file=sys.stderr)
        return False
    answer = answer.strip().lower()
    return default if not answer else answer.startswith("y")


# How a change comes along


def _change(arguments: Namespace, propose: Propose) -> int:
    """Make a change, and say how it comes along. The exit status."""
    return running.run(_Change(arguments, propose).run)


class _Change:
    """One change under way."""

    def __init__(self, arguments: Namespace, propose: Propose) -> None:
        self._arguments = arguments
        self._propose = propose
        self._names: dict[int, str] = {}
        self._told = ""

    async def run(self) -> int:
        async with open_client(self._arguments.socket, name="totemctl") as client:
            self._names = names_of(await client.nodes())
            outcome = await self._followed(client)
            if not outcome.accepted:
                return self._tell_refusal(outcome)
            self._say(f"Version {outcome.version} is in force on all members.")
            confirmed = await self._confirmed(client, outcome.version)
        if self._arguments.json:
            facts = {"accepted": True, "changed": True, "version": outcome.version, "confirmed": confirmed}
            print_json({**facts, "after_restart": outcome.after_restart})
        elif confirmed:
            print("It is confirmed: there is quorum with it.")
            tell_restart(outcome)
        else:
            print(
                "totemctl: there is no quorum with it (yet); nodes go back to the version before by themselves where "
                "that is safe. totemctl cluster config history tells",
                file=sys.stderr,
            )
        return 0 if confirmed else NOT_QUORATE

    async def _followed(self, client: Client) -> ChangeOutcome:
        failure: TotemdClientError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow, client)
            try:
                outcome = await self._propose(client)
            except TotemdClientError as error:
                # Raised outside the nursery, so that it is not wrapped in an exception group.
                failure = error
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
        return outcome

    async def _follow(self, client: Client) -> None:
        while True:
            try:
                found = await client.config_show()
            except TotemdClientError:
                return
            if found.pending is not None:
                self._tell_progress(found.pending)
            await trio.sleep(POLL_S)

    async def _confirmed(self, client: Client, version: int) -> bool:
        """Whether the ring works with the version, or with a later one, before long."""
        with trio.move_on_after(getattr(self._arguments, "rollback_after", ROLLBACK_AFTER_S) + CONFIRM_EXTRA_S):
            while True:
                found = await client.config_show()
                if found.version > version or (found.version == version and found.confirmed):
                    return True
                if found.version < version:
                    return False
                await trio.sleep(POLL_S)
        return False

    def _tell_progress(self, progress: ChangeProgress) -> None:
        words = [f"version {progress.version}"]
        for verb, nodes in (("prepared by", progress.prepared), ("waiting for", progress.waiting)):
            if nodes:
                words.append(f"{verb} {', '.join(self._names.get(nodeid, str(nodeid)) for nodeid in nodes)}")
        if progress.withdrawn:
            words.append("being withdrawn")
        line = ", ".join(words)
        if line != self._told:
            self._told = line
            self._say(f"{line[0].upper()}{line[1:]}.")

    def _tell_refusal(self, outcome: ChangeOutcome) -> int:
        status = REFUSED if outcome.quorate else NOT_QUORATE
        if self._arguments.json:
            print_json({"accepted": False, "undecided": outcome.undecided, **_reasons(outcome)})
        elif outcome.undecided:
            print_refusal("it is not known yet what becomes of it (totemctl cluster config history)", outcome)
        else:
            print_refusal("refused, and nothing was changed", outcome)
        return status

    def _say(self, text: str) -> None:
        if not self._arguments.json:
            print(text, flush=True)


def _reasons(outcome: ChangeOutcome) -> dict[str, object]:
    return {"why": outcome.why, "reasons": outcome.reasons, "quorate": outcome.quorate}
