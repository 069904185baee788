"""The files of packaging/ by systemd's own checks, and what they promise. They are booted in test_service.py."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from totemd.cli.ctl import build_parser
from totemd_lab.requirements import require

PACKAGING = Path(__file__).parents[2] / "packaging"
PAGE = Path(__file__).parents[2] / "docs" / "service.md"
UNITS = ("totemd.service", "totemd-quorum.service", "totemd-quorum.target")
pytestmark = pytest.mark.systemd


@pytest.fixture(autouse=True)
def _needs(request: pytest.FixtureRequest) -> None:
    require(request.node)


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units with commands that are there."""
    for command in ("totemd", "totemctl"):
        (tmp_path / command).symlink_to("/bin/true")
    for name in UNITS:
        text = (PACKAGING / "systemd" / name).read_text()
        (tmp_path / name).write_text(text.replace("ExecStart=", f"ExecStart={tmp_path}/"))
    return tmp_path


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", "--no-pager", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_verify_finds_nothing(units: Path) -> None:
    result = analyze("verify", "--man=no", "--recursive-errors=no", *(units / name for name in UNITS))
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


@pytest.mark.parametrize(("unit", "most"), [("totemd.service", 2.0), ("totemd-quorum.service", 1.0)])
def test_security(units: Path, unit: str, most: float) -> None:
    """Exposure by `systemd-analyze security`: 0 is none, 10 that of a service without any protection."""
    result = analyze("security", "--offline=yes", f"--threshold={most * 10:.0f}", units / unit)
    assert result.returncode == 0, result.stdout
    listed = json.loads(analyze("security", "--offline=yes", "--json=short", units / unit).stdout)
    capabilities = [entry for entry in listed if str(entry["json_field"]).startswith("CapabilityBoundingSet")]
    assert capabilities
    assert all(entry["set"] for entry in capabilities), "no capability is needed"


def setting(unit: str, name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", (PACKAGING / "systemd" / unit).read_text(), re.MULTILINE)


def test_the_wait_for_quorum_has_no_end() -> None:
    assert setting("totemd-quorum.service", "TimeoutStartSec") == ["infinity"]
    assert setting("totemd-quorum.service", "Type") == ["oneshot"]
    (command,) = setting("totemd-quorum.service", "ExecStart")
    parsed = build_parser().parse_args(command.split()[1:])
    assert (parsed.timeout, parsed.command) == (None, [])


def test_a_restarted_daemon_takes_nothing_along() -> None:
    # Requires=, BindsTo= and PartOf= would hand a stop or a restart on to everything behind the target.
    for word in ("Requires", "Requisite", "BindsTo", "PartOf"):
        assert "totemd.service" not in setting("totemd-quorum.service", word) + setting("totemd-quorum.target", word)


def run_in(root: Path, command: str, file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([command, f"--root={root}", str(file)], capture_output=True, text=True, check=False)


def test_sysusers_makes_a_user_who_cannot_log_in(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    result = run_in(tmp_path, "systemd-sysusers", PACKAGING / "sysusers.d" / "totemd.conf")
    assert result.returncode == 0, result.stderr
    name, password, uid, _, _, home, shell = (tmp_path / "etc/passwd").read_text().strip().split(":")
    assert (name, password, home, shell) == ("totemd", "x", "/var/lib/totemd", "/usr/sbin/nologin")
    assert 0 < int(uid) < 1000


@pytest.mark.root
def test_tmpfiles_repairs_owners_and_touches_nothing_else(tmp_path: Path) -> None:
    for directory in ("etc/corosync/uidgid.d", "var/lib/totemd/changes"):
        (tmp_path / directory).mkdir(parents=True)
    for file in ("etc/corosync/corosync.conf", "etc/corosync/authkey", "etc/other", "var/lib/totemd/identity"):
        (tmp_path / file).write_text(file)
        (tmp_path / file).chmod(0o600)
    (tmp_path / "etc/corosync/link").symlink_to("../other")
    assert run_in(tmp_path, "systemd-sysusers", PACKAGING / "sysusers.d" / "totemd.conf").returncode == 0
    command = ["systemd-tmpfiles", "--create", f"--root={tmp_path}", str(PACKAGING / "tmpfiles.d" / "totemd.conf")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    uid = int((tmp_path / "etc/passwd").read_text().split(":")[2])

    def owner_and_mode(path: str) -> tuple[int, str]:
        status = os.lstat(tmp_path / path)
        return status.st_uid, f"{status.st_mode & 0o777:o}"

    assert owner_and_mode("etc/corosync") == (0, "775")
    assert owner_and_mode("etc/corosync/corosync.conf") == (0, "644")
    assert owner_and_mode("etc/corosync/authkey") == (uid, "600")
    assert owner_and_mode("etc/corosync/uidgid.d")[0] == 0
    assert owner_and_mode("etc/other") == (0, "600")
    assert owner_and_mode("var/lib/totemd") == (uid, "700")
    assert owner_and_mode("var/lib/totemd/identity") == (uid, "600")
    assert owner_and_mode("var/lib/totemd/changes")[0] == uid


def test_sysctl_is_what_the_sockets_ask_for() -> None:
    from totemd.shell.sockets import BUFFER_SIZE

    text = (PACKAGING / "sysctl.d" / "60-totemd.conf").read_text()
    assert set(re.findall(r"^net\.core\.[rw]mem_max = (\d+)$", text, re.MULTILINE)) == {str(BUFFER_SIZE)}


def test_the_page_has_every_file_and_a_unit_that_is_right(units: Path) -> None:
    page = PAGE.read_text()
    for directory in ("systemd", "sysusers.d", "tmpfiles.d", "sysctl.d"):
        for file in (PACKAGING / directory).iterdir():
            assert f"`{directory}/{file.name}`" in page
    example = re.search(r"^```ini\n# /etc/systemd/system/(\S+)\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert example is not None
    (units / example[1]).write_text(re.sub("^ExecStart=.*", "ExecStart=/bin/true", example[2], flags=re.MULTILINE))
    result = analyze("verify", "--man=no", "--recursive-errors=no", *(units / name for name in (example[1], *UNITS)))
    assert (result.returncode, result.stdout + result.stderr) == (0, "")
    for setting_ in ("Requires", "After", "WantedBy"):
        assert f"{setting_}=totemd-quorum.target" in example[2].splitlines()


def test_systemd_analyze_is_what_it_seems() -> None:
    # The checks above prove nothing if it takes everything.
    assert shutil.which("systemd-analyze")
    assert analyze("security", "--offline=yes", "--threshold=1", PACKAGING / "systemd" / "totemd.service").returncode
