"""Addresses: which subnet a network takes, and which address of it an endpoint gets.

As in dockerd an endpoint gets the lowest free address of the pool. What is taken is not stored here: the records of
networks and endpoints say it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)

from ..errors import Forbidden, Internal, InvalidArgument
from .records import Pool

Address = IPv4Address | IPv6Address
Subnet = IPv4Network | IPv6Network
SubnetSource = tuple[Subnet, int]
"""A block of addresses, and the prefix length of the networks that are cut from it."""

BRIDGE_SOURCES: tuple[SubnetSource, ...] = (
    (IPv4Network("172.17.0.0/16"), 16),
    (IPv4Network("172.18.0.0/16"), 16),
    (IPv4Network("172.19.0.0/16"), 16),
    (IPv4Network("172.20.0.0/14"), 16),
    (IPv4Network("172.24.0.0/14"), 16),
    (IPv4Network("172.28.0.0/14"), 16),
    (IPv4Network("192.168.0.0/16"), 20),
)
"""dockerd's local pools, for the default bridge."""
NETWORK_SOURCES: tuple[SubnetSource, ...] = (
    (IPv4Network("172.18.0.0/15"), 24),
    (IPv4Network("172.20.0.0/14"), 24),
    (IPv4Network("172.24.0.0/13"), 24),
    (IPv4Network("192.168.0.0/16"), 24),
)
"""The same addresses, for the networks that users make: small ones, so that there are many and few are in the way."""


class AddressPool:
    """The addresses of one subnet of a network."""

    def __init__(self, subnet: Subnet, gateway: Address | None, *, allocate_from: Subnet | None = None) -> None:
        self.subnet, self.gateway = subnet, gateway
        self._range = allocate_from or subnet
        # A link of two has no network and broadcast address (RFC 3021); each of IPv6 has the routers' (RFC 4291).
        is_pair = subnet.version == 4 and subnet.prefixlen >= 31
        self._taken = set() if is_pair else {int(subnet.network_address)}
        if subnet.version == 4 and not is_pair:
            self._taken.add(int(subnet.broadcast_address))
        if gateway is not None:
            self._taken.add(int(gateway))

    @classmethod
    def of(cls, pool: Pool) -> AddressPool:
        gateway = ip_address(pool.gateway) if pool.gateway else None
        allocate_from = ip_network(pool.ip_range, strict=False) if pool.ip_range else None
        found = cls(ip_network(pool.subnet), gateway, allocate_from=allocate_from)
        for address in pool.auxiliary.values():
            found._taken.add(int(ip_address(address)))
        return found

    def allocate(self, network: str) -> Address:
        """Take the lowest free address; `network` names the network in the message when there is none."""
        last = int(self._range.broadcast_address)
        kind = type(self._range.network_address)
        for candidate in range(int(self._range.network_address), last + 1):
            if candidate not in self._taken:
                self._taken.add(candidate)
                return kind(candidate)
        version = self.subnet.version
        raise Internal(f"no available IPv{version} addresses on this network's address pools: {network}")

    def allocate_gateway(self) -> Address:
        """Take the address that the network itself has."""
        self.gateway = self.allocate("gateway")
        return self.gateway

    def claim(self, address: Address) -> None:
        """Take the address that the user asked for."""
        if int(address) in self._taken:
            raise Forbidden("Address already in use")
        self._taken.add(int(address))

    def take(self, address: Address) -> None:
        """Mark an address that a record says is in use."""
        self._taken.add(int(address))

    def free(self, address: Address) -> None:
        self._taken.discard(int(address))

    @property
    def in_use(self) -> int:
        """How many addresses are taken or nobody's to have."""
        return len(self._taken)

    @property
    def available(self) -> int:
        """How many addresses are left for those who name none; no more than clients can count."""
        first, last = int(self._range.network_address), int(self._range.broadcast_address)
        used = sum(first <= address <= last for address in self._taken)
        return min(last - first + 1 - used, (1 << 64) - 1)


def parse_bip(bip: str, version: int = 4) -> IPv4Interface | IPv6Interface:
    """Read the bridge's own address with its prefix, such as `172.17.0.1/16`."""
    try:
        interface = ip_interface(bip)
    except ValueError as error:
        raise InvalidArgument(f"invalid bridge address (bip) {bip!r}") from error
    if interface.version != version:
        raise InvalidArgument(f"invalid bridge address (bip) {bip!r}: it is not IPv{version}")
    if "/" not in bip or interface.ip == interface.network.network_address:
        raise InvalidArgument(f"invalid bridge address (bip) {bip!r}: an address with its prefix length is needed")
    return interface


def within(part: Subnet, whole: Subnet) -> bool:
    """Whether a block is a part of another one, or the whole of it."""
    return part.version == whole.version and part.prefixlen >= whole.prefixlen and part.network_address in whole


def choose_subnet(used: Iterable[Subnet], sources: Iterable[SubnetSource] = BRIDGE_SOURCES) -> Subnet:
    """Return the first subnet that overlaps nothing that is in use; raise where all are."""
    taken = sorted(used, key=lambda network: network.prefixlen)
    for source, prefix_len in sources:
        near = [network for network in taken if network.version == source.version and network.overlaps(source)]
        for candidate in _cut(source, prefix_len):
            if not any(candidate.overlaps(network) for network in near):
                return candidate
    raise InvalidArgument("all predefined address pools have been fully subnetted")


def unique_local_source(identity: str) -> SubnetSource:
    """Return the engine's own block of IPv6 addresses (RFC 4193), always the same for one engine."""
    digest = hashlib.sha256(identity.encode()).digest()
    return IPv6Network((b"\xfd" + digest[:5] + bytes(10), 48)), 64


def overlaps(subnet: Subnet, others: Collection[Subnet]) -> bool:
    return any(subnet.version == other.version and subnet.overlaps(other) for other in others)


def mac_address(address: Address) -> str:
    """Return the MAC address that belongs to an address.

    An address that is used again keeps its MAC address, so no neighbour holds a stale entry and nothing has to be
    announced. dockerd did the same until 27; later ones choose at random and announce.
    """
    return "02:42:" + ":".join(f"{octet:02x}" for octet in address.packed[-4:])


def random_mac_address() -> str:
    """Return a locally administered MAC address."""
    octets = bytearray(os.urandom(6))
    octets[0] = octets[0] & 0xFC | 0x02
    return octets.hex(":")


def _cut(source: Subnet, prefix_len: int) -> Iterator[Subnet]:
    step = 1 << (source.max_prefixlen - prefix_len)
    kind = type(source)
    for start in range(int(source.network_address), int(source.broadcast_address) + 1, step):
        yield kind((start, prefix_len))
