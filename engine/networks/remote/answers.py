"""What a network plugin answers about an endpoint, read and checked with libnetwork's words."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Any

from msgspec.structs import replace

from ...errors import Internal
from ..records import EndpointRecord, RemoteEndpoint, Route
from .addresses import parse_cidr

_MAC_ADDRESS = re.compile(r"[0-9a-fA-F]{2}(?:([:-])[0-9a-fA-F]{2})(?:\1[0-9a-fA-F]{2}){4}")


def created(endpoint: EndpointRecord, answer: dict[str, Any]) -> EndpointRecord:
    """Return the endpoint with what the plugin chose; it may choose only what is not chosen yet. Raises Internal."""
    told = answer.get("Interface") or {}
    mac_address = str(told.get("MacAddress") or "")
    if mac_address and not _MAC_ADDRESS.fullmatch(mac_address):
        raise Internal(f"address {mac_address}: invalid MAC address")
    addresses = [parse_cidr(str(text)) for key in ("Address", "AddressIPv6") if (text := told.get(key))]
    if mac_address:
        mac_address = mac_address.lower().replace("-", ":")
        if endpoint.mac_address:
            raise Internal(
                "driver modified interface MAC address: endpoint interface MAC address present "
                f"({endpoint.mac_address}). Cannot be modified with {mac_address}."
            )
        endpoint = replace(endpoint, mac_address=mac_address)
    for address in addresses:
        present = endpoint.ip_address if address.version == 4 else endpoint.ipv6_address
        if present:
            length = endpoint.prefix_len if address.version == 4 else endpoint.ipv6_prefix_len
            raise Internal(
                f"driver modified interface address: endpoint interface IP present ({present}/{length}). "
                f"Cannot be modified with ({address})."
            )
        text, length = str(address.ip), address.network.prefixlen
        endpoint = (
            replace(endpoint, ip_address=text, prefix_len=length)
            if address.version == 4
            else replace(endpoint, ipv6_address=text, ipv6_prefix_len=length)
        )
    return endpoint


def joined(endpoint: EndpointRecord, answer: dict[str, Any]) -> EndpointRecord:
    """Return the endpoint with its link on the host and its ways out. Raises Internal."""
    interface = answer.get("InterfaceName") or {}
    remote = RemoteEndpoint(
        prefix=str(interface.get("DstPrefix") or ""),
        routes=tuple(_route(route) for route in answer.get("StaticRoutes") or ()),
        needs_no_gateway=bool(answer.get("DisableGatewayService")),
        is_joined=True,
    )
    ipv6_gateway = _gateway(answer, "GatewayIPv6")
    return replace(
        endpoint,
        link=str(interface.get("SrcName") or ""),
        gateway=_gateway(answer, "Gateway"),
        ipv6_gateway=ipv6_gateway if endpoint.ipv6_address else "",
        remote=remote,
    )


def _gateway(answer: dict[str, Any], key: str) -> str:
    text = str(answer.get(key) or "")
    if not text:
        return ""
    try:
        return str(ip_address(text))
    except ValueError:
        raise Internal(f'unable to parse {key} "{text}"') from None


def _route(told: dict[str, Any]) -> Route:
    destination = str(parse_cidr(str(told.get("Destination") or "")).network)
    next_hop = str(told.get("NextHop") or "")
    try:
        by = str(ip_address(next_hop)) if next_hop else ""
    except ValueError:
        raise Internal(f"failed to parse nexthop IP {next_hop}") from None
    return Route(destination=destination, next_hop="" if told.get("RouteType") else by)
