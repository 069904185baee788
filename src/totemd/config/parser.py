"""The syntax of corosync.conf: text -> sections and settings with their line numbers (corosync.conf(5)).

A line is, tried in this order: a comment (`#` first) or blank; a section's start when it contains `{`; a setting
`key: value` when it contains `:`; a section's end when it contains `}`. So a value cannot contain `{`, and a comment
cannot follow anything on its line. Meaning is given to the result by `schema` and `document`.
"""

import re

from totemd.errors import ConfigError
from totemd.record import record

FILE_SIZE_MAX = 1024 * 1024
"""Characters of a file; 384 nodes with every option need a tenth of it."""

LINE_SIZE_MAX = 510
"""Bytes of a line without its newline: corosync reads lines into a buffer of 512."""

PATH_SIZE_MAX = 255
"""Characters of a dotted path, because it becomes a cmap key."""

_BLANKS = " \t\r\v\f"
NAME = re.compile(r"[A-Za-z0-9_/-]+")
"""Names of keys and sections: what a cmap key allows, without the dot that joins them."""

_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")


@record
class Setting:
    """One `key: value` line."""

    key: str
    value: str
    line: int


@record
class Section:
    """One `name { ... }` with its settings and sections in the order of the file. The whole file has path ""."""

    path: str
    line: int
    settings: list[Setting]
    sections: list["Section"]


def parse(text: str, file: str) -> Section:
    """The tree of a configuration file. Raises ConfigError naming file and line for everything that is no syntax."""
    if len(text) > FILE_SIZE_MAX:
        raise ConfigError(f"the file has {len(text)} characters; at most {FILE_SIZE_MAX} are allowed", file=file)
    root = Section("", 0, [], [])
    open_sections = [root]
    for number, raw in enumerate(text.split("\n"), 1):
        try:
            _parse_line(_cleaned(raw), number, open_sections)
        except _SyntaxError as error:
            raise ConfigError(str(error), file=file, line=number, key=open_sections[-1].path) from None
    if len(open_sections) > 1:
        left = open_sections[-1]
        raise ConfigError(
            f"this section is never closed; add a line with }} (the file ends at line {text.count(chr(10)) + 1})",
            file=file,
            line=left.line,
            key=left.path,
        )
    return root


class _SyntaxError(Exception):
    """A line that breaks the rules; becomes a ConfigError with its place."""


def _cleaned(raw: str) -> str:
    size = len(raw.encode("utf-8", "surrogatepass"))
    if size > LINE_SIZE_MAX and not raw.strip(_BLANKS).startswith("#"):
        raise _SyntaxError(f"the line has {size} bytes; at most {LINE_SIZE_MAX} are allowed")
    line = raw.strip(_BLANKS)
    if not line.startswith("#") and (found := _CONTROL.search(line)):
        raise _SyntaxError(f"the line contains the control character {found.group()!r}; remove it")
    return line


def _parse_line(line: str, number: int, open_sections: list[Section]) -> None:
    if not line or line.startswith("#"):
        return
    here = open_sections[-1]
    if "{" in line:
        open_sections.append(_open_section(line, number, here))
        here.sections.append(open_sections[-1])
    elif ":" in line:
        key, _, value = line.partition(":")
        key = _checked_name(key.strip(_BLANKS), here.path, "key")
        here.settings.append(Setting(key, value.strip(_BLANKS), number))
    elif "}" in line:
        if line != "}":
            raise _SyntaxError(f'found "{line}"; a closing }} stands alone on its line')
        if len(open_sections) == 1:
            raise _SyntaxError("unexpected }: no section is open here; remove it")
        open_sections.pop()
    else:
        raise _SyntaxError(f'found "{line}"; a line is a section start "name {{", a setting "key: value" or "}}"')


def _open_section(line: str, number: int, parent: Section) -> Section:
    name, _, rest = line.partition("{")
    if rest.strip(_BLANKS):
        hint = "; a value cannot contain {" if ":" in name else "; begin a new line after {"
        raise _SyntaxError(f'found "{rest.strip(_BLANKS)}" after {{{hint}')
    # corosync drops a colon between name and brace as well.
    name = _checked_name(name.strip(_BLANKS + ":"), parent.path, "section name")
    return Section(f"{parent.path}.{name}" if parent.path else name, number, [], [])


def _checked_name(name: str, path: str, what: str) -> str:
    if not name:
        raise _SyntaxError(f"a {what} is missing")
    if not NAME.fullmatch(name):
        # corosync lets a dot through, which would be a way to name an inner section's key without its section's rules.
        raise _SyntaxError(f'"{name}" is no {what}: only letters, digits, _ - and / are allowed')
    if len(path) + 1 + len(name) > PATH_SIZE_MAX:
        raise _SyntaxError(f"the path of this {what} exceeds {PATH_SIZE_MAX} characters")
    return name


def value_of(root: Section, path: str, key: str) -> str | None:
    """What `key` of the section `path` says in the whole file: the last one counts. None: nothing does."""
    settings = (setting for section in root.sections if section.path == path for setting in section.settings)
    found = [setting.value for setting in settings if setting.key == key]
    return found[-1] if found else None
