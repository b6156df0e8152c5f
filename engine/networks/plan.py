"""What follows from a sandbox's record: names, interfaces and default routes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from .network import Network
from .records import EndpointRecord, SandboxRecord


def names_of(record: SandboxRecord, aliases: Iterable[str]) -> tuple[str, ...]:
    """Return the names that others find a container by; the first one is what its address leads back to."""
    names = [record.container_name, *aliases, record.container_id[:12], record.hostname]
    return tuple(dict.fromkeys(name for name in names if name))


def with_interfaces(record: SandboxRecord, networks: Mapping[str, Network]) -> SandboxRecord:
    """Name the interfaces inside, `eth0` and so on, where their user did not."""
    named: list[EndpointRecord] = []
    for endpoint in record.endpoints:
        network = networks[endpoint.network_id]
        if network.driver is not None and not endpoint.interface and (endpoint.remote is None or endpoint.link):
            used = {other.interface for other in named}
            prefix = endpoint.remote.prefix if endpoint.remote is not None else network.interface_prefix
            number = next(number for number in range(len(used) + 1) if f"{prefix}{number}" not in used)
            endpoint = replace(endpoint, interface=f"{prefix}{number}")
            network.endpoints[record.container_id] = endpoint
        named.append(endpoint)
    return replace(record, endpoints=tuple(named))


def with_endpoint(record: SandboxRecord, changed: EndpointRecord) -> SandboxRecord:
    """Return the sandbox with one of its endpoints changed."""
    endpoints = (changed if one.endpoint_id == changed.endpoint_id else one for one in record.endpoints)
    return replace(record, endpoints=tuple(endpoints))


def without_endpoint(record: SandboxRecord, endpoint: EndpointRecord) -> SandboxRecord:
    """Return the sandbox with one endpoint less."""
    others = (one for one in record.endpoints if one.endpoint_id != endpoint.endpoint_id)
    return replace(record, endpoints=tuple(others))


def missing(before: SandboxRecord, after: SandboxRecord) -> list[EndpointRecord]:
    """Return the endpoints that a sandbox does not have before, and has after."""
    present = {one.endpoint_id for one in before.endpoints}
    return [one for one in after.endpoints if one.endpoint_id not in present]


def needs_gateway(record: SandboxRecord, networks: Mapping[str, Network]) -> bool:
    """Whether plugins leave a container without the way out that they may leave to the engine.

    As in libnetwork a default route that goes by a link, without a next hop, is not taken for one.
    """
    own = [
        (one, one.remote)
        for one in record.endpoints
        if not one.is_gateway
        and not networks[one.network_id].record.internal
        and not (one.remote is not None and one.remote.needs_no_gateway)
    ]
    for one, remote in own:
        routes = remote.routes if remote is not None else ()
        has_route = any(route.next_hop and route.destination == "0.0.0.0/0" for route in routes)
        if one.gateway or one.ipv6_gateway or has_route:
            return False
    return any(remote is not None for _, remote in own)


def gateways(record: SandboxRecord, endpoint: EndpointRecord) -> tuple[str, ...]:
    """Return the default routes that go by this endpoint."""
    found = []
    if record.gateway_endpoint() is endpoint:
        found.append(endpoint.gateway)
    if record.gateway_endpoint(ipv6=True) is endpoint:
        found.append(endpoint.ipv6_gateway)
    return tuple(filter(None, found))


def all_gateways(record: SandboxRecord) -> list[str]:
    return [gateway for endpoint in record.endpoints for gateway in gateways(record, endpoint)]
