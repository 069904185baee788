"""The text of corosync.conf as replicated data: its version, what two texts differ in, and what a text means.

Members hold the same text; a file on a disk may be written differently (comments, blanks, the order of keys) and mean
the same. `digest` is equal for texts that mean the same (protocol/, chapter "Replicated configuration").
"""

import hashlib
from collections.abc import Iterator
from difflib import unified_diff

from totemd.config.parser import Section, parse
from totemd.errors import ConfigError

VERSION_MAX = 2**63 - 1
"""Of totem.config_version, which corosync reads as a signed 64-bit number."""

DIGEST_SIZE_BYTES = 16

_VERSION_KEY = "config_version"
_BLANKS = " \t\r\v\f"

_REPEATED = ("nodelist.node", "removed.node", "totem.interface", "logging.logger_subsys", "uidgid")
"""Sections of which each stands for itself; all others with one path are one section, the last value winning."""


def with_version(text: str, version: int) -> str:
    """`text` with totem.config_version set to `version` and everything else as it was.

    ConfigError if the text is no configuration, ValueError if no file can hold that version.
    """
    if not 0 <= version <= VERSION_MAX:
        raise ValueError(f"{version} is no version: 0 to {VERSION_MAX} are")
    lines = text.split("\n")
    totem = [section for section in _sections(parse(text, "configuration")) if section.path == "totem"]
    given = [setting.line for section in totem for setting in section.settings if setting.key == _VERSION_KEY]
    for number in given:
        lines[number - 1] = _rewritten(lines[number - 1], version)
    if not given and totem:
        lines.insert(totem[0].line, f"{_indentation(totem[0], lines)}{_VERSION_KEY}: {version}")
    elif not given:
        lines[:0] = ["totem {", f"    {_VERSION_KEY}: {version}", "}"]
    return "\n".join(lines)


def difference(old: str, new: str, old_name: str = "before", new_name: str = "after") -> str:
    """What leads from `old` to `new`, as a unified diff; "" if they have the same lines."""
    before, after = (text.removesuffix("\n").split("\n") for text in (old, new))
    found = unified_diff(before, after, old_name, new_name, lineterm="")
    return "".join(f"{line}\n" for line in found)


def digest(text: str) -> bytes:
    """16 bytes that are equal for texts of one meaning: comments, blanks, the order of keys and totem.config_version
    do not count. Never raises: of a text that is no configuration every character counts."""
    try:
        tables = _tables(parse(text, "configuration"))
    except ConfigError:
        return hashlib.sha256(b"text " + text.encode("utf-8", "surrogatepass")).digest()[:DIGEST_SIZE_BYTES]
    tables.get("totem", {}).pop(_VERSION_KEY, None)
    hashed = hashlib.sha256(b"configuration ")
    for path in sorted(tables):
        for key in sorted(tables[path]):
            for part in (path, key, tables[path][key]):
                data = part.encode("utf-8", "surrogatepass")
                hashed.update(len(data).to_bytes(4, "big") + data)
    return hashed.digest()[:DIGEST_SIZE_BYTES]


def forgotten(old: str, new: str) -> list[str]:
    """Nodes that section `removed` has in `old` and not in `new`, by name or id. ConfigError if one is no
    configuration."""
    kept = {_tombstone(section) for section in _removed(new)}
    lost = [section for section in _removed(old) if _tombstone(section) not in kept]
    return [_value(section, "name") or f"node {_value(section, 'nodeid')}" for section in lost]


def dropped(old: str, new: str) -> list[str]:
    """Nodes that the nodelist has in `old` and not in `new`, by name or id. ConfigError if one is no configuration."""
    kept = {_value(section, "nodeid") for section in _listed(new)}
    lost = [section for section in _listed(old) if _value(section, "nodeid") not in kept]
    return [_value(section, "name") or f"node {_value(section, 'nodeid')}" for section in lost]


def _listed(text: str) -> list[Section]:
    return [section for section in _sections(parse(text, "configuration")) if section.path == "nodelist.node"]


def _removed(text: str) -> list[Section]:
    return [section for section in _sections(parse(text, "configuration")) if section.path == "removed.node"]


def _tombstone(section: Section) -> tuple[str, str]:
    return _value(section, "nodeid"), _value(section, "uuid")


def _value(section: Section, key: str) -> str:
    return next((setting.value for setting in reversed(section.settings) if setting.key == key), "")


def _sections(root: Section) -> Iterator[Section]:
    """All of them in the order of the file, without recursion: a hostile file may be deep."""
    pending = [root]
    while pending:
        section = pending.pop()
        yield section
        pending.extend(reversed(section.sections))


def _tables(root: Section) -> dict[str, dict[str, str]]:
    """Values by the sections' paths, in which those that stand for themselves have a number."""
    tables: dict[str, dict[str, str]] = {}
    counts: dict[str, int] = {}
    for section in _sections(root):
        path = section.path
        if path in _REPEATED:
            counts[path] = counts.get(path, 0) + 1
            path = f"{path}.{counts[path]}"
        if section.settings:
            tables.setdefault(path, {}).update((setting.key, setting.value) for setting in section.settings)
    return tables


def _rewritten(line: str, version: int) -> str:
    blanks = line[: len(line) - len(line.lstrip(_BLANKS))]
    return f"{blanks}{_VERSION_KEY}: {version}" + ("\r" if line.endswith("\r") else "")


def _indentation(section: Section, lines: list[str]) -> str:
    if not section.settings:
        return "    "
    first = lines[section.settings[0].line - 1]
    return first[: len(first) - len(first.lstrip(_BLANKS))]
