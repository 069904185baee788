"""`totemctl cluster join`: this machine becomes a node of the cluster whose ticket it has.

`cluster.joining` decides what is said and done; here it is done: the connection, the probes, the files, the daemon.
"""

import os
import socket
import ssl
import subprocess
import sys
import time
from argparse import Namespace
from hashlib import sha256
from ipaddress import ip_address
from typing import Final

from totemd.cli import cluster_probing
from totemd.cli.cluster_files import UNIT, NodeFiles, default_node_name, has_unit
from totemd.cli.command_line import EXIT_USAGE
from totemd.cli.commands_ring import CommandError, NoQuorumError, progress, say
from totemd.client import blocking
from totemd.client.errors import TotemdClientError
from totemd.cluster.change import Change
from totemd.cluster.identity import Identity, new_identity
from totemd.cluster.join_messages import FROM_MEMBER_MAX, LENGTH_SIZE, Message, Report, decode, encode
from totemd.cluster.joining import PATIENCE_S, Fail, Finish, Joiner, JoinerAction, Probe, Send, Store
from totemd.cluster.nodelist_text import JOINING_VOTES, check_node_name
from totemd.cluster.ticket import TICKET_SIZE_MAX, Ticket, parse_ticket
from totemd.errors import BadPacket, OperatorError
from totemd.ids import NodeId
from totemd.seal.keys import KeyRing
from totemd.shell.node_files import load_identity

CONNECT_TIMEOUT_S: Final = 10.0
ANSWER_TIMEOUT_S: Final = 60.0
"""For one message of the member, which waits for a change of the configuration meanwhile."""

AGAIN_S: Final = 1.0
LOOK_S: Final = 0.2


class JoinFailed(CommandError):
    """The cluster, the network or this machine is against it. `again`: it may be better in a moment. `nothing_left`:
    the cluster has nothing of this node."""

    def __init__(self, text: str, *, again: bool = False, nothing_left: bool = False) -> None:
        super().__init__(text)
        self.again = again
        self.nothing_left = nothing_left


class JoinLacksQuorum(JoinFailed, NoQuorumError):
    """The cluster has no quorum."""


class WrongUsage(CommandError):
    """What was asked for cannot be."""

    exit_status = EXIT_USAGE


def join(arguments: Namespace) -> int:
    ticket = parse_ticket(_ticket_text(arguments.ticket))
    name = arguments.node_name or default_node_name()
    check_node_name(name)
    _check_wishes(arguments, ticket)
    files = NodeFiles.of(arguments)
    begun = files.has_begun(ticket.cluster)
    deadline = time.monotonic() + arguments.timeout
    if begun and not arguments.replace and (running := _running_node(arguments)) is not None:
        nodeid, cluster = running
        if cluster != ticket.cluster:
            raise CommandError(
                f'a daemon of the cluster "{cluster}" runs on this machine, and the ticket is of another'
            )
        # Everything was done but to wait.
        return _finish(arguments, files, Finish(nodeid, 0), deadline, name, ticket.cluster, None)
    aside = _check_free(arguments, files, begun)
    identity = (load_identity(files.state_dir) if begun else None) or new_identity(os.urandom)
    files.begin_joining(identity, ticket.cluster)
    finish = _join_in_time(_Attempt(arguments, ticket, identity, name, files), deadline, begun)
    hint = _start(arguments, files)
    if hint is not None:
        text = (
            f"This machine is node {finish.nodeid} ({name}) of {ticket.cluster}, without votes until it is a member.\n"
        )
        text += f"Start its daemon within {finish.patience_s} s:\n  {hint}"
        facts = {"nodeid": finish.nodeid, "name": name, "cluster_name": ticket.cluster, "put_aside": aside}
        say(arguments, text, **facts, counted=False, start=hint)
        return 0
    return _finish(arguments, files, finish, deadline, name, ticket.cluster, aside)


def _finish(
    arguments: Namespace, files: NodeFiles, finish: Finish, deadline: float, name: str, cluster: str, aside: str | None
) -> int:
    progress(arguments, f"waiting until the votes of node {finish.nodeid} count")
    _wait_until_counted(arguments, finish.nodeid, deadline)
    files.end_joining()
    facts = {"nodeid": finish.nodeid, "name": name, "cluster_name": cluster, "put_aside": aside}
    say(arguments, f"This machine is node {finish.nodeid} ({name}) of {cluster}.", **facts, counted=True)
    return 0


def _check_wishes(arguments: Namespace, ticket: Ticket) -> None:
    """WrongUsage if a member would not even read them."""
    if arguments.address is not None:
        try:
            ip_address(arguments.address)
        except ValueError:
            raise WrongUsage(f'--address: "{arguments.address}" is no IP address; names are not looked up') from None
    if arguments.votes is not None and arguments.votes > ticket.votes:
        raise WrongUsage(
            f"--votes: this ticket is for a node with {ticket.votes} vote{'' if ticket.votes == 1 else 's'} at most, "
            f"not {arguments.votes}; invite --votes {arguments.votes} makes another"
        )


def _ticket_text(given: str) -> str:
    return sys.stdin.read(2 * TICKET_SIZE_MAX) if given == "-" else given


def _check_free(arguments: Namespace, files: NodeFiles, begun: bool) -> str | None:
    """CommandError if this machine is a node, or its daemon runs; where old files were put, if they were."""
    if _running_node(arguments) is not None:
        raise CommandError("a daemon runs on this machine; stop it first, for example with systemctl stop " + UNIT)
    if begun and not arguments.replace:
        return None
    if arguments.replace:
        return files.put_aside() if files.leftovers() else None
    found = files.leftovers()
    if found:
        raise CommandError(
            f"this machine is a node already: {'; '.join(found)}. To put that aside and join as a new node: --replace"
        )
    return None


def _join_in_time(attempt: "_Attempt", deadline: float, begun: bool) -> Finish:
    while True:
        try:
            return attempt.run()
        except JoinFailed as error:
            if error.again and time.monotonic() + AGAIN_S < deadline:
                time.sleep(AGAIN_S)
                continue
            # Once it was told that all is well the cluster may have listed this machine, whatever was heard since.
            if error.nothing_left and not begun and not attempt.reported:
                attempt.files.forget_joining()
            raise


class _Attempt:
    """Everything up to the configuration on this machine's disk."""

    def __init__(self, arguments: Namespace, ticket: Ticket, identity: Identity, name: str, files: NodeFiles) -> None:
        self._arguments = arguments
        self._ticket = ticket
        self._identity = identity
        self._name = name
        self.files = files
        self.reported = False
        """Whether the member has all it needs to list this machine."""

    def run(self) -> Finish:
        """Join. JoinFailed, MachineError."""
        with _connect(self._ticket) as connection:
            address = self._arguments.address or str(connection.getsockname()[0]).partition("%")[0]
            joiner = Joiner(
                self._ticket,
                self._identity,
                name=self._name,
                address=address,
                votes=self._ticket.votes if self._arguments.votes is None else self._arguments.votes,
                nodeid=self._arguments.node_id,
            )
            progress(self._arguments, "connected to the member that gave the ticket")
            actions = joiner.connected()
            while True:
                for action in actions:
                    finish = self._perform(connection, joiner, action, address, actions)
                    if finish is not None:
                        return finish
                try:
                    actions = joiner.receive(_receive(connection))
                except BadPacket as error:
                    raise JoinFailed(f"the member sent what is no message of ours: {error}") from None
                except OSError as error:
                    text = f"the connection to the member broke: {error.strerror or error}"
                    raise JoinFailed(text, again=True) from None

    def _perform(
        self,
        connection: ssl.SSLSocket,
        joiner: Joiner,
        action: JoinerAction,
        address: str,
        more: list[JoinerAction],
    ) -> Finish | None:
        if isinstance(action, Send):
            self.reported = self.reported or action.message == Report(())
            try:
                connection.sendall(encode(action.message))
            except OSError as error:
                raise JoinFailed(f"the connection to the member broke: {error.strerror or error}", again=True) from None
        elif isinstance(action, Probe):
            progress(self._arguments, "probing the members at their addresses of the ring")
            more += joiner.probed(cluster_probing.probe(action.order, address))
        elif isinstance(action, Store):
            progress(self._arguments, f"storing what node {action.reservation.nodeid} needs")
            self._store(action)
            more += joiner.stored()
        elif isinstance(action, Finish):
            return action
        else:
            raise _failure(action)
        return None

    def _store(self, action: Store) -> None:
        reservation = action.reservation
        try:
            text = Change.decode(reservation.record).text
        except BadPacket as error:
            raise JoinFailed(f"the member sent no configuration: {error}") from None
        self.reported = True
        keys = b""
        if reservation.keys:
            # It is written with root's rights: as we write key rings, not the bytes that came.
            try:
                keys = KeyRing.parse(reservation.keys).to_bytes()
            except OperatorError as error:
                raise JoinFailed(f"the member sent no keys: {error}") from None
        configuration = self.files.check_text(text, str(reservation.nodeid))
        self.files.check_paths(configuration, state_dir_given=self._arguments.state_dir is not None)
        self.files.write_joined(reservation.record, text, keys)


def _failure(fail: Fail) -> JoinFailed:
    text = "\n  ".join([f"the cluster did not take this machine ({fail.code}):", *fail.reasons])
    if fail.code == "no_quorum":
        return JoinLacksQuorum(text, nothing_left=True)
    return JoinFailed(text, again=fail.again, nothing_left=fail.code != "connection")


def _connect(ticket: Ticket) -> ssl.SSLSocket:
    """A connection to the member that gave the ticket, known by its certificate. JoinFailed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    # The ticket names the one certificate that is right.
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    failures = []
    for address, port in ticket.contacts:
        try:
            plain = socket.create_connection((address, port), CONNECT_TIMEOUT_S)
        except OSError as error:
            failures.append(f"{address} TCP port {port}: {error.strerror or error}")
            continue
        try:
            connection = context.wrap_socket(plain)
        except OSError as error:
            plain.close()
            failures.append(f"{address} TCP port {port}: {error.strerror or error}")
            continue
        if sha256(connection.getpeercert(binary_form=True) or b"").digest() != ticket.fingerprint:
            connection.close()
            raise JoinFailed(
                f"who answers at {address} TCP port {port} is not the member that gave the ticket: its certificate is "
                "another one. Nothing was told to it",
                nothing_left=True,
            )
        connection.settimeout(ANSWER_TIMEOUT_S)
        return connection
    raise JoinFailed(
        f"cannot reach the member that gave the ticket: {'; '.join(failures)}. Is the ticket expired, the daemon "
        "stopped, or a firewall between?",
        again=True,
        nothing_left=True,
    )


def _receive(connection: ssl.SSLSocket) -> Message:
    size = int.from_bytes(_exactly(connection, LENGTH_SIZE), "big")
    if size > FROM_MEMBER_MAX:
        raise BadPacket("bad join message", f"{size} bytes")
    return decode(_exactly(connection, size))


def _exactly(connection: ssl.SSLSocket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = connection.recv(min(65536, size - len(data)))
        if not part:
            raise ConnectionResetError(104, "it was closed")
        data += part
    return bytes(data)


def _start(arguments: Namespace, files: NodeFiles) -> str | None:
    """Start the daemon; or how to, where that is for somebody else. JoinFailed."""
    if arguments.start is not None or (has_unit() and not arguments.no_start):
        progress(arguments, "starting the daemon")
    if arguments.start is not None:
        # In a session of its own: it goes on when the terminal is gone.
        subprocess.Popen(arguments.start, shell=True, stdin=subprocess.DEVNULL, start_new_session=True)
        return None
    if arguments.no_start or not has_unit():
        return files.start_hint()
    for words in (["systemctl", "enable", UNIT], ["systemctl", "restart", UNIT]):
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode:
            raise JoinFailed(f"{' '.join(words)} failed: {done.stderr.strip()}; start the daemon by other means")
    return None


def _running_node(arguments: Namespace) -> tuple[NodeId, str] | None:
    """As which node of which cluster a daemon runs on this machine, if one does."""
    try:
        with blocking.connect(arguments.socket, name="totemctl") as client:
            names = [entry.value for entry in client.cmap_list("totem.cluster_name")]
            return client.welcome.nodeid, str(names[0]) if names else ""
    except TotemdClientError:
        return None


def _wait_until_counted(arguments: Namespace, nodeid: NodeId, deadline: float) -> None:
    """Until the daemon here says that this node is a member whose votes count. JoinFailed."""
    problem = "its daemon does not answer"
    while time.monotonic() < deadline:
        try:
            with blocking.connect(arguments.socket, name="totemctl") as client:
                problem = _uncounted(client, nodeid)
            if not problem:
                return
        except TotemdClientError as error:
            problem = f"its daemon does not answer ({error})"
        time.sleep(LOOK_S)
    raise JoinFailed(
        f"this machine has its place as node {nodeid}, but does not count yet: {problem}. See the daemon's log. The "
        f"place is kept for {PATIENCE_S} s; totemctl cluster join with the same ticket goes on from here"
    )


def _uncounted(client: blocking.BlockingClient, nodeid: NodeId) -> str:
    """What is still to come; "" for nothing."""
    status = client.status()
    if len(status.members) < 2:
        return "it has found no other node"
    if not status.quorate:
        return "there is no quorum"
    entries = {entry.key: entry.value for entry in client.cmap_list("nodelist.node.")}
    for key, value in entries.items():
        if key.endswith(".nodeid") and value == nodeid:
            return "its votes do not count yet" if key[: -len("nodeid")] + JOINING_VOTES in entries else ""
    return "the configuration does not list it any more"
