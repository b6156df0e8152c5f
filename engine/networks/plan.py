"""What follows from a sandbox's record: names, interfaces and default routes."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from msgspec.structs import replace

from .network import Network
from .records import EndpointRecord, SandboxRecord


def names_of(record: SandboxRecord, aliases: Iterable[str]) -> tuple[str, ...]:
    """Return the names that others find a container by; the first one is what its address leads back to."""
    names = [record.container_name, *aliases, record.container_id[:12], record.hostname]
    return tuple(dict.fromkeys(name for name in names if name))


def with_interface(endpoint: EndpointRecord, network: Network, others: Collection[EndpointRecord]) -> EndpointRecord:
    """Name the interface inside, `eth0` and so on, where its user did not."""
    if network.driver is None or endpoint.interface:
        return endpoint
    used = {other.interface for other in others}
    prefix = network.interface_prefix
    number = next(number for number in range(len(used) + 1) if f"{prefix}{number}" not in used)
    return replace(endpoint, interface=f"{prefix}{number}")


def gateways(record: SandboxRecord, endpoint: EndpointRecord) -> tuple[str, ...]:
    """Return the default routes that go by this endpoint."""
    found = []
    if record.gateway_endpoint() is endpoint:
        found.append(endpoint.gateway)
    if record.gateway_endpoint(ipv6=True) is endpoint:
        found.append(endpoint.ipv6_gateway)
    return tuple(found)


def all_gateways(record: SandboxRecord) -> list[str]:
    return [gateway for endpoint in record.endpoints for gateway in gateways(record, endpoint)]
