"""The tickets of this member, and the door that is open while somebody may come with one."""

import os
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import trio

from totemd.cluster.joining import Sponsor, SponsorAction
from totemd.cluster.ticket import SECRET_SIZE, Ticket, secret_digest
from totemd.cluster.tickets import TICKETS_FILE, IssuedTicket, Tickets, TooManyTickets
from totemd.errors import MachineError, OperatorError
from totemd.shell.certificates import open_certificate
from totemd.shell.join_server import Carry, JoinServer
from totemd.shell.state import read_file, replace_file

FILE_SIZE_MAX: Final = 256 * 1024
BACKLOG: Final = 16
LISTEN_AGAIN_S: Final = 5.0
"""After the address or the port was not to be had."""


class Invitations:
    """Tickets on the disk and in memory; `run` keeps the door."""

    def __init__(
        self,
        state_dir: Path,
        *,
        where: Callable[[], tuple[str, int]],
        new_sponsor: Callable[[Tickets], Sponsor],
        carry: Carry,
        log: Callable[[str, str], None],
    ) -> None:
        """`where` gives address and TCP port to listen at. Tickets that cannot be read are void, which is logged."""
        self._state_dir = state_dir
        self._where = where
        self._new_sponsor = new_sponsor
        self._carry = carry
        self._log = log
        self._issued = trio.Event()
        self._storing = trio.Lock()
        self._opening = trio.Lock()
        self._opened: tuple[ssl.SSLContext, bytes] | None = None
        self.tickets = self._load()

    async def invite(self, cluster: str, ttl_s: int, node_name: str | None, votes: int) -> Ticket:
        """A new ticket, once it is on the disk and the door is open. OperatorError, MachineError."""
        _, fingerprint = await self._certificate(cluster)
        listener = None
        if not self.tickets.open_until(int(time.time())):
            # Now, so that who asks for a ticket is told if nobody can use it.
            listener = await self._listen()
        now = int(time.time())
        ticket = Ticket((self._where(),), fingerprint, os.urandom(SECRET_SIZE), cluster, now + ttl_s, votes)
        try:
            issued = IssuedTicket(secret_digest(ticket.secret), ticket.expires, node_name, votes=votes)
            self.tickets.add(issued, now)
        except TooManyTickets:
            raise OperatorError("there are too many unused tickets; wait until some expire") from None
        finally:
            if listener is not None:
                listener.socket.close()
        await self.store()
        self._issued.set()
        self._issued = trio.Event()
        return ticket

    async def store(self) -> None:
        """Write the tickets as they are. MachineError."""
        async with self._storing:
            data = self.tickets.to_bytes()
            await trio.to_thread.run_sync(replace_file, self._state_dir / TICKETS_FILE, data)

    async def run(self) -> None:
        """Keep the door open while a ticket is valid."""
        while True:
            issued = self._issued
            until = self.tickets.open_until(int(time.time()))
            if not until:
                await issued.wait()
                continue
            try:
                await self._serve()
            except (MachineError, OperatorError) as error:
                self._log("err", str(error))
                await trio.sleep(LISTEN_AGAIN_S)

    async def _serve(self) -> None:
        context, _ = await self._certificate("")
        listener = await self._listen()
        server = JoinServer(context, lambda: self._new_sponsor(self.tickets), self._carry_and_store, self._log)
        address, port = self._where()
        self._log("info", f"joining nodes may come to {address} TCP port {port} until the last ticket expires")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.serve, listener)
            while (until := self.tickets.open_until(int(time.time()))) > 0 or server.busy:
                await trio.sleep(max(1.0, min(60.0, until - time.time())))
            nursery.cancel_scope.cancel()
        self._log("info", f"the last ticket has expired: TCP port {port} is closed")

    async def _carry_and_store(self, sponsor: Sponsor, kind: str) -> list[SponsorAction]:
        # Whose the ticket is must be durable before it lets anybody in.
        try:
            await self.store()
        except MachineError as error:
            self._log("err", str(error))
            return sponsor.rejected((str(error),))
        actions = await self._carry(sponsor, kind)
        try:
            await self.store()
        except MachineError as error:
            self._log("err", str(error))
        return actions

    async def _certificate(self, name: str) -> tuple[ssl.SSLContext, bytes]:
        async with self._opening:
            return await self._open_certificate(name)

    async def _open_certificate(self, name: str) -> tuple[ssl.SSLContext, bytes]:
        if self._opened is None:
            self._opened = await trio.to_thread.run_sync(open_certificate, self._state_dir, name)
        return self._opened

    async def _listen(self) -> trio.SocketListener:
        address, port = self._where()
        try:
            listeners = await trio.open_tcp_listeners(port, host=address, backlog=BACKLOG)
        except OSError as error:
            raise OperatorError(
                f"cannot listen at {address} TCP port {port} for joining nodes: {error.strerror or error}; is the port "
                "in use? totem.join_port chooses another"
            ) from error
        return listeners[0]

    def _load(self) -> Tickets:
        file = self._state_dir / TICKETS_FILE
        try:
            data = read_file(file, FILE_SIZE_MAX)
            return Tickets() if data is None else Tickets.parse(data)
        except (MachineError, ValueError) as error:
            self._log("err", f"{file} cannot be used, so all tickets are void: {error}")
            return Tickets()
