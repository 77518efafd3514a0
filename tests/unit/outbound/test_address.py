"""Which addresses are public, in every form they are written in."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from freehold.outbound.address import Allowed, is_public


@pytest.mark.parametrize("text", ["1.1.1.1", "93.184.215.14", "2606:4700:4700::1111", "2a00:1450:4001:80b::200e", "64:ff9b::101:101"])
def test_addresses_of_the_internet_are_public(text: str) -> None:
    assert is_public(ip_address(text))


@pytest.mark.parametrize(
    "text",
    [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "100.127.255.254",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.8",
        "192.168.1.1",
        "198.18.0.1",
        "203.0.113.7",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",  # IPv4-compatible
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:0:127.0.0.1",
        "64:ff9b::127.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "fc00::1",
        "fd12:3456::1",
        "fe80::1",
        "fe80::1%1",
        "fec0::1",
        "ff02::1",
    ],
)
def test_all_others_are_not(text: str) -> None:
    assert not is_public(ip_address(text))


def test_what_is_allowed_is_a_name_an_address_or_a_network() -> None:
    allowed = Allowed.parse(["Hooks.LAN", "10.1.0.0/16", "127.0.0.1", "fd00::/8"])
    assert allowed.names("hooks.lan.") and allowed.names("10.1.2.3") and allowed.names("[fd00::1]") and allowed.names("127.0.0.1")
    assert not allowed.names("other.lan") and not allowed.names("10.2.0.1") and not allowed.names("hooks.lan.example.com")
    assert allowed.covers(ip_address("::ffff:10.1.0.1")) and not allowed.covers(ip_address("127.0.0.2"))


@pytest.mark.parametrize("entry", ["10.1.0.0/33", "10.1.0.1/16", "http://hooks.lan", ""])
def test_what_is_none_of_these_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="expected a host name"):
        Allowed.parse([entry])
