"""A parsed file with every value checked against the schema: tables of typed values that remember their lines.

Rules that join several values (a node's address, the timeouts, quorum) are in the modules named after them.
"""

import re

from totemd.config.directives import IGNORED_SECTIONS, SCHEMA
from totemd.config.model import CmapEntry, CmapType, ConfigWarning
from totemd.config.parser import NAME, Section, Setting, parse
from totemd.config.schema import Directive, Status, typed
from totemd.errors import ConfigError
from totemd.limits import PROCESSOR_COUNT_MAX, REMOVED_NODES_MAX
from totemd.record import record

WARNINGS_MAX = 200
"""Warnings kept of one file; a file of another kind altogether would otherwise bury the log."""


@record
class Value:
    """One setting with its type and place."""

    entry: CmapEntry
    line: int


class Table:
    """The settings of one section, by key. `path` is the section's cmap path (nodelist.node.0)."""

    def __init__(self, file: str, path: str, line: int = 0) -> None:
        self.file = file
        self.path = path
        self.line = line
        self.values: dict[str, Value] = {}

    def text(self, key: str) -> str | None:
        """The string `key`, or None when it is absent."""
        value = self.values.get(key)
        return None if value is None else str(value.entry.value)

    def number(self, key: str) -> int | None:
        """The integer `key`, or None when it is absent."""
        value = self.values.get(key)
        return value.entry.value if value is not None and isinstance(value.entry.value, int) else None

    def flag(self, key: str, default: bool = False) -> bool:
        """The boolean `key`, which the file spells yes/no, on/off or 1/0."""
        value = self.values.get(key)
        return default if value is None else value.entry.value in ("yes", "on", 1)

    def line_of(self, key: str) -> int:
        """Where `key` stands, or where its section begins."""
        return self.values[key].line if key in self.values else self.line

    def error(self, key: str, text: str) -> ConfigError:
        """An error at `key`, for the caller to raise."""
        return ConfigError(text, file=self.file, line=self.line_of(key), key=f"{self.path}.{key}" if key else self.path)

    def warning(self, key: str, text: str) -> ConfigWarning:
        """A warning at `key`."""
        return ConfigWarning(self.file, self.line_of(key), f"{self.path}.{key}" if key else self.path, text)


class Document:
    """A whole file. Sections that repeat and mean one thing (two `totem`) are merged, the last value winning."""

    def __init__(self, text: str, file: str) -> None:
        """Raises ConfigError for bad syntax, for values outside their ranges and for what is refused by itself."""
        self.file = file
        self.warnings: list[ConfigWarning] = []
        self.nodes: list[Table] = []
        self.removed: list[Table] = []
        self.uidgid: list[Table] = []
        self.tables: dict[str, Table] = {}
        self._nodelist_line = 0
        self._unknown_sections: set[str] = set()
        self._read(parse(text, file))

    def table(self, path: str) -> Table:
        """The table of a section that exists once; an absent one is empty."""
        return self.tables.get(path) or Table(self.file, path)

    @property
    def all_tables(self) -> list[Table]:
        """Every table whose values become cmap keys."""
        return [*self.tables.values(), *self.nodes, *self.removed]

    def warn(self, warning: ConfigWarning) -> None:
        """Keep a warning, up to a bound."""
        if len(self.warnings) < WARNINGS_MAX:
            self.warnings.append(warning)
        elif len(self.warnings) == WARNINGS_MAX:
            self.warnings.append(ConfigWarning(self.file, 0, warning.key, "further warnings are left out"))

    def _read(self, root: Section) -> None:
        # Depth first in the order of the file, without recursion: depth is bounded by the path's length only.
        pending = [root]
        while pending:
            section = pending.pop()
            self._read_section(section)
            pending.extend(reversed(section.sections))

    def _read_section(self, section: Section) -> None:
        path = section.path
        if path == "nodelist":
            self._begin_nodelist(section)
        if path and not SCHEMA.knows_section(path) and not self._is_ignored(path):
            self._warn_unknown_section(section)
        if not path and not section.settings:
            return
        table = self._table_for(section)
        for setting in section.settings:
            if setting.key in table.values and path != "":
                before = table.values[setting.key].line
                self.warn(
                    ConfigWarning(
                        self.file,
                        setting.line,
                        f"{table.path}.{setting.key}",
                        f"given again, after line {before}; the last value is used",
                    )
                )
            entry = self._checked(section, setting, table.path)
            table.values[setting.key] = Value(entry, setting.line)

    def _begin_nodelist(self, section: Section) -> None:
        if self._nodelist_line:
            # corosync counts nodes from 0 again, so that the second list overwrites the first one's nodes.
            raise ConfigError(
                f"a second nodelist (the first begins at line {self._nodelist_line}); put all nodes in one",
                file=self.file,
                line=section.line,
                key="nodelist",
            )
        self._nodelist_line = section.line
        self.tables["nodelist"] = Table(self.file, "nodelist", section.line)

    def _table_for(self, section: Section) -> Table:
        if section.path == "nodelist.node":
            if len(self.nodes) == PROCESSOR_COUNT_MAX:
                raise self.tables["nodelist"].error("", f"more than {PROCESSOR_COUNT_MAX} nodes; a ring has no more")
            self.nodes.append(Table(self.file, f"nodelist.node.{len(self.nodes)}", section.line))
            return self.nodes[-1]
        if section.path == "removed.node":
            if len(self.removed) == REMOVED_NODES_MAX:
                raise Table(self.file, "removed", section.line).error(
                    "", f"more than {REMOVED_NODES_MAX} removed nodes"
                )
            self.removed.append(Table(self.file, f"removed.node.{len(self.removed)}", section.line))
            return self.removed[-1]
        if section.path == "uidgid":
            self.uidgid.append(Table(self.file, "uidgid", section.line))
            return self.uidgid[-1]
        path = section.path
        if path == "totem.interface":
            path = f"{path}.{self._link(section)}"
        elif path == "logging.logger_subsys":
            name = self._last(section, "subsys")
            if not name:
                raise ConfigError(
                    "subsys is missing; name the subsystem, for example subsys: CPG",
                    file=self.file,
                    line=section.line,
                    key=path,
                )
            if not NAME.fullmatch(name):
                raise ConfigError(
                    f'subsys "{name}" is no name: only letters, digits, _ - and / are allowed',
                    file=self.file,
                    line=section.line,
                    key=path,
                )
            path = f"{path}.{name}"
        return self.tables.setdefault(path, Table(self.file, path, section.line))

    def _link(self, section: Section) -> int:
        number = self._last(section, "linknumber") or "0"
        return int(number) if re.fullmatch(r"[0-9]{1,3}", number) else 0  # anything else is an error of its own

    @staticmethod
    def _last(section: Section, key: str) -> str | None:
        return next((setting.value for setting in reversed(section.settings) if setting.key == key), None)

    def _checked(self, section: Section, setting: Setting, path: str) -> CmapEntry:
        as_text = CmapEntry(CmapType.STRING, setting.value)
        key = f"{path}.{setting.key}" if path else setting.key
        directive = SCHEMA.find(section.path, setting.key)
        if directive is None:
            if section.path == "uidgid":
                raise ConfigError("only uid and gid are allowed here", file=self.file, line=setting.line, key=key)
            known = SCHEMA.is_free(section.path) or self._is_ignored(section.path)
            if not known and section.path not in self._unknown_sections:
                # Advice costs time in proportion to the table, so it is sought only while warnings are still kept.
                advice = SCHEMA.nearest_key(section.path, setting.key) if len(self.warnings) < WARNINGS_MAX else ""
                text = f"unknown key, not obeyed{'; ' + advice if advice else ''}"
                self.warn(ConfigWarning(self.file, setting.line, key, text))
            return as_text
        try:
            entry = typed(directive, setting.value)
        except ValueError as error:
            raise ConfigError(str(error), file=self.file, line=setting.line, key=key) from None
        self._judge(directive, setting, key)
        return entry

    def _judge(self, directive: Directive, setting: Setting, key: str) -> None:
        if directive.status is Status.OBEYED or setting.value in directive.harmless:
            return
        text = f'found "{setting.value}"; {directive.note}'
        if directive.status is Status.REFUSED:
            raise ConfigError(text, file=self.file, line=setting.line, key=key)
        if self._is_ignored(directive.section):
            return
        if directive.key == "key":
            text = directive.note  # the value is a secret; a log is no place for it
        self.warn(ConfigWarning(self.file, setting.line, key, f"not obeyed: {text}"))

    def _is_ignored(self, path: str) -> bool:
        for ignored, note in IGNORED_SECTIONS.items():
            if path == ignored or path.startswith(ignored + "."):
                if ignored not in self._unknown_sections:
                    self._unknown_sections.add(ignored)
                    self.warn(ConfigWarning(self.file, 0, ignored, f"this section is not obeyed: {note}"))
                return True
        return False

    def _warn_unknown_section(self, section: Section) -> None:
        if section.path not in self._unknown_sections:
            self._unknown_sections.add(section.path)
            advice = SCHEMA.nearest_section(section.path) if len(self.warnings) < WARNINGS_MAX else ""
            text = f"unknown section, not obeyed{'; ' + advice if advice else ''}"
            self.warn(ConfigWarning(self.file, section.line, section.path, text))
