"""The default bridge's subnets and its own addresses: what the configuration says, what the bridge has, what is free.

The rules are dockerd's, the same for both families: `bip` comes first, then an address that the bridge has already and
that goes with `fixed-cidr`, then `fixed-cidr` itself, then the first free pool. Used at the daemon's start.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from ipaddress import ip_interface, ip_network

from msgspec.structs import replace

from ..config import DEFAULT_BRIDGE, BridgeConfig, EngineConfig
from ..errors import Internal, InvalidArgument
from . import host, ipam, settings
from .bridge import Bridge, Interface
from .driver import Kernel
from .records import NetworkRecord, Pool

logger = logging.getLogger(__name__)

_GATEWAY = {4: "DefaultGatewayIPv4", 6: "DefaultGatewayIPv6"}


def configured(kernel: Kernel, record: NetworkRecord) -> NetworkRecord:
    """Return the record of the default bridge as the configuration wants it, with the subnets that it has already."""
    config = kernel.config.bridge
    bridge = Bridge(settings.of_default_bridge(config), kernel.netlink)
    present: list[Interface] = []
    if bridge.exists():
        bridge.set_up()
        present = bridge.addresses()
    elif config.name != DEFAULT_BRIDGE:
        raise Internal(f"bridge device with non default name {config.name} must be created manually")
    pools = [_pool(kernel, record, 4, [one for one in present if one.version == 4])]
    if config.ipv6:
        pools.append(_pool(kernel, record, 6, [one for one in present if one.version == 6]))
    options = settings.options_of_default_bridge(config)
    return replace(record, pools=tuple(pools), options=options, enable_ipv6=config.ipv6)


def _pool(kernel: Kernel, record: NetworkRecord, version: int, present: Sequence[Interface]) -> Pool:
    config = kernel.config.bridge
    gateway, part = config.default_gateways[version], _part(config, version)
    if config.bips[version]:
        interface = ipam.parse_bip(config.bips[version], version)
    else:
        found = _of_bridge(config, present, part)
        interface = found or _free(kernel, record, version, part)
    subnet = interface.network
    if part is not None and not ipam.within(part, subnet):
        if version == 6 or config.name == DEFAULT_BRIDGE:
            raise InvalidArgument(f"fixed-cidr {part} is not within the bridge's subnet {subnet}")
        logger.warning("fixed-cidr %s is outside of the subnet %s of the bridge %s", part, subnet, config.name)
        part = None
    if gateway and ip_interface(gateway).ip not in subnet:
        raise InvalidArgument(f"default gateway {gateway} is not within the bridge's subnet {subnet}")
    auxiliary = {_GATEWAY[version]: gateway} if gateway else {}
    return Pool(
        subnet=str(subnet),
        gateway=str(interface.ip),
        ip_range=str(part) if part is not None and (part != subnet or version == 4) else "",
        auxiliary=auxiliary,
    )


def _part(config: BridgeConfig, version: int) -> ipam.Subnet | None:
    """Return the block that containers get their addresses from, where the configuration names one."""
    text = config.fixed_cidrs[version]
    name = "fixed-cidr" if version == 4 else "fixed-cidr-v6"
    if not text:
        return None
    try:
        part = ip_network(text, strict=False)
        if part.version != version:
            raise ValueError(f"it is not IPv{version}")
    except ValueError as error:
        raise InvalidArgument(f"invalid {name} {text!r}: {error}") from error
    return part


def _of_bridge(config: BridgeConfig, present: Sequence[Interface], part: ipam.Subnet | None) -> Interface | None:
    """Return the address that the bridge has and keeps."""
    if not present:
        return None
    if part is None:
        return present[0]
    fitting = [one for one in present if ipam.within(part, one.network)]
    if fitting or config.name != DEFAULT_BRIDGE:
        return (*fitting, *present)[0]
    larger = [one for one in present if one.ip in part]
    return ip_interface(f"{larger[0].ip}/{part.prefixlen}") if larger else None


def _free(kernel: Kernel, record: NetworkRecord, version: int, part: ipam.Subnet | None) -> Interface:
    if part is None and version == 4:
        blocks = [source for source in sources(kernel.config) if source[0].version == 4]
        part = ipam.choose_subnet(host.routes(kernel.netlink), blocks or ipam.BRIDGE_SOURCES)
    elif part is None:
        part = ipam.choose_subnet((), [ipam.unique_local_source(record.id)])
    return ip_interface(f"{part[1]}/{part.prefixlen}")


def sources(config: EngineConfig) -> list[ipam.SubnetSource]:
    """Return the blocks that the configuration takes subnets from."""
    return [(ip_network(base), size) for base, size in config.default_address_pools]
