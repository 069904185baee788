"""A loader with a small world around it: names that resolve, addresses that are this machine's."""

from collections.abc import Callable, Mapping, Sequence

import pytest

from totemd.config import Configuration, load

NAMES = {
    "alpha": ["10.0.0.1"],
    "beta": ["10.0.0.2"],
    "both": ["fd00::1", "10.0.0.1"],
    "six": ["fd00::6"],
    "debian": ["127.0.1.1"],
    "empty": [],
}
USERS = {"hacluster": 189}
GROUPS = {"haclient": 190}


def resolve(name: str, ip_version: str) -> list[str]:
    if name not in NAMES:
        raise OSError("Name or service not known")
    return NAMES[name]


@pytest.fixture
def load_conf() -> Callable[..., Configuration]:
    """load() of a text on the machine 10.0.0.1, fd00::1."""

    def loader(
        text: str,
        local: Sequence[str] = ("10.0.0.1", "fd00::1"),
        hostname: str = "",
        node: str | None = None,
        files: Mapping[str, str] | None = None,
    ) -> Configuration:
        return load(
            text,
            file="corosync.conf",
            resolve=resolve,
            local_addresses=local,
            hostname=hostname,
            local_override=node,
            uidgid_files=files or {},
            resolve_user=USERS.__getitem__,
            resolve_group=GROUPS.__getitem__,
        )

    return loader


@pytest.fixture
def conf() -> Callable[..., str]:
    """Text of a file with `count` nodes 10.0.0.1 ..., and further lines for its sections."""

    def text(
        count: int = 3,
        totem: str = "transport: udp\ncluster_name: test",
        quorum: str = "provider: corosync_votequorum",
        interface: str = "",
        nodes: str | None = None,
        rest: str = "",
    ) -> str:
        listed = "".join(f"node {{\nring0_addr: 10.0.0.{n}\nnodeid: {n}\nname: n{n}\n}}\n" for n in range(1, count + 1))
        section = f"interface {{\n{interface}\n}}\n" if interface else ""
        return (
            f"totem {{\nversion: 2\n{totem}\n{section}}}\n"
            f"nodelist {{\n{listed if nodes is None else nodes}}}\n"
            f"quorum {{\n{quorum}\n}}\n{rest}\n"
        )

    return text
