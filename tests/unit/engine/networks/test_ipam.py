"""Addresses: the order in which they are given, and the pools that they come from."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network, ip_network

import pytest
from lightship.engine import errors
from lightship.engine.networks import ipam


def pool(subnet: str = "172.17.0.0/16", allocate_from: str | None = None) -> ipam.AddressPool:
    network = IPv4Network(subnet)
    inside = IPv4Network(allocate_from) if allocate_from else None
    return ipam.AddressPool(network, network[1], allocate_from=inside)


def test_the_lowest_free_address_is_next() -> None:
    addresses = pool()
    given = [addresses.allocate("bridge") for _ in range(3)]
    assert [str(address) for address in given] == ["172.17.0.2", "172.17.0.3", "172.17.0.4"]
    addresses.free(given[0])
    assert str(addresses.allocate("bridge")) == "172.17.0.2"
    assert str(addresses.allocate("bridge")) == "172.17.0.5"


def test_addresses_of_records_are_not_given_again() -> None:
    addresses = pool()
    addresses.take(IPv4Address("172.17.0.2"))
    assert str(addresses.allocate("bridge")) == "172.17.0.3"


@pytest.mark.parametrize(
    ("subnet", "part", "in_use", "available"),
    [
        ("10.0.0.0/24", "", 3, 253),
        ("10.0.0.0/24", "10.0.0.128/25", 3, 127),
        ("10.0.0.0/31", "", 1, 1),
        ("fd00::/64", "", 2, 2**64 - 2),
        ("fd00::/48", "", 2, 2**64 - 1),
    ],
)
def test_how_full_a_pool_is(subnet: str, part: str, in_use: int, available: int) -> None:
    network = ip_network(subnet)
    addresses = ipam.AddressPool(network, network[1], allocate_from=ip_network(part) if part else None)
    assert (addresses.in_use, addresses.available) == (in_use, available)
    taken = addresses.allocate("bridge")
    assert addresses.in_use == in_use + 1
    addresses.free(taken)
    assert addresses.in_use == in_use


def test_neither_network_nor_broadcast_nor_gateway_is_given() -> None:
    addresses = pool("10.0.0.0/29")
    given = [addresses.allocate("bridge") for _ in range(5)]
    assert [address.packed[3] for address in given] == [2, 3, 4, 5, 6]
    with pytest.raises(errors.Internal, match="^no available IPv4 addresses on this network's address pools: bridge$"):
        addresses.allocate("bridge")


def test_addresses_come_from_the_fixed_range() -> None:
    assert str(pool(allocate_from="172.17.8.0/24").allocate("bridge")) == "172.17.8.0"


def test_the_first_pool_that_the_host_does_not_reach_is_chosen() -> None:
    assert str(ipam.choose_subnet([])) == "172.17.0.0/16"
    used = [IPv4Network("172.17.5.0/24"), IPv4Network("172.16.0.0/15"), IPv4Network("172.18.0.0/16")]
    assert str(ipam.choose_subnet(used)) == "172.19.0.0/16"
    assert str(ipam.choose_subnet([IPv4Network("172.16.0.0/12")])) == "192.168.0.0/20"
    with pytest.raises(errors.InvalidArgument, match="fully subnetted"):
        ipam.choose_subnet([IPv4Network("172.16.0.0/12"), IPv4Network("192.168.0.0/16")])


def test_an_address_always_has_the_same_mac_address() -> None:
    assert ipam.mac_address(IPv4Address("172.17.0.255")) == "02:42:ac:11:00:ff"


def test_the_bridges_address_needs_a_prefix() -> None:
    assert ipam.parse_bip("10.1.2.3/24") == IPv4Interface("10.1.2.3/24")
    for wrong in ("10.1.2.3", "10.1.2.0/24", "x"):
        with pytest.raises(errors.InvalidArgument, match="invalid bridge address"):
            ipam.parse_bip(wrong)


def test_a_block_within_another() -> None:
    subnet = IPv4Network("172.17.0.0/16")
    assert ipam.within(IPv4Network("172.17.1.0/24"), subnet) and ipam.within(subnet, subnet)
    assert not ipam.within(IPv4Network("10.0.0.0/24"), subnet)
    assert not ipam.within(IPv4Network("172.16.0.0/15"), subnet)
    assert not ipam.within(ip_network("fd00::/64"), subnet)
