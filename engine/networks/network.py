"""One network in the daemon's memory: its record, its driver, its free addresses, and who is on it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

from msgspec.structs import replace

from .. import ids
from ..errors import Forbidden, Internal, InvalidArgument
from . import ipam, settings
from .driver import BridgeDriver, Driver
from .parentlink import ParentLinkDriver
from .records import EndpointRecord, NetworkRecord, RemoteEndpoint, SandboxRecord
from .remote.driver import RemoteDriver

PREDEFINED = {"bridge": "bridge", "host": "host", "none": "null"}
"""The networks that are always there, with their drivers."""

BUILT_IN_IPAM = ("default", "null")

SETUP_FAILED = "failed to set up container networking: "


Lease = tuple[ipam.Address, int]
"""An address, and the length of its prefix."""


@dataclass(frozen=True, slots=True)
class EndpointRequest:
    """A container's wish to be on a network: what its user said of it, addresses as text."""

    network: str
    """A name or an id."""
    ipv4_address: str = ""
    ipv6_address: str = ""
    link_local_ips: tuple[str, ...] = ()
    mac_address: str = ""
    aliases: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    driver_opts: dict[str, str] = field(default_factory=dict)
    gw_priority: int = 0


class Network:
    """Used from the event loop's thread."""

    def __init__(self, record: NetworkRecord, driver: Driver | None) -> None:
        self.record, self.driver = record, driver
        self.endpoints: dict[str, EndpointRecord] = {}
        """By the container's id; those that are about to be connected too."""
        self.pools = [ipam.AddressPool.of(pool) for pool in record.pools if record.ipam_driver != "null"]

    @property
    def is_predefined(self) -> bool:
        return self.record.name in PREDEFINED

    @property
    def has_names(self) -> bool:
        """Whether containers find each other by name: on the networks that users made."""
        return not self.is_predefined

    @property
    def is_addressed_by_plugin(self) -> bool:
        return self.record.ipam_driver not in BUILT_IN_IPAM

    @property
    def shares_namespace(self) -> bool:
        return self.record.driver == "host"

    @property
    def interface_prefix(self) -> str:
        return self.driver.settings.container_prefix if isinstance(self.driver, BridgeDriver) else "eth"

    def lease(
        self,
        request: EndpointRequest,
        *,
        container_id: str,
        container_name: str,
        dns_names: tuple[str, ...],
        given: Mapping[int, Lease] | None = None,
    ) -> EndpointRecord:
        """Take addresses, the wanted ones or free ones, all or none; or those that a plugin has given."""
        record = self.record
        if record.config_only:
            raise Forbidden("cannot create endpoint on configuration-only network")
        if other := self.endpoints.get(container_id):
            raise Forbidden(f"endpoint with name {other.container_name} already exists in network {record.name}")
        self._check_link_local(request)
        leased = self._take_addresses(request) if given is None else given
        for address, _ in given.values() if given is not None else ():
            self._pool_of(address).take(address)
        endpoint = self._endpoint(request, leased, container_id, container_name, dns_names if self.has_names else ())
        self.endpoints[container_id] = endpoint
        return endpoint

    def _check_link_local(self, request: EndpointRequest) -> None:
        for text in request.link_local_ips:
            address = ip_address(text)
            if not address.is_link_local:
                raise InvalidArgument(f"invalid link local IP address: {text}")
            if address.version == 6 and not any(pool.subnet.version == 6 for pool in self.pools):
                # dockerd's words; the CLI makes 126 of them
                raise Internal(f"error setting interface link local IPs to [{text}/64]: permission denied")

    def lease_gateway(self, sandbox: SandboxRecord) -> EndpointRecord:
        """Make the endpoint by which a container leaves whose other networks give it no way out."""
        endpoint = self.lease(
            EndpointRequest(self.record.id),
            container_id=sandbox.container_id,
            container_name=f"gateway_{sandbox.sandbox_id[:12]}",
            dns_names=(),
        )
        endpoint = self.endpoints[sandbox.container_id] = replace(endpoint, is_gateway=True)
        return endpoint

    def take(self, endpoint: EndpointRecord) -> None:
        """Take what a record says is in use."""
        self.endpoints[endpoint.container_id] = endpoint
        for pool, address in self._leases(endpoint):
            pool.take(address)

    def give_back(self, endpoint: EndpointRecord) -> None:
        present = self.endpoints.get(endpoint.container_id)
        if present is not None and present.endpoint_id == endpoint.endpoint_id:
            del self.endpoints[endpoint.container_id]
        for pool, address in self._leases(endpoint):
            pool.free(address)

    def gateway(self, version: int) -> str:
        """Return the gateway of the containers, empty where there is none."""
        if isinstance(self.driver, RemoteDriver):
            return ""  # the plugin says what it is, of each endpoint
        if self.record.internal or (isinstance(self.driver, ParentLinkDriver) and not self.driver.leads_out):
            return ""
        for pool in self.record.pools:
            if pool.is_ipv6 == (version == 6):
                return pool.auxiliary.get(f"DefaultGatewayIPv{version}", "") or pool.gateway
        return ""

    def _endpoint(
        self,
        request: EndpointRequest,
        leased: Mapping[int, Lease],
        container_id: str,
        container_name: str,
        dns_names: tuple[str, ...],
    ) -> EndpointRecord:
        ipv4, ipv6 = leased.get(4), leased.get(6)
        main = ipv4 or ipv6
        is_remote = isinstance(self.driver, RemoteDriver)
        return EndpointRecord(
            container_id=container_id,
            container_name=container_name,
            network_id=self.record.id,
            network_name=self.record.name,
            network_driver=self.record.driver,
            endpoint_id=ids.new_id(),
            ip_address=str(ipv4[0]) if ipv4 else "",
            prefix_len=ipv4[1] if ipv4 else 0,
            gateway=self.gateway(4) if ipv4 else "",
            ipv6_address=str(ipv6[0]) if ipv6 else "",
            ipv6_prefix_len=ipv6[1] if ipv6 else 0,
            ipv6_gateway=self.gateway(6) if ipv6 else "",
            link_local_ips=request.link_local_ips,
            mac_address=self._mac_address(request, main[0] if main is not None else None),
            link=f"veth{secrets.token_hex(4)[:7]}" if isinstance(self.driver, BridgeDriver) else "",
            interface="" if is_remote else request.driver_opts.get(settings.INTERFACE_NAME, ""),
            gw_priority=request.gw_priority,
            aliases=request.aliases,
            dns_names=dns_names,
            links=request.links,
            driver_opts=request.driver_opts,
            remote=RemoteEndpoint() if is_remote else None,
        )

    def _mac_address(self, request: EndpointRequest, address: ipam.Address | None) -> str:
        if self.record.driver == "ipvlan":
            return ""  # it has its parent's
        if isinstance(self.driver, RemoteDriver):
            return request.mac_address  # what the plugin's link has
        return request.mac_address or (ipam.mac_address(address) if address is not None else "")

    def _take_addresses(self, request: EndpointRequest) -> dict[int, Lease]:
        leased: dict[int, ipam.Address] = {}
        try:
            for version, wanted in ((4, request.ipv4_address), (6, request.ipv6_address)):
                address = self._take_address(version, wanted)
                if address is not None:
                    leased[version] = address
        except BaseException:
            for address in leased.values():
                self._pool_of(address).free(address)
            raise
        return {version: (address, self._pool_of(address).subnet.prefixlen) for version, address in leased.items()}

    def _take_address(self, version: int, wanted: str) -> ipam.Address | None:
        pools = [pool for pool in self.pools if pool.subnet.version == version]
        if wanted:
            address = ip_address(wanted)
            for pool in pools:
                if address in pool.subnet:
                    pool.claim(address)
                    return address
            raise Internal(f"no configured subnet or ip-range contain the IP address {wanted}")
        for pool in pools[:-1]:
            try:
                return pool.allocate("")
            except Internal:
                continue
        return pools[-1].allocate(f"{self.record.name} ({self.record.id})") if pools else None

    def _pool_of(self, address: ipam.Address) -> ipam.AddressPool:
        for pool in self.pools:
            if pool.subnet.version == address.version and address in pool.subnet:
                return pool
        raise Internal(f"network {self.record.name} has no pool for {address}")

    def _leases(self, endpoint: EndpointRecord) -> list[tuple[ipam.AddressPool, ipam.Address]]:
        """Return an endpoint's addresses; the default bridge's subnet may have been configured anew meanwhile."""
        addresses = [ip_address(text) for text in (endpoint.ip_address, endpoint.ipv6_address) if text]
        return [(pool, address) for pool in self.pools for address in addresses if address in pool.subnet]


def check_together(networks: Sequence[Network]) -> None:
    """Refuse networks that one container cannot have together."""
    if len(networks) < 2:
        return
    if any(network.record.driver == "host" for network in networks):
        raise InvalidArgument(
            f"{SETUP_FAILED}container sharing network namespace with another container or host cannot be connected "
            "to any other network"
        )
    if any(network.record.driver == "null" and network.is_predefined for network in networks):
        raise InvalidArgument(
            "container cannot be connected to multiple networks with one of the networks in private (none) mode"
        )


def gateway_versions(record: NetworkRecord) -> tuple[int, ...]:
    """Return the families in which an address is the network's own: a bridge's, or a router's on the parent's wire."""
    if record.driver in ("ipvlan", "macvlan"):
        is_l2 = record.options.get("ipvlan_mode", "l2") == "l2"
        return (4, 6) if is_l2 and "parent" in record.options and not record.internal else ()
    return (4, 6)
