"""`totemctl cluster config show|diff|validate|history`, which change nothing, and `keygen`."""

import errno
import os
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import Final

from totemd.cli.commands_ring import CommandError, connect, print_json
from totemd.client.config_records import ChangeOutcome, ConfigurationVersion, HistoryEntry
from totemd.cluster.text import difference, digest
from totemd.config.parser import FILE_SIZE_MAX, parse
from totemd.errors import printable
from totemd.shell.state import sync_directory

SAME: Final = 0
DIFFERENT: Final = 1
REFUSED: Final = 1
NOT_QUORATE: Final = 2

KEY_SIZE: Final = 256
"""Bytes of a new key file, which is what corosync-keygen makes as well: random, and nothing else."""


def show(arguments: Namespace) -> int:
    """`config show`."""
    with connect(arguments) as client:
        found = client.config_show(arguments.version)
    if found.text is None:
        raise CommandError(f"the text of version {found.version} is not kept any more")
    if arguments.json:
        print_json(found)
    else:
        sys.stdout.write(found.text)
        if arguments.version is None and found.edited:
            print(f"totemctl: note: {found.file} {found.problem} (config diff shows it)", file=sys.stderr)
    return 0


def diff(arguments: Namespace) -> int:
    """`config diff`."""
    with connect(arguments) as client:
        found = client.config_show(arguments.version)
    if found.text is None:
        raise CommandError(f"the text of version {found.version} is not kept any more")
    path = arguments.file or found.file
    text = read_text(path)
    lines = difference(found.text, text, f"version {found.version}", path)
    different = digest(found.text) != digest(text)
    if arguments.json:
        facts = {"version": found.version, "file": path, "different": different, "difference": lines}
        print_json(facts)
    elif lines:
        sys.stdout.write(shown(lines))
        if not different:
            print("Both mean the same.")
    else:
        print(f"{path} is version {found.version}.")
    return DIFFERENT if different else SAME


def validate(arguments: Namespace) -> int:
    """`config validate`."""
    with connect(arguments) as client:
        path = arguments.file or client.config_show().file
        text = read_text(path)
        parse(text, path)
        outcome = client.config_validate(text)
    if arguments.json:
        facts = {"file": path, "valid": outcome.accepted, "reasons": outcome.reasons, "why": outcome.why}
        print_json({**facts, "after_restart": outcome.after_restart})
    elif outcome.accepted:
        print(f"{path} would do: every node that is present accepts it. Nothing was changed.")
        tell_restart(outcome)
    else:
        print_refusal(f"{path} would not do", outcome)
    return 0 if outcome.accepted else REFUSED if outcome.quorate else NOT_QUORATE


def history(arguments: Namespace) -> int:
    """`config history`."""
    with connect(arguments) as client:
        entries = client.config_history()
        now = client.config_show()
    if arguments.limit:
        entries = entries[-arguments.limit :]
    if arguments.json:
        print_json({"version": now.version, "entries": entries})
    else:
        sys.stdout.write(history_text(entries, now))
    return 0


def history_text(entries: tuple[HistoryEntry, ...], now: ConfigurationVersion) -> str:
    """A line for each change, the latest last, and why those were refused that were."""
    lines = [f"{'Version':>7}  {'When':<19}  {'Kind':<10}  {'Outcome':<11}  What"]
    for entry in entries:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.when)) if entry.when else ""
        mark = "*" if entry.version == now.version and entry.outcome == "committed" else " "
        what = printable(entry.what) + (f" ({printable(entry.who)})" if entry.who else "")
        lines.append(f"{mark}{entry.version:>6}  {when:<19}  {entry.kind:<10}  {entry.outcome:<11}  {what}")
        lines += [f"{'':>9}{printable(entry.why)}"] if entry.why else []
        lines += [f"{'':>9}{printable(r.name or f'node {r.nodeid}')}: {printable(r.reason)}" for r in entry.reasons]
    lines.append("* in force" if now.confirmed else "* in force, not confirmed yet")
    return "\n".join(lines) + "\n"


def keygen(arguments: Namespace) -> int:
    """`keygen`."""
    file = Path(arguments.file)
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            _write_key(file, descriptor)
        except OSError:
            # Half a key is none, and would keep the next attempt from making one.
            file.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
    except FileExistsError:
        raise CommandError(
            f"{file} exists, and is left as it is: whoever has it could read the ring no more without it. Move it away "
            "first, or name another file"
        ) from None
    except OSError as error:
        raise CommandError(f"cannot write {file}: {error.strerror}") from None
    if arguments.json:
        print_json({"file": str(file), "size": KEY_SIZE})
    else:
        print(f"{file} has a new key of {KEY_SIZE} bytes. All nodes of the ring need the same, readable by root alone.")
    return 0


def _write_key(file: Path, descriptor: int) -> None:
    """A new key, durably; OSError unless all of it is there."""
    if os.write(descriptor, os.urandom(KEY_SIZE)) != KEY_SIZE:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.fsync(descriptor)
    sync_directory(file.parent)


def read_text(path: str) -> str:
    """A file's text, of "-" what comes on standard input. CommandError."""
    try:
        if path == "-":
            data = sys.stdin.buffer.read(FILE_SIZE_MAX + 1)
        else:
            with open(path, "rb") as opened:
                data = opened.read(FILE_SIZE_MAX + 1)
        if len(data) > FILE_SIZE_MAX:
            raise CommandError(f"{path} has more than {FILE_SIZE_MAX} bytes, which no configuration has")
        return data.decode()
    except UnicodeDecodeError as error:
        raise CommandError(f"{path}: byte {error.start} is not UTF-8 text") from None
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror}") from None


def shown(lines: str) -> str:
    """Text of somebody's file, for a terminal: whatever would steer it is spelt out."""
    return "".join(f"{printable(line.replace(chr(9), '    '))}\n" for line in lines.splitlines())


def tell_restart(outcome: ChangeOutcome) -> None:
    """What does not take effect at once."""
    if outcome.after_restart:
        print(
            f"Only when the daemons are started anew: {', '.join(map(printable, outcome.after_restart))}.\n"
            "What concerns the packets (transport, ciphers, sizes) must change on all nodes at once: stop all daemons,"
            "\nthen start them."
        )


def print_refusal(what: str, outcome: ChangeOutcome) -> None:
    """Why not, a line for each node, on stderr."""
    print(f"totemctl: {what}" + (f": {printable(outcome.why)}" if outcome.why else ":"), file=sys.stderr)
    for reason in outcome.reasons:
        name = printable(reason.name or f"node {reason.nodeid}")
        print(f"  {name}: {printable(reason.reason)}", file=sys.stderr)
