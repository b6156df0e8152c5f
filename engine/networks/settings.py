"""What a bridge network's driver options say, and what the daemon's configuration says of the default bridge."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from .. import booleans
from ..config import BridgeConfig
from ..errors import InvalidArgument
from .records import NetworkRecord

BRIDGE = "com.docker.network.bridge"
MTU = "com.docker.network.driver.mtu"
HOST_ADDRESS = {4: "com.docker.network.host_ipv4", 6: "com.docker.network.host_ipv6"}
CONTAINER_PREFIX = "com.docker.network.container_iface_prefix"
INTERFACE_NAME = "com.docker.network.endpoint.ifname"
SYSCTLS = "com.docker.network.endpoint.sysctls"

NAT, UNPROTECTED, ROUTED, ISOLATED = "nat", "nat-unprotected", "routed", "isolated"
_LINK_NAME = re.compile(r'[^\s/"]{1,15}')
_MODES = (NAT, UNPROTECTED, ROUTED, ISOLATED)
_BOOLEANS = {"enable_icc": "icc", "enable_ip_masquerade": "masquerade", "inhibit_ipv4": "inhibit_ipv4"}


@dataclass(slots=True)
class BridgeSettings:
    """How one bridge network is to be."""

    name: str
    mtu: int = 0
    """0: the kernel's own."""
    icc: bool = True
    masquerade: bool = True
    inhibit_ipv4: bool = False
    internal: bool = False
    is_default: bool = False
    host_binding: str = ""
    """Where ports are published that name no address of the host; empty is everywhere."""
    modes: tuple[str, str] = (NAT, NAT)
    """The gateway mode of IPv4 and that of IPv6."""
    host_addresses: tuple[str, str] = ("", "")
    """What containers are seen as from outside, where that is not the address of the interface that they leave by."""
    container_prefix: str = "eth"
    trusted: tuple[str, ...] = ()
    """Links of the host from which published ports are reached by the containers' own addresses, too."""


def of_network(record: NetworkRecord) -> BridgeSettings:
    """Read the options of a network that a user made."""
    found = BridgeSettings(f"br-{record.id[:12]}", internal=record.internal)
    for label, value in record.options.items():
        try:
            _read(found, label, value)
        except ValueError as error:
            raise InvalidArgument(f"failed to parse {label} value: {value} ({error})") from error
    if ISOLATED in found.modes and not record.internal:
        raise InvalidArgument("gateway mode 'isolated' can only be used for an internal network")
    return found


def of_default_bridge(config: BridgeConfig) -> BridgeSettings:
    binding = "" if config.default_binding_ip == "0.0.0.0" else config.default_binding_ip
    return BridgeSettings(
        config.name, mtu=config.mtu, icc=config.icc, masquerade=config.ip_masq, is_default=True, host_binding=binding
    )


def options_of_default_bridge(config: BridgeConfig) -> dict[str, str]:
    """Return the options that `docker network inspect bridge` shows."""
    return {
        f"{BRIDGE}.default_bridge": "true",
        f"{BRIDGE}.enable_icc": str(config.icc).lower(),
        f"{BRIDGE}.enable_ip_masquerade": str(config.ip_masq and config.iptables).lower(),
        f"{BRIDGE}.host_binding_ipv4": config.default_binding_ip,
        f"{BRIDGE}.name": config.name,
        MTU: str(config.mtu),
    }


def sysctls(driver_opts: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return an endpoint's own settings: paths below net/, with IFNAME for the interface, and values."""
    found = []
    for setting in filter(None, driver_opts.get(SYSCTLS, "").split(",")):
        name, _, value = setting.partition("=")
        parts = name.split(".", 4)
        if len(parts) != 5 or parts[1] not in ("ipv4", "ipv6", "mpls") or parts[3].upper() != "IFNAME":
            raise InvalidArgument(
                f"unrecognised network interface sysctl '{setting}'; represent 'net.X.Y.ethN.Z=V' as "
                "'net.X.Y.IFNAME.Z=V', 'X' must be 'ipv4', 'ipv6' or 'mpls'"
            )
        found.append(("/".join((*parts[1:3], "IFNAME", parts[4].replace(".", "/"))), value))
    return found


def _read(found: BridgeSettings, label: str, value: str) -> None:
    option = label.removeprefix(f"{BRIDGE}.") if label.startswith(f"{BRIDGE}.") else ""
    if option == "name":
        found.name = value
    elif option in _BOOLEANS:
        setattr(found, _BOOLEANS[option], booleans.parse(value))
    elif option == "host_binding_ipv4":
        found.host_binding = _address(value)
    elif option in ("gateway_mode_ipv4", "gateway_mode_ipv6"):
        if value not in _MODES:
            raise ValueError(f"unknown gateway mode {value}")
        found.modes = (value, found.modes[1]) if option.endswith("4") else (found.modes[0], value)
    elif option == "trusted_host_interfaces":
        found.trusted = tuple(name for name in value.split(":") if _LINK_NAME.fullmatch(name))
    elif label == MTU:
        if not value.lstrip("+-").isdecimal():
            raise ValueError(f'strconv.Atoi: parsing "{value}": invalid syntax')
        found.mtu = int(value)
    elif label == HOST_ADDRESS[4]:
        found.host_addresses = (_address(value), found.host_addresses[1])
    elif label == HOST_ADDRESS[6]:
        found.host_addresses = (found.host_addresses[0], _address(value))
    elif label == CONTAINER_PREFIX:
        found.container_prefix = value


def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        raise ValueError("nil ip") from None
