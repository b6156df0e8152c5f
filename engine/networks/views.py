"""Networks as clients look them up, filter them and see them."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from msgspec import UNSET

from ...openapi.types import networks as api
from .. import ids
from ..errors import InvalidArgument, NotFound
from ..filters import Filters
from ..times import parse_time
from .network import Network
from .records import EndpointRecord, Pool


def find(networks: Collection[Network], ref: str) -> Network:
    """Return the network that an id, a name or an unambiguous beginning of an id stands for."""
    for matches in ([n for n in networks if n.record.id == ref], [n for n in networks if n.record.name == ref]):
        if matches:
            return matches[0]
    candidates = ids.matching_prefix((n.record.id for n in networks), ref) if ref else []
    if len(candidates) > 1:
        raise InvalidArgument(f"network {ref} is ambiguous ({len(candidates)} matches found based on ID prefix)")
    for network in networks:
        if network.record.id in candidates:
            return network
    raise NotFound(f"network {ref} not found")


def select(networks: Iterable[Network], filters: Filters) -> list[Network]:
    """Return the networks that `docker network ls --filter` shows."""
    dangling = _dangling(filters)
    types = filters.get("type")
    for wanted in types:
        if wanted not in ("builtin", "custom"):
            raise InvalidArgument(f"invalid filter: 'type'='{wanted}'")
    return [
        network
        for network in networks
        if filters.exact("driver", network.record.driver)
        and filters.regex("name", network.record.name)
        and filters.regex("id", network.record.id)
        and filters.labels("label", network.record.labels)
        and filters.exact("scope", network.record.scope)
        and (not types or ("builtin" if network.is_predefined else "custom") in types)
        and (dangling is None or dangling == (not network.is_predefined and not network.endpoints))
    ]


def _dangling(filters: Filters) -> bool | None:
    """Whether unused ones are wanted, or used ones, or both; with the text that dockerd has for networks alone."""
    try:
        return filters.boolean("dangling") if "dangling" in filters else None
    except InvalidArgument:
        text = """invalid value for filter 'dangling', must be "true" (or "1"), or "false" (or "0")"""
        raise InvalidArgument(text) from None


def prunable(networks: Iterable[Network], filters: Filters) -> list[Network]:
    """Return the networks of users that nobody is on and that match."""
    values = filters.get("until")
    if len(values) > 1:
        raise InvalidArgument("more than one until filter specified")
    until_ns = parse_time(values[0]) if values else None
    return [
        network
        for network in networks
        if not network.is_predefined
        and not network.endpoints
        and filters.labels("label", network.record.labels)
        and not ("label!" in filters and filters.labels("label!", network.record.labels))
        and (until_ns is None or network.record.created_ns <= until_ns)
    ]


def inspect(network: Network, *, whole: bool = True) -> api.NetworkInspect:
    """Return a network as the API shows it; `whole` with its containers, and how full it is."""
    record = network.record
    endpoints = network.endpoints.values() if whole else ()
    return api.NetworkInspect(
        name=record.name,
        id=record.id,
        created=record.created,
        scope=record.scope,
        driver=record.driver,
        enable_ipv4=record.enable_ipv4,
        enable_ipv6=record.enable_ipv6,
        ipam=_ipam(network),
        internal=record.internal,
        attachable=record.attachable,
        config_from=api.ConfigReference(network=record.config_from),
        config_only=record.config_only,
        options=record.options,
        labels=record.labels,
        containers={endpoint.container_id: _resource(endpoint) for endpoint in endpoints},
        status=_status(network) if whole else UNSET,
    )


def _status(network: Network) -> api.NetworkStatus:
    subnets = {
        str(pool.subnet): api.SubnetStatus(ips_in_use=pool.in_use, dynamic_ips_available=pool.available)
        for pool in (() if network.is_addressed_by_plugin else network.pools)
    }
    return api.NetworkStatus(ipam=api.IPAMStatus(subnets=subnets or UNSET))


def _ipam(network: Network) -> api.IPAM:
    record = network.record
    pools = [_pool(pool) for pool in record.pools]
    return api.IPAM(driver=record.ipam_driver, options=record.ipam_options, config=pools or None)


def _pool(pool: Pool) -> api.IPAMConfig:
    return api.IPAMConfig(
        subnet=pool.subnet,
        ip_range=pool.ip_range or UNSET,
        gateway=pool.gateway or UNSET,
        auxiliary_addresses=pool.auxiliary or UNSET,
    )


def _resource(endpoint: EndpointRecord) -> api.EndpointResource:
    ipv6 = f"{endpoint.ipv6_address}/{endpoint.ipv6_prefix_len}" if endpoint.ipv6_address else ""
    return api.EndpointResource(
        name=endpoint.container_name,
        endpoint_id=endpoint.endpoint_id,
        mac_address=endpoint.mac_address,
        ipv4_address=f"{endpoint.ip_address}/{endpoint.prefix_len}" if endpoint.ip_address else "",
        ipv6_address=ipv6,
    )
