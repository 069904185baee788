"""Arithmetic on addresses."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from totemd.config.addresses import (
    IpVersion,
    choose,
    is_local,
    may_be_network_of,
    multicast_address,
    nodeid_of,
    same_address,
)


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("dzlab", "239.192.12.240"),  # seen on the wire
        ("hacluster", "239.192.204.129"),
        ("debian", "239.192.24.204"),
        ("test", "239.192.6.148"),
        ("testcluster", "239.192.123.175"),
        ("prod-central", "239.192.211.42"),
        ("cloud", "239.192.12.166"),
        ("sea", "239.192.2.249"),
        ("cluster1", "239.192.104.2"),
        ("cluster2", "239.192.104.3"),
        ("totem", "239.192.13.204"),
        ("a", "239.192.0.97"),
        ("A" * 15, "239.192.127.63"),
    ],
)
def test_multicast_address_of_a_name(name: str, address: str) -> None:
    assert multicast_address(name) == address


def test_multicast_address_of_a_link_and_of_ipv6() -> None:
    assert multicast_address("testcluster", 1) == "239.192.123.176"
    assert multicast_address("cluster1", 1) == multicast_address("cluster2")
    assert multicast_address("test", ipv6=True) == "ff15::68e"
    assert multicast_address("testcluster", ipv6=True) == "ff15::7b34"


def test_characters_are_signed() -> None:
    # 2 * (0xc3 - 256) + (0xa9 - 256) = -209 = 0xff2f
    assert multicast_address("é", ipv6=True) == "ff15::ff2f"


@given(st.text(max_size=100), st.integers(0, 7), st.booleans())
def test_every_name_has_a_multicast_address(name: str, link: int, ipv6: bool) -> None:
    assert ip_address(multicast_address(name, link, ipv6)).is_multicast


@pytest.mark.parametrize(
    ("version", "chosen"),
    [("ipv4", "10.0.0.1"), ("ipv6", "fd00::1"), ("ipv4-6", "10.0.0.1"), ("ipv6-4", "fd00::1")],
)
def test_choice_among_both_families(version: IpVersion, chosen: str) -> None:
    assert choose(["10.0.0.1", "fd00::1", "10.0.0.2", "fd00::2"], version) == chosen
    assert choose(["fd00::1", "10.0.0.1"], version) == chosen


def test_choice_falls_back_only_where_both_families_are_allowed() -> None:
    assert choose(["10.0.0.1"], "ipv6-4") == "10.0.0.1"
    assert choose(["fd00::1"], "ipv4-6") == "fd00::1"
    assert choose(["10.0.0.1"], "ipv6") is None
    assert choose(["fd00::1"], "ipv4") is None
    assert choose(["no address"], "ipv4-6") is None


def test_nodeid_is_the_address() -> None:
    assert nodeid_of("10.0.0.1", False) == 0x0A000001
    assert nodeid_of("192.168.1.2", False) == 0xC0A80102
    assert nodeid_of("192.168.1.2", True) == 0x40A80102
    with pytest.raises(ValueError, match="IPv6"):
        nodeid_of("fd00::1", False)


def test_local_addresses() -> None:
    assert is_local("127.0.0.77", [])
    assert is_local("fd00::1", ["10.0.0.1", "fd00:0:0::1"])
    assert is_local("fe80::1", ["fe80::1%eth0"])
    assert not is_local("10.0.0.2", ["10.0.0.1", "rubbish", "fd00::1"])
    assert not same_address("10.0.0.1", "n1")


@pytest.mark.parametrize(
    ("network", "fits"),
    [
        ("192.168.5.92", True),
        ("192.168.5.0", True),
        ("192.168.5.64", True),
        ("192.168.0.0", True),
        ("0.0.0.0", True),
        ("192.168.6.0", False),
        ("192.168.5.93", False),
        ("fd00::", False),
        ("eth0", False),
    ],
)
def test_network_of_an_address(network: str, fits: bool) -> None:
    assert may_be_network_of(network, "192.168.5.92") is fits
