"""Networks, endpoints and addresses."""

from __future__ import annotations

from msgspec import UNSET, UnsetType, field

from .model import Model


class PortBinding(Model):
    """PortBinding represents a binding between a host IP address and a host port."""

    host_ip: str = ""
    host_port: str = ""


PortMap = dict[str, list[PortBinding] | None]
"""Host ports by container port, such as "80/tcp"."""


class EndpointIPAMConfig(Model):
    """EndpointIPAMConfig represents an endpoint's IPAM configuration."""

    ipv4_address: str | UnsetType = field(default=UNSET, name="IPv4Address")
    ipv6_address: str | UnsetType = field(default=UNSET, name="IPv6Address")
    link_local_ips: list[str] | UnsetType = field(default=UNSET, name="LinkLocalIPs")


class EndpointSettings(Model):
    """Configuration for a network endpoint."""

    ipam_config: EndpointIPAMConfig | None = field(default=None, name="IPAMConfig")
    links: list[str] | None = None
    mac_address: str = ""
    aliases: list[str] | None = None
    driver_opts: dict[str, str] | None = None
    gw_priority: int = 0
    network_id: str = field(default="", name="NetworkID")
    endpoint_id: str = field(default="", name="EndpointID")
    gateway: str = ""
    ip_address: str = field(default="", name="IPAddress")
    ip_prefix_len: int = field(default=0, name="IPPrefixLen")
    ipv6_gateway: str = field(default="", name="IPv6Gateway")
    global_ipv6_address: str = field(default="", name="GlobalIPv6Address")
    global_ipv6_prefix_len: int = field(default=0, name="GlobalIPv6PrefixLen")
    dns_names: list[str] | None = field(default=None, name="DNSNames")


class NetworkingConfig(Model):
    """NetworkingConfig represents the container's networking configuration for each of its interfaces."""

    endpoints_config: dict[str, EndpointSettings] | None = None


class Address(Model):
    """Address represents an IPv4 or IPv6 IP address."""

    addr: str = ""
    prefix_len: int = 0


class NetworkSettings(Model):
    """NetworkSettings exposes the network settings in the API"""

    sandbox_id: str = field(default="", name="SandboxID")
    sandbox_key: str = ""
    ports: PortMap | None = None
    networks: dict[str, EndpointSettings] | None = None


class IPAMConfig(Model):
    """One address pool of a network."""

    subnet: str | UnsetType = UNSET
    ip_range: str | UnsetType = field(default=UNSET, name="IPRange")
    gateway: str | UnsetType = UNSET
    auxiliary_addresses: dict[str, str] | UnsetType = UNSET


class IPAM(Model):
    """How addresses of a network are given out."""

    driver: str = ""
    options: dict[str, str] | None = None
    config: list[IPAMConfig] | None = None


class ConfigReference(Model):
    """The configuration-only network that another network takes its settings from."""

    network: str = ""


class NetworkSummary(Model):
    """A network as it is listed."""

    name: str = ""
    id: str = ""
    created: str = ""
    scope: str = ""
    driver: str = ""
    enable_ipv4: bool = field(default=False, name="EnableIPv4")
    enable_ipv6: bool = field(default=False, name="EnableIPv6")
    ipam: IPAM = field(default_factory=IPAM, name="IPAM")
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    config_from: ConfigReference = field(default_factory=ConfigReference)
    config_only: bool = False
    options: dict[str, str] | None = None
    labels: dict[str, str] | None = None


class EndpointResource(Model):
    """A container on a network."""

    name: str = ""
    endpoint_id: str = field(default="", name="EndpointID")
    mac_address: str = ""
    ipv4_address: str = field(default="", name="IPv4Address")
    ipv6_address: str = field(default="", name="IPv6Address")


class SubnetStatus(Model):
    """How full one subnet of a network is; no count is above 2^64 - 1."""

    ips_in_use: int = field(default=0, name="IPsInUse")
    dynamic_ips_available: int = field(default=0, name="DynamicIPsAvailable")


class IPAMStatus(Model):
    """How full the subnets of a network are."""

    subnets: dict[str, SubnetStatus] | UnsetType = UNSET


class NetworkStatus(Model):
    """What of a network changes while it is in use."""

    ipam: IPAMStatus = field(default_factory=IPAMStatus, name="IPAM")


class NetworkInspect(NetworkSummary):
    """A network with the containers on it."""

    containers: dict[str, EndpointResource] | None = None
    status: NetworkStatus | UnsetType = UNSET


class NetworkCreateRequest(Model):
    """A network to be made."""

    name: str = ""
    driver: str = ""
    scope: str = ""
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    config_only: bool = False
    config_from: ConfigReference | None = None
    ipam: IPAM | None = field(default=None, name="IPAM")
    enable_ipv4: bool | None = field(default=None, name="EnableIPv4")
    enable_ipv6: bool | None = field(default=None, name="EnableIPv6")
    options: dict[str, str] | None = None
    labels: dict[str, str] | None = None


class NetworkCreateResponse(Model):
    """What making a network answers."""

    id: str = ""
    warning: str = ""


class NetworkConnectRequest(Model):
    """A container to be put on a network."""

    container: str = ""
    endpoint_config: EndpointSettings | None = None


class NetworkDisconnectRequest(Model):
    """A container to be taken off a network."""

    container: str = ""
    force: bool = False
