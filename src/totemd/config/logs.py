"""Sections logging and system."""

from collections.abc import Mapping

from totemd.config.directives import SCHEMA
from totemd.config.document import Document, Table, Value
from totemd.config.model import CmapEntry, LoggingSettings, SystemSettings
from totemd.config.schema import typed
from totemd.errors import ConfigError

NICE_BEST = -20
NICE_WORST = 19
"""The range of nice(2)."""


def read_logging(document: Document) -> LoggingSettings:
    """Where log lines go and which. Raises ConfigError."""
    logging = document.table("logging")
    to_logfile = logging.flag("to_logfile")
    if to_logfile and not logging.text("logfile"):
        raise logging.error("logfile", "missing, though to_logfile is yes; give a path")
    subsystems = tuple(
        (path.rsplit(".", 1)[1].upper(), _level(table, "syslog_priority", _level(logging, "syslog_priority", "info")))
        for path, table in document.tables.items()
        if path.startswith("logging.logger_subsys.")
    )
    return LoggingSettings(
        to_stderr=logging.flag("to_stderr", True),
        to_syslog=logging.flag("to_syslog", True),
        to_logfile=to_logfile,
        logfile=logging.text("logfile") or None,
        level=_level(logging, "syslog_priority", "info"),
        logfile_level=_level(logging, "logfile_priority", "info"),
        syslog_facility=logging.text("syslog_facility") or "daemon",
        debug=_debug(logging),
        timestamp=logging.text("timestamp") != "off",
        subsystems=subsystems,
    )


def logging_of(entries: Mapping[str, CmapEntry]) -> LoggingSettings:
    """The settings that the cmap's keys logging.* ask for. ConfigError, with the key, if one of them asks for nothing
    that the file could say."""
    document = Document("", "")
    for key, entry in entries.items():
        section, _, name = key.rpartition(".")
        general = "logging.logger_subsys" if section.startswith("logging.logger_subsys.") else section
        directive = SCHEMA.find(general, name)
        try:
            value = entry if directive is None else typed(directive, str(entry.value))
        except ValueError as error:
            raise ConfigError(str(error), key=key) from None
        table = document.tables.setdefault(section, Table("", section))
        table.values[name] = Value(value, 0)
    return read_logging(document)


def _debug(table: Table) -> bool:
    return table.text("debug") in ("on", "trace")


def _level(table: Table, key: str, default: str) -> str:
    return "debug" if _debug(table) else table.text(key) or default


def read_system(document: Document) -> SystemSettings:
    """The part of section system that totemd acts on. Raises ConfigError."""
    system = document.table("system")
    state_dir = system.text("state_dir")
    if state_dir is not None and not state_dir.startswith("/"):
        raise system.error("state_dir", f'found "{state_dir}"; give a path that begins with /')
    return SystemSettings(
        state_dir=state_dir,
        qb_ipc=system.flag("qb_ipc", True),
        qb_ipc_type=system.text("qb_ipc_type") or "native",
        sched_rr=system.flag("sched_rr", True),
        nice=_nice(system.text("priority"), system),
        busy_poll_us=system.number("busy_poll_us") or 0,
    )


def _nice(text: str | None, system: Table) -> int | None:
    """The nice value that `priority` asks for."""
    if text is None:
        return None
    named = {"max": NICE_BEST, "min": NICE_WORST}.get(text)
    if named is not None:
        return named
    try:
        value = int(text)
    except ValueError:
        value = NICE_WORST + 1
    if not NICE_BEST <= value <= NICE_WORST:
        raise system.error("priority", f'found "{text}"; allowed are max, min, or a nice value from -20 to 19')
    return value
