"""Which addresses a client may make us connect to: public ones, in whatever form they are written, and what the operator allowed.

An IPv6 address may carry an IPv4 one (mapped, or behind a NAT64 gateway), so both are looked at. Tunnels (6to4, Teredo) are not
followed at all: where they lead is decided by somebody else.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

#: Not public, and not known as such by every version of Python we run on (IANA's special-purpose registries).
_SPECIAL_V4 = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",  # carriers' NAT
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local, where clouds keep their metadata
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",  # multicast, reserved, broadcast
    )
)

#: All that is handed out to the public; loopback, link-local, unique-local, multicast and mapped addresses lie outside.
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
_SPECIAL_V6 = tuple(
    ipaddress.IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",
        "2002::/16",  # 6to4
        "3fff::/20",
    )
)

_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public internet."""
    if (inner := _carried(address)) is not None:
        return is_public(inner)
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _SPECIAL_V4)
    return address.scope_id is None and address in _GLOBAL_V6 and not any(address in network for network in _SPECIAL_V6)


def _carried(address: Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 one stands for; None: it stands for itself."""
    if isinstance(address, IPv6Address) and (address in _MAPPED or address in _NAT64):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return None


@dataclass(frozen=True)
class Allowed:
    """Hosts and networks that may be connected to although they are not public."""

    hosts: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, entries: Iterable[str]) -> Allowed:
        """`["hooks.lan", "10.1.0.0/16", "127.0.0.1"]`. Raises ValueError that names the wrong entry."""
        hosts: set[str] = set()
        networks: list[Network] = []
        for entry in entries:
            try:
                networks.append(ipaddress.ip_network(entry))
            except ValueError:
                if not entry or "/" in entry or ":" in entry:
                    raise ValueError(f'expected a host name, an address or a network such as "10.1.0.0/16", got "{entry}"') from None
                hosts.add(entry.lower().rstrip("."))
        return cls(frozenset(hosts), tuple(networks))

    def names(self, host: str) -> bool:
        """Whether a host was allowed by its name, or by its address where it is written as one."""
        try:
            return self.covers(ipaddress.ip_address(host.strip("[]")))
        except ValueError:
            return host.lower().rstrip(".") in self.hosts

    def covers(self, address: Address) -> bool:
        """Whether an address lies in one of the networks."""
        inner = _carried(address)
        return any(found in network for found in (address, inner) if found is not None for network in self.networks)


#: Public addresses only.
NOTHING = Allowed()
