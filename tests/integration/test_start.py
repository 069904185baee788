"""What a daemon loads until it serves: each module costs every start of every node, and stays in memory."""

import re

import pytest

from totemd_lab.clients import connect
from totemd_lab.ring import LabMaker

NOT_NEEDED = {
    "_hashlib": "OpenSSL, for hmac, which trio imports for DTLS",
    "_ssl": "OpenSSL, for streams of trio that the daemon has not",
    "asyncio": "there is a loop already",
    "concurrent": "trio has threads",
    "construct": "the specification's, for totemctl decode",
    "cryptography": "the ring is not encrypted",
    "email": "a sign that something has asked for a distribution's version",
    "http": "no web",
    "importlib.metadata": "it reads the disk for what the source knows",
    "multiprocessing": "one process",
    "psutil": "the kernel tells the addresses itself",
    "sqlite3": "no database",
    "totemd.client": "the other side of the socket",
    "totemd.sim": "the simulator",
    "totemd_protocol": "the specification",
    "unittest": "for tests",
    "xml": "no XML",
}


def test_a_serving_daemon_has_loaded_no_heavy_module_that_it_does_not_need(
    make_loopback_lab: LabMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    lab = make_loopback_lab("T")
    lab.start()
    lab.wait_formed()
    with connect(lab.nodes[0]) as client:
        client.status()
    loaded = set(re.findall(r"^import time:.*\| +(\S+)$", lab.nodes[0].log_text(), re.MULTILINE))
    assert {"trio", "totemd.shell.daemon", "totemd.qb.session"} <= loaded
    needless = {
        name: reason
        for name, reason in NOT_NEEDED.items()
        if any(module == name or module.startswith(f"{name}.") for module in loaded)
    }
    assert not needless
