"""The key file as the shell reads it, and that open rings do without everything that seals."""

import subprocess
import sys
from pathlib import Path

import pytest

from totemd.errors import ConfigError, MachineError
from totemd.seal.keys import Key, KeyRing
from totemd.shell.sealing import read_keys

IMPORTS = """
import sys
import totemd.cli.daemon
import totemd.shell.daemon
found = [name for name in sys.modules if name.startswith(("cryptography", "totemd.seal")) or name.endswith(".sealing")]
print(" ".join(sorted(found)))
"""


def test_open_rings_load_nothing_that_seals() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["totemd.config.sealing"]


def test_keys_are_read(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"s" * 128)
    path.chmod(0o600)
    assert read_keys(path) == (KeyRing(Key.of(b"s" * 128)), None)
    ring = KeyRing(Key.of(b"a" * 32), (Key.of(b"b" * 32),))
    path.write_bytes(ring.to_bytes())
    path.chmod(0o640)
    keys, doubt = read_keys(path)
    assert keys == ring
    assert doubt is not None
    assert "mode 0640" in doubt
    assert f"chmod 600 {path}" in doubt


@pytest.mark.parametrize("size", [0, 31, 4097, 100_000])
def test_no_key_has_that_size(tmp_path: Path, size: int) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"x" * size)
    with pytest.raises(ConfigError, match=rf"^{path}: a key has 32 to 4096 bytes"):
        read_keys(path)


def test_no_file_and_no_file_to_read(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=rf"there is no key file {tmp_path}/key; 'totemctl cluster keygen FILE'"):
        read_keys(tmp_path / "key")
    with pytest.raises(MachineError, match=rf"cannot read the key file {tmp_path}: Is a directory"):
        read_keys(tmp_path)
