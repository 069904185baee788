"""Sections uidgid, in corosync.conf and in the files of uidgid.d beside it: who else may use the sockets."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

from totemd.config.document import Document, Table
from totemd.config.model import AccessSettings
from totemd.errors import ConfigError

ResolveId: TypeAlias = Callable[[str], int]
"""Name of a user or group -> its number; KeyError (LookupError) when there is none."""

ENTRIES_MAX = 1000


def read_access(
    document: Document, files: Mapping[str, str], resolve_user: ResolveId, resolve_group: ResolveId
) -> AccessSettings:
    """Users and groups, resolved, without repetition. Raises ConfigError, naming the file it means."""
    tables = list(document.uidgid)
    for name in sorted(files):
        tables += _tables_of(name, files[name])
    uids: dict[int, None] = {}
    gids: dict[int, None] = {}
    for table in tables:
        for key, resolve, numbers in (("uid", resolve_user, uids), ("gid", resolve_group, gids)):
            text = table.text(key)
            if text is not None:
                numbers[_number(table, key, text, resolve)] = None
        if len(uids) + len(gids) > ENTRIES_MAX:
            raise table.error("", f"more than {ENTRIES_MAX} users and groups; use a group")
    return AccessSettings(tuple(uids), tuple(gids))


def _tables_of(name: str, text: str) -> list[Table]:
    document = Document(text, name)
    for table in document.all_tables:
        raise ConfigError("only sections uidgid are allowed in this file", file=name, line=table.line, key=table.path)
    return document.uidgid


def _number(table: Table, key: str, text: str, resolve: ResolveId) -> int:
    kind = "user" if key == "uid" else "group"
    if text.isascii() and text.isdecimal() and len(text) <= 10:
        number = int(text)
        if number >= 2**32 - 1:
            raise table.error(key, f"found {text}; {kind} numbers are below {2**32 - 1}")
        return number
    try:
        return resolve(text)
    except (LookupError, OSError, ValueError):
        raise table.error(key, f'there is no {kind} "{text}"; create it or give another name or number') from None
