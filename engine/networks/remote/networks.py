"""Networks that a plugin makes: what it is asked when one is made and when it goes."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

from ..records import NetworkRecord, Pool
from .plugin import NetworkPlugin


async def gateway_versions(plugin: NetworkPlugin, record: NetworkRecord) -> tuple[int, ...]:
    """Return the families in which a network needs an address for a gateway."""
    answer = await plugin.ask("GwAllocCheck", {"Options": _options(record)})
    return tuple(version for version in (4, 6) if not answer.get(f"SkipIPv{version}"))


async def create(plugin: NetworkPlugin, record: NetworkRecord) -> None:
    """Have a network made. Raises Internal."""
    request = {
        "NetworkID": record.id,
        "Options": _options(record),
        "IPv4Data": [_data(pool) for pool in record.pools if not pool.is_ipv6],
        "IPv6Data": [_data(pool) for pool in record.pools if pool.is_ipv6],
    }
    await plugin.ask("CreateNetwork", request)


async def delete(plugin: NetworkPlugin, record: NetworkRecord) -> None:
    """Have a network removed; as in dockerd it goes even where the plugin cannot."""
    await plugin.tell("DeleteNetwork", {"NetworkID": record.id})


def _options(record: NetworkRecord) -> dict[str, Any]:
    options: dict[str, Any] = {
        "com.docker.network.enable_ipv4": record.enable_ipv4,
        "com.docker.network.enable_ipv6": record.enable_ipv6,
        "com.docker.network.generic": record.options,
    }
    return {**options, "com.docker.network.internal": True} if record.internal else options


def _data(pool: Pool) -> dict[str, Any]:
    length = ip_network(pool.subnet).prefixlen
    data: dict[str, Any] = {"AddressSpace": pool.address_space, "Pool": pool.subnet}
    if pool.gateway:
        data["Gateway"] = f"{pool.gateway}/{pool.gateway_prefix_len or length}"
    if pool.auxiliary:
        data["AuxAddresses"] = {name: f"{address}/{length}" for name, address in pool.auxiliary.items()}
    return data
