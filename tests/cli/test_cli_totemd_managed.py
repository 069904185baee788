"""`totemd` on a node of a managed cluster: what is committed decides, and what stands in its way is told."""

import os
from pathlib import Path
from typing import cast

import pytest

from totemd.cli.daemon import main, read_configuration
from totemd.cluster.change import Change
from totemd.cluster.identity import Identity, new_identity
from totemd.cluster.nodelist_text import ListedNode, new_cluster
from totemd.cluster.text import with_version
from totemd.config.model import Configuration
from totemd.shell.configuration_files import committed_change
from totemd.shell.invitations import Invitations
from totemd.shell.join_server import Carry
from totemd.shell.managed import Managed

CLUSTER_ID = bytes(range(16))


class Machine:
    """A node's files."""

    def __init__(self, path: Path) -> None:
        self.config, self.state, self.key = path / "corosync.conf", path / "state", path / "key"
        self.identity: Identity = new_identity(os.urandom)
        self.text = new_cluster(
            name="sea",
            cluster_id=CLUSTER_ID,
            node=ListedNode(1, "hake", "127.9.8.1", self.identity.uuid, self.identity.public_key),
            transport="udpu",
        )
        (self.state / "changes").mkdir(parents=True)
        (self.state / "identity").write_bytes(self.identity.to_bytes())
        self.config.write_text(self.text)
        self.key.write_bytes(os.urandom(32))
        self.key.chmod(0o600)

    def commit(self, text: str, version: int) -> None:
        """Have a version in force."""
        change = Change(os.urandom(16), "edit", version - 1, version, with_version(text, version))
        (self.state / "changes" / "committed").write_bytes(change.encode())

    def run(self, *words: str) -> int:
        files = ["-c", str(self.config), "--state-dir", str(self.state), "--keyfile", str(self.key)]
        return main([*files, "--run-dir", str(self.state / "run"), *words])


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_check_says_that_the_file_is_not_what_is_in_force(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert machine.run("-t") == 0
    assert capsys.readouterr().err == ""
    machine.commit(machine.text, 4)
    assert machine.run("-t") == 0
    assert capsys.readouterr().err == "", "the version alone is no difference"
    machine.commit(machine.text.replace("udpu", "udpu\n    token: 1234"), 4)
    assert machine.run("-t") == 0
    assert "says something else than version 4 of the cluster's configuration" in capsys.readouterr().err


def test_a_version_that_cannot_work_here_is_told_with_the_way_out(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.commit(machine.text.replace("127.9.8.1", "192.0.2.1"), 4)
    assert machine.run() == 1
    told = capsys.readouterr().err
    assert "this machine is not in the nodelist" in told
    assert "This is version 4 of the cluster's configuration" in told
    assert f"move {machine.state / 'changes'} away" in told


def test_the_state_of_another_cluster(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.commit(machine.text, 4)
    machine.config.write_text(machine.text.replace(CLUSTER_ID.hex(), bytes(16).hex()[:-1] + "1"))
    assert machine.run() == 1
    assert "this is the configuration of another cluster" in capsys.readouterr().err


def test_a_damaged_record(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    (machine.state / "changes" / "committed").write_bytes(b"?")
    assert machine.run() == 1
    assert "committed is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(("kind", "says"), [("none", "has no identity"), ("other", "their identities differ")])
def test_a_machine_that_is_not_the_node(
    machine: Machine, capsys: pytest.CaptureFixture[str], kind: str, says: str
) -> None:
    """A copied configuration does not make a machine the node; a copied disk is refused by the others."""
    identity = machine.state / "identity"
    if kind == "none":
        identity.unlink()
    else:
        identity.write_bytes(new_identity(os.urandom).to_bytes())
    assert machine.run() == 1
    assert says in capsys.readouterr().err
    assert not (machine.state / "changes" / "committed").exists()


def test_a_damaged_state_is_told_with_the_way_out(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.commit(machine.text, 4)
    (machine.state / "changes" / "state").write_bytes(b"junk")
    assert machine.run() == 1
    told = capsys.readouterr().err
    assert f"{machine.state}/changes/state is damaged" in told
    assert f"move {machine.state}/changes away" in told


def test_a_damaged_history_is_put_aside(machine: Machine) -> None:
    machine.commit(machine.text, 4)
    history = machine.state / "changes" / "history"
    history.write_bytes(b"junk")
    committed = committed_change(machine.state)
    assert committed is not None

    def parse(text: str) -> Configuration:
        return read_configuration(str(machine.config), "1", ("127.9.8.1",), str(machine.key), text)

    managed = Managed(file=machine.config, state_dir=machine.state, committed=committed, parse=parse)
    assert "history" not in managed.open(parse(machine.text))
    assert history.with_name("history.damaged~").read_bytes() == b"junk"
    assert "history" not in managed.open(parse(machine.text)), "and again"


@pytest.mark.parametrize("content", [b"?", b"x" * (256 * 1024 + 1), None])
def test_tickets_that_cannot_be_read_are_void(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "tickets"
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
    logged: list[str] = []
    invitations = Invitations(
        tmp_path,
        where=lambda: ("127.0.0.1", 5406),
        new_sponsor=lambda tickets: pytest.fail("nobody came"),
        carry=cast("Carry", None),
        log=lambda level, text: logged.append(text),
    )
    assert invitations.tickets.open_until(0) == 0
    assert "all tickets are void" in logged[0]
