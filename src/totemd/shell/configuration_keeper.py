"""The shell's side of the replicated configuration: its effects performed, and corosync.conf kept an eye on.

Records and files are written by one task in the order of the effects, in threads, so that a slow disk never stops the
token; nothing but the answers to them waits. Texts are read beside it: names may have to be looked up.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeAlias

import trio

from totemd.config.model import Configuration
from totemd.errors import MachineError, TotemdError
from totemd.node import Node
from totemd.node.effects import CheckConfiguration, StoreChange, WriteConfiguration
from totemd.shell.configuration_files import ConfigurationFiles, FileState
from totemd.shell.logs import Logger

LOOK_PERIOD_S: Final = 2.0
"""How often corosync.conf is looked at."""

RETRY_S: Final = 1.0
RETRY_MAX_S: Final = 30.0
"""How long after a failure files are written again, at first and at most."""

WAITING_MAX: Final = 1000
"""Effects that wait for the disk."""

ConfigurationEffect: TypeAlias = CheckConfiguration | StoreChange | WriteConfiguration

ParseText: TypeAlias = Callable[[str], Configuration | None]
"""What a text means here, None if this node is not in its nodelist; TotemdError or OSError."""


class ConfigurationKeeper:
    """`files` are open; `changed` is called when another configuration may be in force."""

    def __init__(
        self,
        node: Node,
        files: ConfigurationFiles,
        parse: ParseText,
        logger: Logger,
        *,
        changed: Callable[[], None],
        pump: Callable[[], None],
    ) -> None:
        self.state = FileState(str(files.file), edited=False, problem="")
        """What corosync.conf was when it was last looked at."""
        self._node = node
        self._files = files
        self._parse = parse
        self._logger = logger
        self._changed = changed
        self._pump = pump
        self._send, self._receive = trio.open_memory_channel[StoreChange | WriteConfiguration](WAITING_MAX)
        self._ask, self._asked = trio.open_memory_channel[CheckConfiguration](WAITING_MAX)
        self._disk = trio.Lock()
        self._unwritten = ""
        """Why the files are not yet what they must be."""

    def perform(self, effect: ConfigurationEffect) -> None:
        """Take an effect. What is written is written in order; what is to be read does not wait for that."""
        if isinstance(effect, WriteConfiguration):
            self._changed()
        try:
            if isinstance(effect, CheckConfiguration):
                self._ask.send_nowait(effect)
            else:
                self._send.send_nowait(effect)
        except trio.WouldBlock:
            self._log("err", "the disk does not answer; a change of the configuration is lost")
            if isinstance(effect, StoreChange):
                # Not from here: who emits is not to be called.
                trio.lowlevel.spawn_system_task(self._refuse, effect)

    @property
    def busy(self) -> bool:
        """Whether anything still waits for the disk."""
        return self._disk.locked() or self._receive.statistics().current_buffer_used > 0

    async def run(self) -> None:
        """Perform effects for good."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch)
            nursery.start_soon(self._keep)
            async for effect in self._asked:
                nursery.start_soon(self._check, effect)

    async def _keep(self) -> None:
        async for effect in self._receive:
            async with self._disk:
                if isinstance(effect, StoreChange):
                    await self._store(effect)
                else:
                    await self._write(effect)

    async def _check(self, effect: CheckConfiguration) -> None:
        try:
            found: Configuration | str | None = await trio.to_thread.run_sync(
                self._checked, effect.text, abandon_on_cancel=True
            )
        except (TotemdError, OSError) as error:
            found = str(error)
        self._node.configuration_checked(effect.ident, self._unwritten or found, trio.current_time())
        self._pump()

    def _checked(self, text: str) -> Configuration | None:
        self._files.check_writable()
        return self._parse(text)

    async def _store(self, effect: StoreChange) -> None:
        error = None
        try:
            await trio.to_thread.run_sync(self._files.store, effect.name, effect.data)
        except (TotemdError, OSError) as problem:
            error = str(problem)
            self._log("err", error)
        self._node.change_stored(effect.ident, error, trio.current_time())
        self._pump()

    async def _refuse(self, effect: StoreChange) -> None:
        self._node.change_stored(effect.ident, "the disk does not answer", trio.current_time())
        self._pump()

    async def _write(self, effect: WriteConfiguration) -> None:
        """Nothing behind it is stored before it is done: the next version would hide that this one's keys are not."""
        delay_s = RETRY_S
        while True:
            try:
                kept = await trio.to_thread.run_sync(self._files.write, effect.text, effect.key_ring)
                break
            except (MachineError, OSError) as error:
                if not self._unwritten:
                    self._log("err", f"{error}; it is tried again until it is written")
                self._unwritten = str(error)
                await trio.sleep(delay_s)
                delay_s = min(2 * delay_s, RETRY_MAX_S)
        if self._unwritten:
            self._log("notice", "the configuration is written now")
            self._unwritten = ""
        if kept is not None:
            self._log("warning", f"the file was edited by hand and is replaced; it is kept as {kept}")

    async def _watch(self) -> None:
        while True:
            async with self._disk:
                with suppress(MachineError, OSError):
                    self._compare(await trio.to_thread.run_sync(self._files.look, abandon_on_cancel=True))
            await trio.sleep(LOOK_PERIOD_S)

    def _compare(self, found: FileState) -> None:
        before, self.state = self.state, found
        if found == before:
            return
        if found.edited:
            self._log(
                "warning",
                f"{found.path} {found.problem}: this node goes on with the latter. 'totemctl cluster config diff' "
                "shows the difference, 'config apply' proposes the file to the cluster, 'config show' prints what is "
                "in force",
            )
        elif found.problem:
            self._log("notice", f"{found.path} {found.problem}")
        elif before.edited:
            self._log("notice", f"{found.path} says again what is in force")

    def _log(self, level: str, text: str) -> None:
        self._logger.log(level, "CONFIG", text)
