"""What a configuration file that is read again changes in a running daemon, and what it may not change.

Some keys are read only at start: their old value stays in force and the operator is told. A change that would
contradict the running ring (another address for a listed node) makes the whole reload fail, so that nothing of it is
done (corosync.conf(5), votequorum(5)).
"""

from collections.abc import Mapping
from dataclasses import replace

from totemd.config.directives import SCHEMA
from totemd.config.document import Document, Table, Value
from totemd.config.model import CmapEntry, CmapValue, Configuration, ConfigWarning, NodeEntry, QuorumSettings
from totemd.config.quorum import read_quorum
from totemd.config.schema import Reload
from totemd.errors import ConfigError
from totemd.record import record


@record
class Change:
    """One key with its value before and after; None: absent."""

    key: str
    old: CmapValue | None
    new: CmapValue | None

    def __str__(self) -> str:
        return f"{self.key}: {_shown(self.old)} -> {_shown(self.new)}"


def _shown(value: CmapValue | None) -> str:
    return "(default)" if value is None else str(value)


@record
class ReloadPlan:
    """What a reload does. With `errors` it must not be carried out at all."""

    configuration: Configuration
    """What is in force afterwards: the new file with the old values of everything in `kept`."""
    effective: tuple[Change, ...]
    kept: tuple[Change, ...]
    """Changes that wait for a restart of the daemon."""
    added: tuple[NodeEntry, ...]
    removed: tuple[NodeEntry, ...]
    errors: tuple[ConfigError, ...]
    warnings: tuple[ConfigWarning, ...]

    @property
    def accepted(self) -> bool:
        """Whether the reload may be carried out."""
        return not self.errors


def compare(old: Configuration, new: Configuration) -> ReloadPlan:
    """The way from `old` (in force) to `new` (the file now). Raises nothing: problems are in the plan."""
    errors = _node_errors(old, new)
    effective, kept = _changes(old.entries, new.entries)
    entries = _entries_in_force(old.entries, new.entries, kept)
    quorum, problems, notes = _quorum_in_force(old, new, entries)
    warnings = [*_kept_warnings(new, kept), *_version_warnings(old, new), *notes]
    configuration = replace(
        new,
        cluster_name=old.cluster_name,
        totem=replace(new.totem, netmtu_bytes=old.totem.netmtu_bytes),
        transport=replace(old.transport, block_unlisted_ips=new.transport.block_unlisted_ips),
        quorum=quorum,
        system=old.system,
        cluster_id=old.cluster_id,
        seal=old.seal,
        entries=entries,
        warnings=(*new.warnings, *warnings),
    )
    before = {node.nodeid for node in old.nodes}
    after = {node.nodeid for node in new.nodes}
    return ReloadPlan(
        configuration=configuration,
        effective=tuple(effective),
        kept=tuple(kept),
        added=tuple(node for node in new.nodes if node.nodeid not in before),
        removed=tuple(node for node in old.nodes if node.nodeid not in after),
        errors=(*errors, *problems),
        warnings=tuple(warnings),
    )


def takes_effect(key: str) -> bool:
    """Whether a changed value of cmap key `key` takes effect without a restart. Keys nobody knows do: they are data."""
    section, _, name = key.rpartition(".")
    parts = section.split(".")
    for prefix in ("nodelist.node", "removed.node", "totem.interface", "logging.logger_subsys"):
        if len(parts) == 3 and section.startswith(prefix + "."):
            section = prefix
    directive = SCHEMA.find(section, name)
    return directive is None or directive.reload is Reload.EFFECTIVE


def _changes(old: Mapping[str, CmapEntry], new: Mapping[str, CmapEntry]) -> tuple[list[Change], list[Change]]:
    effective: list[Change] = []
    kept: list[Change] = []
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        if before == after:
            continue
        change = Change(key, before.value if before else None, after.value if after else None)
        (effective if takes_effect(key) else kept).append(change)
    return effective, kept


def _entries_in_force(
    old: Mapping[str, CmapEntry], new: Mapping[str, CmapEntry], kept: list[Change]
) -> dict[str, CmapEntry]:
    entries = dict(new)
    for change in kept:
        if change.key in old:
            entries[change.key] = old[change.key]
        else:
            entries.pop(change.key, None)
    return entries


def _node_errors(old: Configuration, new: Configuration) -> list[ConfigError]:
    errors: list[ConfigError] = []
    for node in new.nodes:
        before = old.node(node.nodeid)
        if before is not None and before.address != node.address:
            text = (
                f"node {node.nodeid} had the address {before.address} and now has {node.address}, which cannot change "
                "while the ring runs; remove the node, reload, add it again, reload, or restart all nodes"
            )
            errors.append(_error(new, f"nodelist.node.{node.position}.ring0_addr", text))
    if new.local.nodeid != old.local.nodeid:
        text = f"this node is {old.local.nodeid} and would become {new.local.nodeid}; restart the daemon to change it"
        errors.append(_error(new, f"nodelist.node.{new.local.position}.nodeid", text))
    if old.local.uuid is not None and new.local.uuid != old.local.uuid:
        text = (
            f"this node has the uuid {old.local.uuid}, which cannot change while it runs; leave it as it is, or remove "
            "the node and have it join again"
        )
        errors.append(_error(new, f"nodelist.node.{new.local.position}.uuid", text))
    return errors


def _error(new: Configuration, key: str, text: str) -> ConfigError:
    return ConfigError(text, file=new.file, line=dict(new.lines).get(key, 0), key=key)


def _quorum_in_force(
    old: Configuration, new: Configuration, entries: Mapping[str, CmapEntry]
) -> tuple[QuorumSettings, list[ConfigError], list[ConfigWarning]]:
    """The rules of votequorum(5) again, on what is in force: kept values may not go with the new ones."""
    document = Document("", new.file)
    lines = dict(new.lines)
    for key, entry in entries.items():
        section, _, name = key.rpartition(".")
        if section in ("quorum", "quorum.device"):
            table = document.tables.setdefault(section, Table(new.file, section))
            table.values[name] = Value(entry, lines.get(key, 0))
    try:
        quorum = read_quorum(document, new.nodes, new.local)
    except ConfigError as error:
        return old.quorum, [error], []
    notes = [warning for warning in document.warnings if warning not in new.warnings]
    return quorum, [], notes


def _kept_warnings(new: Configuration, kept: list[Change]) -> list[ConfigWarning]:
    lines = dict(new.lines)
    return [
        ConfigWarning(
            new.file,
            lines.get(change.key, 0),
            change.key,
            f"cannot be changed at run time: {_shown(change.old)} stays in force until the daemon is restarted",
        )
        for change in kept
    ]


def _version_warnings(old: Configuration, new: Configuration) -> list[ConfigWarning]:
    if new.config_version >= old.config_version:
        return []
    key = "totem.config_version"
    text = f"went back from {old.config_version} to {new.config_version}; make sure that this is not an old file"
    return [ConfigWarning(new.file, dict(new.lines).get(key, 0), key, text)]
