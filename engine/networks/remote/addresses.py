"""Pools and addresses that a plugin gives out, asked for and given back as libnetwork does."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from contextlib import AsyncExitStack
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface, ip_network

from msgspec.structs import replace

from ... import errors
from .. import ipam
from ..records import EndpointRecord, NetworkRecord, Pool
from .plugin import AddressPlugin

logger = logging.getLogger(__name__)

Interface = IPv4Interface | IPv6Interface

GATEWAY = "com.docker.network.gateway"
MAC_ADDRESS = "com.docker.network.endpoint.macaddress"
_KIND = "RequestAddressType"


async def request_pools(
    plugin: AddressPlugin,
    record: NetworkRecord,
    *,
    is_global: bool,
    gateway_versions: Collection[int],
    routed: Sequence[ipam.Subnet],
) -> NetworkRecord:
    """Return the record with what the plugin gives it. Where this raises, the plugin has everything back.

    A pool that the plugin chooses does not overlap what the host reaches, `routed`.
    """
    try:
        spaces = await plugin.ask("GetDefaultAddressSpaces", None)
    except errors.Internal as error:
        raise errors.Internal(f"failed to get default address space: {error}") from error
    space = str(spaces.get("GlobalDefaultAddressSpace" if is_global else "LocalDefaultAddressSpace") or "")
    found: list[Pool] = []
    async with AsyncExitStack() as undo:
        for version in [version for version in (4, 6) if record.has_version(version)]:
            wanted = [pool for pool in record.pools if pool.subnet and pool.is_ipv6 == (version == 6)]
            if not wanted:
                wanted = [next((pool for pool in record.pools if not pool.subnet and version == 4), Pool(subnet=""))]
            for pool in wanted:
                pool = replace(pool, address_space=space)
                avoid = () if is_global else routed
                pool = await _request_pool(plugin, pool, record.ipam_options, version=version, avoid=avoid)
                undo.push_async_callback(plugin.tell, "ReleasePool", {"PoolID": pool.id})
                found.append(await _fill(plugin, undo, pool, needs_gateway=version in gateway_versions))
        undo.pop_all()
    return replace(record, pools=tuple(found))


async def release_pools(plugin: AddressPlugin, record: NetworkRecord, *, waits: bool = True) -> None:
    """Give back what a network has."""
    for pool in record.pools:
        for address in (pool.gateway, *pool.auxiliary.values()):
            if address:
                await plugin.tell("ReleaseAddress", {"PoolID": pool.id, "Address": address}, waits=waits)
        await plugin.tell("ReleasePool", {"PoolID": pool.id}, waits=waits)


async def replay(plugin: AddressPlugin, record: NetworkRecord, endpoints: Collection[EndpointRecord]) -> None:
    """Tell a plugin that has forgotten what a network has, and those who are on it."""
    try:
        for pool in record.pools:
            await plugin.ask("RequestPool", _pool_request(pool, record.ipam_options, version=6 if pool.is_ipv6 else 4))
            if pool.gateway:
                await _request(plugin, pool, pool.gateway, {_KIND: GATEWAY})
            for address in pool.auxiliary.values():
                await _request(plugin, pool, address, None)
        for endpoint in endpoints:
            options = _options(plugin, endpoint.mac_address)
            for pool, address in _with_pools(record, of(endpoint)):
                await _request(plugin, pool, address, options)
    except errors.Error as error:
        logger.warning("network %s: its addresses could not be told to plugin %s: %s", record.name, plugin.name, error)


async def request_addresses(
    plugin: AddressPlugin, record: NetworkRecord, wanted: dict[int, str], *, mac_address: str
) -> dict[int, Interface]:
    """Return an address of each family that a network has, the wanted ones where there are such; all or none."""
    found: dict[int, Interface] = {}
    async with AsyncExitStack() as undo:
        for version in [version for version in (4, 6) if record.has_version(version)]:
            address = wanted.get(version, "")
            pools = [pool for pool in record.pools if pool.is_ipv6 == (version == 6)]
            pool = next((pool for pool in pools if not address or _has(pool, address)), None)
            if pool is None:
                raise errors.InvalidArgument(
                    f"invalid address {address}: It does not belong to any of this network's subnets"
                )
            found[version] = await _request(plugin, pool, address, _options(plugin, mac_address))
            undo.push_async_callback(
                plugin.tell, "ReleaseAddress", {"PoolID": pool.id, "Address": str(found[version].ip)}
            )
        undo.pop_all()
    return found


async def release_addresses(
    plugin: AddressPlugin, record: NetworkRecord, taken: Collection[str], *, waits: bool = True
) -> None:
    """Give back what an endpoint has."""
    for pool, address in _with_pools(record, taken):
        await plugin.tell("ReleaseAddress", {"PoolID": pool.id, "Address": address}, waits=waits)


def of(endpoint: EndpointRecord) -> list[str]:
    """Return the addresses that an endpoint has of pools."""
    return [address for address in (endpoint.ip_address, endpoint.ipv6_address) if address]


def _with_pools(record: NetworkRecord, taken: Collection[str]) -> list[tuple[Pool, str]]:
    """Return addresses with the pools that they are of."""
    return [(pool, address) for address in taken for pool in record.pools if _has(pool, address)]


async def _request_pool(
    plugin: AddressPlugin,
    pool: Pool,
    options: dict[str, str] | None,
    *,
    version: int,
    avoid: Collection[ipam.Subnet],
) -> Pool:
    """Ask for a pool. One that is no use is kept until there is a better one: the plugin would offer it again."""
    offered: list[str] = []
    try:
        while True:
            answer = await plugin.ask("RequestPool", _pool_request(pool, options, version=version))
            text, pool_id = str(answer.get("Pool") or ""), str(answer.get("PoolID") or "")
            if "/" not in text:
                raise errors.Internal(f"netip.ParsePrefix(\"{text}\"): no '/'")
            subnet = parse_cidr(text).network
            if pool.subnet or not subnet.prefixlen or not ipam.overlaps(subnet, avoid):
                told = (answer.get("Data") or {}).get(GATEWAY) or ""
                gateway = {} if pool.gateway or not told else await _told_gateway(plugin, pool_id, str(told))
                return replace(pool, id=pool_id, subnet=str(subnet), chosen=not pool.subnet, **gateway)
            if pool_id in offered:
                raise errors.Internal(f"plugin {plugin.name} offers nothing but {subnet}, which the host reaches")
            offered.append(pool_id)
    finally:
        for pool_id in offered:
            await plugin.tell("ReleasePool", {"PoolID": pool_id})


async def _told_gateway(plugin: AddressPlugin, pool_id: str, text: str) -> dict[str, object]:
    """Return the gateway that came with a pool, as its record has it."""
    try:
        gateway = parse_cidr(text)
    except errors.Internal as error:
        await plugin.tell("ReleasePool", {"PoolID": pool_id})
        message = f"failed to parse gateway address ({text}) returned by ipam driver: {error}"
        raise errors.InvalidArgument(message) from error
    return {"gateway": str(gateway.ip), "gateway_prefix_len": gateway.network.prefixlen}


async def _fill(plugin: AddressPlugin, undo: AsyncExitStack, pool: Pool, *, needs_gateway: bool) -> Pool:
    """Take a pool's gateway, and the addresses that its network's user keeps for himself."""
    if not pool.gateway_prefix_len and (pool.gateway or needs_gateway):
        try:
            gateway = await _request(plugin, pool, pool.gateway, {_KIND: GATEWAY})
        except errors.Internal as error:
            raise errors.Internal(f"failed to allocate gateway ({pool.gateway}): {error}") from error
        undo.push_async_callback(plugin.tell, "ReleaseAddress", {"PoolID": pool.id, "Address": str(gateway.ip)})
        pool = replace(pool, gateway=str(gateway.ip), gateway_prefix_len=gateway.network.prefixlen)
    for name, address in pool.auxiliary.items():
        if not _has(pool, address):
            raise errors.Forbidden(
                f"auxiliary address: ({name}:{address}) must belong to the master pool: {pool.subnet}"
            )
        try:
            await _request(plugin, pool, address, None)
        except errors.Internal as error:
            message = f"failed to allocate secondary ip address ({name}:{address}): {error}"
            raise errors.Internal(message) from error
        undo.push_async_callback(plugin.tell, "ReleaseAddress", {"PoolID": pool.id, "Address": address})
    return pool


async def _request(plugin: AddressPlugin, pool: Pool, address: str, options: dict[str, str] | None) -> Interface:
    answer = await plugin.ask("RequestAddress", {"PoolID": pool.id, "Address": address, "Options": options})
    if not answer.get("Address"):
        raise errors.Internal("no address returned")
    return parse_cidr(str(answer["Address"]))


def _pool_request(pool: Pool, options: dict[str, str] | None, *, version: int) -> dict[str, object]:
    return {
        "AddressSpace": pool.address_space,
        "Pool": pool.subnet,
        "SubPool": pool.ip_range,
        "Options": options,
        "V6": version == 6,
    }


def _options(plugin: AddressPlugin, mac_address: str) -> dict[str, str] | None:
    return {MAC_ADDRESS: mac_address} if plugin.needs_mac_address else None


def _has(pool: Pool, address: str) -> bool:
    return ip_address(address) in ip_network(pool.subnet)


def parse_cidr(text: str) -> Interface:
    """Read an address with its prefix length, as a plugin writes it."""
    try:
        if "/" in text:
            return ip_interface(text)
    except ValueError:
        pass
    raise errors.Internal(f"invalid CIDR address: {text}")
