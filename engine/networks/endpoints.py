"""Endpoints as clients give and see them: what may be asked for on each network, and what inspect shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from ...openapi.types.model import given
from ...openapi.types.networks import EndpointIPAMConfig, EndpointSettings
from ..errors import InvalidArgument
from . import settings as options
from .definition import listed
from .network import PREDEFINED, EndpointRequest
from .records import EndpointRecord, NetworkRecord

_MAC_ADDRESS = re.compile(r"[0-9a-fA-F]{2}(?:([:-])[0-9a-fA-F]{2})(?:\1[0-9a-fA-F]{2}){4}")


def network_name(mode: str) -> str:
    """Return the network that a `NetworkMode` names; `default` is the default bridge."""
    return "bridge" if mode in ("", "default") else mode


def validate(network: str, settings: EndpointSettings, record: NetworkRecord | None = None) -> None:
    """Refuse what an endpoint on the network can never have; `record` is None for one that is not there yet."""
    problems = list(_problems(network, settings, record))
    try:
        options.sysctls(settings.driver_opts or {})
    except InvalidArgument as error:
        problems.append(str(error))
    if problems:
        raise InvalidArgument(f"invalid endpoint settings:\n{listed(problems)}")


def validate_created(network: str, settings: EndpointSettings, record: NetworkRecord | None = None) -> None:
    """Do the same for a container that is to be made."""
    try:
        validate(network, settings, record)
    except InvalidArgument as error:
        raise InvalidArgument(f"invalid config for network {network}: {error}") from error
    validate_mac_address(network, settings.mac_address)


def validate_mac_address(network: str, mac_address: str) -> None:
    if mac_address and not _MAC_ADDRESS.fullmatch(mac_address):
        raise InvalidArgument(f"invalid config for network {network}: invalid MAC address {mac_address}")


def request(network: str, settings: EndpointSettings, *, mac_address: str) -> EndpointRequest:
    """Return what the engine is to do for the endpoint that a client asked for."""
    ipam = settings.ipam_config or EndpointIPAMConfig()
    links = [link.partition(":") for link in settings.links or ()]
    return EndpointRequest(
        network=network,
        ipv4_address=given(ipam.ipv4_address, ""),
        ipv6_address=given(ipam.ipv6_address, ""),
        link_local_ips=tuple(given(ipam.link_local_ips, ())),
        mac_address=mac_address.lower().replace("-", ":"),
        aliases=tuple(settings.aliases or ()),
        links=tuple((alias or name, name) for name, _, alias in links),
        driver_opts=dict(settings.driver_opts or {}),
        gw_priority=settings.gw_priority,
    )


def settings(record: EndpointRecord, asked: EndpointSettings) -> EndpointSettings:
    """Return what `NetworkSettings.Networks` shows of a running container's endpoint."""
    return EndpointSettings(
        ipam_config=asked.ipam_config,
        links=asked.links,
        aliases=asked.aliases,
        driver_opts=asked.driver_opts,
        gw_priority=asked.gw_priority,
        mac_address=record.mac_address,
        network_id=record.network_id,
        endpoint_id=record.endpoint_id,
        gateway=record.gateway,
        ip_address=record.ip_address,
        ip_prefix_len=record.prefix_len,
        ipv6_gateway=record.ipv6_gateway,
        global_ipv6_address=record.ipv6_address,
        global_ipv6_prefix_len=record.ipv6_prefix_len,
        dns_names=list(record.dns_names) or None,
    )


def _problems(network: str, settings: EndpointSettings, record: NetworkRecord | None) -> Iterator[str]:
    ipam = settings.ipam_config or EndpointIPAMConfig()
    wanted = {4: given(ipam.ipv4_address, ""), 6: given(ipam.ipv6_address, "")}
    is_predefined = network in PREDEFINED
    if is_predefined and any(wanted.values()):
        yield "user specified IP address is supported on user defined networks only"
    yield from _malformed_addresses(wanted)
    for text in given(ipam.link_local_ips, ()):
        try:
            if ip_address(text).is_unspecified:
                raise ValueError
        except ValueError:
            yield f"invalid link-local IP address: {text}"
    yield from _misplaced(wanted, record, is_predefined=is_predefined)
    if is_predefined and settings.aliases:
        yield "network-scoped alias is supported only for containers in user defined networks"


def _malformed_addresses(wanted: dict[int, str]) -> Iterator[str]:
    for version, kind in ((4, IPv4Address), (6, IPv6Address)):
        try:
            if wanted[version] and kind(wanted[version]).is_unspecified:
                raise ValueError
        except ValueError:
            yield f"invalid IPv{version} address: {wanted[version]}"


def _misplaced(wanted: dict[int, str], record: NetworkRecord | None, *, is_predefined: bool) -> Iterator[str]:
    for version, text in wanted.items():
        if not text:
            continue
        pools = [pool for pool in record.pools if pool.is_ipv6 == (version == 6)] if record is not None else []
        if is_predefined or (pools and all(pool.chosen for pool in pools)):
            yield "user specified IP address is supported only when connecting to networks with user configured subnets"
        elif record is not None and not any(_is_within(text, pool.subnet) for pool in pools):
            yield f"no configured subnet or ip-range contain the IP address {text}"


def _is_within(address: str, subnet: str) -> bool:
    try:
        return ip_address(address) in ip_network(subnet)
    except ValueError:
        return False
