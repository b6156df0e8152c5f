"""Request gates on what moved from the container to its network endpoints: the MAC address and interface sysctls."""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from ..engine.errors import InvalidArgument
from ..openapi.types.hostconfig import HostConfig
from ..openapi.types.model import given
from ..openapi.types.networks import EndpointSettings
from ..openapi.types.requests import ContainerCreateRequest

SYSCTLS = "com.docker.network.endpoint.sysctls"
"""The driver option that holds an endpoint's own sysctls."""


def _parts(request: ContainerCreateRequest) -> tuple[HostConfig, dict[str, EndpointSettings]]:
    assert request.host_config is not None and request.networking_config is not None
    endpoints = request.networking_config.endpoints_config
    assert endpoints is not None
    return request.host_config, endpoints


def _has_interface(mode: str) -> bool:
    return mode not in ("host", "none") and not mode.startswith("container:")


def _main_endpoint(request: ContainerCreateRequest, *, any_name: bool = False) -> EndpointSettings:
    """Return the endpoint on the network of `NetworkMode`, made where there are none."""
    host, endpoints = _parts(request)
    if not endpoints:
        endpoints[host.network_mode] = EndpointSettings()
    if any_name:
        return next(iter(endpoints.values()))
    if host.network_mode not in endpoints:
        raise InvalidArgument("HostConfig.NetworkMode must match the identity of a network in NetworkSettings.Networks")
    return endpoints[host.network_mode]


def move_mac_1_43(request: ContainerCreateRequest) -> None:
    """Before 1.44 only the container had a MAC address."""
    host, endpoints = _parts(request)
    address = given(request.mac_address, "")
    if not address:
        for endpoint in endpoints.values():
            endpoint.mac_address = ""
        return
    if not _has_interface(host.network_mode):
        raise InvalidArgument("conflicting options: mac-address and the network mode")
    _main_endpoint(request, any_name=True).mac_address = address


def move_mac_1_44(request: ContainerCreateRequest) -> str | None:
    """From 1.44 to 1.51 both had one; they must agree."""
    host, _ = _parts(request)
    address = given(request.mac_address, "")
    if not address:
        return None
    if _has_interface(host.network_mode):
        try:
            endpoint = _main_endpoint(request)
        except InvalidArgument as error:
            problem = f"unable to migrate container-wide MAC address to a specific network: {error}"
            raise InvalidArgument(problem) from error
        if endpoint.mac_address not in ("", address):
            raise InvalidArgument(
                "the container-wide MAC address must match the endpoint-specific MAC address for the main network, "
                "or be left empty"
            )
        endpoint.mac_address = address
    return "The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead."


def no_mac(request: ContainerCreateRequest) -> None:
    request.mac_address = UNSET


def move_sysctls(request: ContainerCreateRequest) -> str | None:
    """Up to 1.47 `net.*.*.eth0.*` on the container meant its main endpoint."""
    host, _ = _parts(request)
    moved = _interface_sysctls(host)
    if not moved:
        return None
    endpoint = _main_endpoint(request, any_name=False)
    settings = []
    for name in moved:
        family, table, interface, rest = name.split(".", 4)[1:]
        if interface != "eth0":
            raise InvalidArgument(
                f"unable to determine network endpoint for sysctl {name}, use driver option '{SYSCTLS}' "
                "to set per-interface sysctls"
            )
        settings.append(f"net.{family}.{table}.IFNAME.{rest}={given(host.sysctls, {}).pop(name)}")
    added = ",".join(settings)
    options = endpoint.driver_opts = endpoint.driver_opts or {}
    options[SYSCTLS] = ",".join(filter(None, (added, options.get(SYSCTLS))))
    return f'Migrated sysctl "{",".join(moved)}" to DriverOpts{{"{SYSCTLS}":"{added}"}}.'


def refuse_sysctls(request: ContainerCreateRequest) -> None:
    host, _ = _parts(request)
    for name in _interface_sysctls(host):
        raise InvalidArgument(
            f"interface specific sysctl setting \"{name}\" must be supplied using driver option '{SYSCTLS}'"
        )


def _interface_sysctls(host: HostConfig) -> list[str]:
    if isinstance(host.sysctls, UnsetType) or not _has_interface(host.network_mode):
        return []
    split = ((name, name.split(".", 4)) for name in host.sysctls)
    return [name for name, parts in split if len(parts) == 5 and parts[0] == "net" and parts[3].startswith("eth")]
