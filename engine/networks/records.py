"""What the networks room remembers across restarts of the daemon, one document a row in the store."""

from __future__ import annotations

from typing import Any

import msgspec


class Pool(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """One subnet of a network, IPv4 or IPv6. `chosen`: not by the user.

    Those of a plugin have an `id` there, and a gateway that may be of a larger subnet.
    """

    subnet: str
    gateway: str = ""
    ip_range: str = ""
    auxiliary: dict[str, str] = {}
    chosen: bool = False
    id: str = ""
    address_space: str = "LocalDefault"
    gateway_prefix_len: int = 0

    @property
    def is_ipv6(self) -> bool:
        return ":" in self.subnet


class NetworkRecord(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """A network."""

    id: str
    name: str
    driver: str
    created: str
    created_ns: int = 0
    enable_ipv4: bool = True
    enable_ipv6: bool = False
    internal: bool = False
    attachable: bool = False
    config_only: bool = False
    config_from: str = ""
    ipam_driver: str = "default"
    ipam_options: dict[str, str] | None = None
    pools: tuple[Pool, ...] = ()
    options: dict[str, str] = {}
    labels: dict[str, str] = {}
    link_is_users: bool = False
    """Whether its bridge was there before, so that it stays when the network goes."""
    unfinished: bool = False
    """It is being made or removed: a daemon that finds it so removes what there is of it."""
    scope: str = "local"
    """How far the plugin that makes it says that it reaches."""

    def has_version(self, version: int) -> bool:
        """Whether its endpoints have addresses of a family, 4 or 6."""
        return self.enable_ipv6 if version == 6 else self.enable_ipv4


class PortBinding(msgspec.Struct, kw_only=True, frozen=True):
    """A port of a container that is reachable by a port of the host."""

    protocol: str
    container_port: int
    host_ip: str
    host_port: int
    """0 where the container is reached by its own address."""

    @property
    def version(self) -> int:
        return 6 if ":" in self.host_ip else 4

    @property
    def socket_name(self) -> str:
        """What the shim knows the socket by that reserves the port."""
        return f"{self.protocol} {self.host_ip} {self.host_port}"


class Route(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """A way that a plugin has a container go: to a subnet by a next hop, or by the endpoint's link where none is."""

    destination: str
    next_hop: str = ""


class RemoteEndpoint(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """What a plugin said of an endpoint that it made.

    `prefix` begins its interface's name. `programmed`: whether the plugin knows it as the container's way out, by IPv4
    and by IPv6.
    """

    prefix: str = ""
    routes: tuple[Route, ...] = ()
    needs_no_gateway: bool = False
    is_joined: bool = False
    programmed: tuple[bool, bool] = (False, False)


class EndpointRecord(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """A container's attachment to a network; what it does not have there is empty.

    `dns_names` are those that the others on the network find it by, `links` (alias, container) those that it alone
    knows. `link` is its interface's name on the host, `interface` that inside.
    """

    container_id: str
    container_name: str
    network_id: str
    network_name: str
    network_driver: str
    endpoint_id: str
    ip_address: str = ""
    prefix_len: int = 0
    gateway: str = ""
    ipv6_address: str = ""
    ipv6_prefix_len: int = 0
    ipv6_gateway: str = ""
    link_local_ips: tuple[str, ...] = ()
    mac_address: str = ""
    link: str = ""
    interface: str = ""
    gw_priority: int = 0
    aliases: tuple[str, ...] = ()
    dns_names: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    driver_opts: dict[str, str] = {}
    remote: RemoteEndpoint | None = None
    """Of an endpoint that a plugin made."""
    is_gateway: bool = False
    """It is not its user's: it gives the container a way out, which plugins' networks need not have."""

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Those of its interface, with the lengths of their prefixes."""
        own = [(self.ip_address, self.prefix_len), (self.ipv6_address, self.ipv6_prefix_len)]
        link_local = [(address, 64 if ":" in address else 16) for address in self.link_local_ips]
        return [(address, prefix_len) for address, prefix_len in own + link_local if address]

    def leads_out(self, *, ipv6: bool) -> bool:
        """Whether the container's default route goes by it where no other is preferred."""
        if self.ipv6_gateway if ipv6 else self.gateway:
            return True
        default = "::/0" if ipv6 else "0.0.0.0/0"
        return self.remote is not None and any(route.destination == default for route in self.remote.routes)


class SandboxRecord(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """A running container's place in the networks: its endpoints, in the order of its interfaces, and host ports."""

    container_id: str
    container_name: str
    sandbox_id: str
    hostname: str = ""
    endpoints: tuple[EndpointRecord, ...] = ()
    bindings: tuple[PortBinding, ...] = ()
    exposed: tuple[str, ...] = ()
    servers: tuple[tuple[str, bool], ...] = ()
    """The nameservers for names that no container has, each with whether it is asked from the host's namespace."""
    ndots: bool = False
    """Whether the user chose how many dots make a name that is not tried with the search domains first."""
    key: str = ""
    """Where plugins find its namespace; empty where none has to."""
    port_options: dict[str, Any] = {}
    """Its ports as plugins are told of them."""

    def on(self, network_id: str) -> EndpointRecord | None:
        for endpoint in self.endpoints:
            if endpoint.network_id == network_id and not endpoint.is_gateway:
                return endpoint
        return None

    def gateway_endpoint(self, *, ipv6: bool = False) -> EndpointRecord | None:
        """Return the endpoint that the default route goes by, and that the published ports lead to.

        The highest priority, then the first name (moby's `Endpoint.Less`); the engine's own last.
        """
        candidates = [one for one in self.endpoints if one.leads_out(ipv6=ipv6)]
        return min(candidates, key=lambda one: (one.is_gateway, -one.gw_priority, one.network_name), default=None)
