"""The options of `lightshipd` that say where subnets come from, and what new networks are like."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from ..engine.config import DEFAULT_BRIDGE, BridgeConfig


def read_address_pool(value: Any) -> tuple[str, int]:
    """Read `base=10.0.0.0/8,size=24`, or the object with these two in the file."""
    if isinstance(value, str):
        parts = [part.strip().partition("=") for part in value.split(",")]
        value = {name.lower(): text for name, _, text in parts}
    if not isinstance(value, dict) or set(value) != {"base", "size"}:
        raise ValueError(f"invalid default address pool: {value}")
    try:
        block, size = ipaddress.ip_network(value["base"]), int(value["size"])
    except ValueError as error:
        raise ValueError(f"invalid default address pool: {error}") from error
    if not block.prefixlen <= size <= block.max_prefixlen:
        raise ValueError(f"invalid default address pool: subnets of {block} cannot have the size {size}")
    return str(block), size


def read_mark(text: str) -> str:
    """Read a firewall mark, `1` or `0x1/0xff`; return it with its mask, nothing for nothing."""
    if not text:
        return ""
    mark, _, mask = text.partition("/")
    try:
        numbers = int(mark, 0), int(mask or "0xffffffff", 0)
        if not all(0 <= number <= 0xFFFFFFFF for number in numbers):
            raise ValueError("out of range")
    except ValueError as error:
        raise ValueError(f"invalid firewall mark '{text}'") from error
    return f"{numbers[0]:#x}/{numbers[1]:#x}"


def read_default_option(text: str) -> tuple[str, dict[str, str]]:
    """Read `bridge=com.docker.network.driver.mtu=1400`."""
    parts = text.split("=", 2)
    if len(parts) < 3:
        raise ValueError(f'invalid value "{text}" for map option, should be root-key=key=value')
    return parts[0], {parts[1]: parts[2]}


def default_options(value: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Read `{"bridge": {"com.docker.network.driver.mtu": "1400"}}`."""
    if not all(isinstance(options, dict) for options in value.values()):
        raise ValueError("default-network-opts: expected an object of objects")
    return {driver: {name: str(item) for name, item in options.items()} for driver, options in value.items()}


def check(bridge: BridgeConfig) -> None:
    """Refuse options that cannot be followed together, with dockerd's words."""
    if bridge.name != DEFAULT_BRIDGE:
        for option, value in (("bip", bridge.bip), ("bip6", bridge.bip6)):
            if value:
                raise ValueError(f"You specified -b & --{option}, mutually exclusive options. Please specify only one")
    if not bridge.icc:
        for option, ignores in (("iptables", not bridge.iptables), ("ip6tables", bridge.ipv6 and not bridge.ip6tables)):
            if ignores:
                raise ValueError(
                    f"You specified --{option}=false with --icc=false. ICC=false uses {option} to function. Please set "
                    f"--icc or --{option} to true"
                )
    if bridge.published_ports_through_input and not bridge.userland_proxy:
        raise ValueError("published-ports-through-input needs userland-proxy")
    if bridge.mtu < 0:
        raise ValueError(f"invalid default MTU: {bridge.mtu}")
