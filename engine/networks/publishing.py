"""Where a container's published ports lead: by the kernel's rules, or by the shim that serves what they do not carry.

Each family's ports lead to the endpoint that is the container's gateway in it. IPv6 ports of a container without IPv6
lead to its IPv4 address: no rule can do that, only a proxy, and so dockerd's `userland-proxy` decides about them. Used
by `Sandboxes` alone.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable

from .. import errors
from ..config import BridgeConfig
from . import ports
from .driver import BridgeDriver, Driver
from .firewall import EndpointRules
from .ports import PortAllocator, PortWishes, Reservation
from .records import EndpointRecord, PortBinding, SandboxRecord

VERSIONS = (4, 6)


class Publishing:
    """Used from the event loop's thread. `driver_of` gives what makes an endpoint's network."""

    def __init__(self, config: BridgeConfig, driver_of: Callable[[EndpointRecord], Driver | None]) -> None:
        self._config, self._driver_of = config, driver_of
        self._ports = PortAllocator()

    def take(self, bindings: Iterable[PortBinding]) -> None:
        """Mark ports that a record says are in use."""
        self._ports.take(bindings)

    def free(self, record: SandboxRecord) -> None:
        self._ports.free(record.bindings)

    def reserve(self, record: SandboxRecord, wishes: PortWishes) -> Reservation:
        """Take the host ports, where the container has a way out by a bridge; with none they lead nowhere."""
        if not (wishes.bindings or wishes.publish_all):
            return Reservation()
        default_ips: list[str] = []
        routed: list[PortBinding] = []
        translated = []
        for version in VERSIONS:
            endpoint = self._target(record, version)
            if endpoint is None:
                continue
            driver = self._bridge_of(endpoint)
            if driver is not None and driver.is_routed(version):
                routed += ports.routed(wishes, version)
            elif driver is not None:
                translated.append(version)
                default_ips += _default_ips(driver, version)
        wanted = ports.requests(wishes, default_ips=tuple(default_ips), versions=translated)
        gateway = record.gateway_endpoint() or record.gateway_endpoint(ipv6=True) or record.endpoints[0]
        try:
            reservation = self._ports.reserve(
                wanted, container_ip=gateway.ip_address or gateway.ipv6_address, served=self._served_versions()
            )
        except errors.Error as error:
            raise no_connectivity(gateway, error) from error
        reservation.bindings = sorted((*reservation.bindings, *routed), key=lambda binding: binding.version)
        return reservation

    def rules(self, record: SandboxRecord) -> list[EndpointRules]:
        """Return what the firewall does for a container."""
        found = []
        for version in VERSIONS:
            endpoint = record.gateway_endpoint(ipv6=version == 6)
            driver = self._bridge_of(endpoint)
            bindings = tuple(binding for binding in record.bindings if binding.version == version)
            if endpoint is not None and driver is not None and bindings and self._config.has_rules(version):
                address = endpoint.ipv6_address if version == 6 else endpoint.ip_address
                direct = self._config.allow_direct_routing
                found.append(
                    EndpointRules(
                        address,
                        bindings,
                        routed=driver.is_routed(version),
                        direct=direct,
                        trusted=driver.settings.trusted,
                    )
                )
        return found

    def served(self, record: SandboxRecord) -> dict[str, tuple[str, int]]:
        """Return the ports that the shim serves, by the names of their sockets, and where they lead."""
        found = {}
        for binding in record.bindings:
            endpoint = self._target(record, binding.version)
            if endpoint is not None and binding.host_port and binding.version in self._served_versions():
                address = (endpoint.ipv6_address if binding.version == 6 else "") or endpoint.ip_address
                found[binding.socket_name] = (address, binding.container_port)
        return found

    def published(self, record: SandboxRecord) -> list[PortBinding]:
        """Return the ports that lead to the container as it is connected now."""
        return [binding for binding in record.bindings if self._target(record, binding.version) is not None]

    def _served_versions(self) -> tuple[int, ...]:
        """IPv6 always: the kernel does not route ::1 to bridges."""
        if not self._config.userland_proxy:
            return ()
        return VERSIONS if self._config.published_ports_through_input or not self._config.has_rules(4) else (6,)

    def _target(self, record: SandboxRecord, version: int) -> EndpointRecord | None:
        """Return the endpoint that ports of the host's addresses of a family lead to."""
        found = record.gateway_endpoint(ipv6=version == 6)
        if found is None and version == 6 and self._config.userland_proxy:
            found = record.gateway_endpoint()
        return found if self._bridge_of(found) is not None else None

    def _bridge_of(self, endpoint: EndpointRecord | None) -> BridgeDriver | None:
        driver = self._driver_of(endpoint) if endpoint is not None else None
        return driver if isinstance(driver, BridgeDriver) else None


def no_connectivity(endpoint: EndpointRecord, error: errors.Error) -> errors.Error:
    shown = f"{endpoint.container_name} ({endpoint.endpoint_id})"
    return type(error)(f"driver failed programming external connectivity on endpoint {shown}: {error}")


def _default_ips(driver: BridgeDriver, version: int) -> list[str]:
    """Return the host's addresses of a family for a port that names none: all, where the network's user chose none."""
    binding = driver.settings.host_binding
    if binding in ("", "0.0.0.0"):
        return [ports.ANY[version == 6]] if version == 4 or _listens_on_ipv6() else []
    return [binding] if (":" in binding) == (version == 6) else []


def _listens_on_ipv6() -> bool:
    """Whether the host has IPv6, and has it turned on."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True
