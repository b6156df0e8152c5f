"""Whether a container can be created as asked: every rule of dockerd's, in its order and with its sentences.

Called by `create` before anything is looked up or made. Values that this host cannot honour are dropped from the
request in place, with a warning; what lightship does not support yet raises NotImplemented. Where dockerd answers 500
to a client's mistake (a bad `-v`, an unknown `--security-opt`), the sentence is the same and the status is 400.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from msgspec import UNSET

from ...openapi.types.config import Config, HealthConfig
from ...openapi.types.hostconfig import HostConfig, RestartPolicy
from ...openapi.types.model import given
from ...openapi.types.mounts import Mount
from ...openapi.types.networks import EndpointSettings, NetworkingConfig, PortMap
from ...openapi.types.requests import ContainerCreateRequest
from .. import errors
from ..config import NO_SLICE, is_slice
from ..errors import InvalidArgument
from . import capabilities, logconfig, modes, mount_syntax, mounts, names, resources, runtimes, security, signals
from .host import Host

PORT = re.compile(r"(\d+)(?:/([A-Za-z]+))?")
_PORT_RANGE = re.compile(r"(\d+)(?:-(\d+))?")
_PROTOCOLS = ("tcp", "udp", "sctp")
_MAX_PORT = 65535
_MIN_DURATION_NS = 1_000_000
_MAX_HOSTNAME_BYTES = 64
_POLICIES = ("no", "always", "on-failure", "unless-stopped")
_HOST_GATEWAY = "host-gateway"
_STORAGE_OPTIONS = ("size",)


def validate(request: ContainerCreateRequest, *, name: str, host: Host) -> list[str]:
    """Raise InvalidArgument for what can never work; return warnings about what was dropped."""
    host_config = request.host_config or HostConfig()
    request.host_config = host_config
    modes.check_network(request, host_config)
    _check_platform(host_config)
    _check_mount_options(given(host_config.mounts, []) or ())
    _check_config(request)
    _check_host_config(host_config, host)
    if len(request.hostname.encode()) > _MAX_HOSTNAME_BYTES:
        raise InvalidArgument(f'hostname "{request.hostname}" is too long (maximum {_MAX_HOSTNAME_BYTES} bytes)')
    warnings = resources.check(host_config, host)
    modes.check(host_config)
    warnings += _check_rest(host_config, host)
    warnings += _move_mac_address(request, host_config)
    if name:
        names.check(name)
    for text in host_config.volumes_from or ():
        mount_syntax.parse_volumes_from(text)
    security.parse(host_config, host)
    logconfig.merge(host_config.log_config, host)
    return warnings


def check_restart_policy(policy: RestartPolicy) -> None:
    """Refuse unknown policies and counts that mean nothing."""
    count = policy.maximum_retry_count
    name = policy.name or "no"
    if name not in _POLICIES:
        raise InvalidArgument(
            f"invalid restart policy: unknown policy '{name}'; use one of 'no', 'always', 'on-failure', or "
            "'unless-stopped'"
        )
    if name == "on-failure":
        if count < 0:
            raise InvalidArgument("invalid restart policy: maximum retry count cannot be negative")
    elif count:
        tail = " and cannot be negative" if count < 0 else ""
        raise InvalidArgument(f"invalid restart policy: maximum retry count can only be used with 'on-failure'{tail}")


def check_port_bindings(bindings: PortMap) -> None:
    """Refuse container ports and host ports that are none."""
    for port, published in bindings.items():
        _check_port(port)
        for binding in published or ():
            if binding.host_port and not _is_port_range(binding.host_port):
                raise InvalidArgument(f'invalid port specification: "{binding.host_port}"')
            if binding.host_ip:
                _check_host_ip(binding.host_ip)


def _check_platform(host_config: HostConfig) -> None:
    """Refuse what only Windows has."""
    if host_config.isolation not in ("", "default"):
        raise InvalidArgument(f"invalid isolation ({host_config.isolation}): linux only supports 'default'")
    if host_config.io_maximum_bandwidth:
        raise InvalidArgument("invalid option: QoS maximum bandwidth configuration is not supported on linux")
    if host_config.io_maximum_iops:
        raise InvalidArgument("invalid option: QoS maximum IOPs configuration is not supported on linux")


def _check_mount_options(specs: Iterable[Mount]) -> None:
    """The API's own check of options that belong to another type, before that of the mount."""
    for spec in specs:
        kind = given(spec.type, "")
        for owner, name, options in (
            ("volume", "VolumeOptions", spec.volume_options),
            ("bind", "BindOptions", spec.bind_options),
            ("tmpfs", "TmpfsOptions", spec.tmpfs_options),
        ):
            if given(options, None) is not None and kind != owner:
                raise InvalidArgument(f'{name} must not be specified on mount type "{kind}"')


def _check_config(config: Config) -> None:
    if config.working_dir:
        if not config.working_dir.startswith("/"):
            raise InvalidArgument(
                f"the working directory '{config.working_dir}' is invalid, it needs to be an absolute path"
            )
        config.working_dir = mount_syntax.clean(config.working_dir)
    if signal := given(config.stop_signal, ""):
        signals.parse(signal)
    for variable in config.env or ():
        if not variable.partition("=")[0]:
            raise InvalidArgument(f"invalid environment variable: {variable}")
    for port in given(config.exposed_ports, {}):
        _check_port_number(port)
    if healthcheck := given(config.healthcheck, None):
        _check_healthcheck(healthcheck)


def _check_healthcheck(healthcheck: HealthConfig) -> None:
    for field, name in (
        ("interval", "Interval"),
        ("timeout", "Timeout"),
        ("retries", "Retries"),
        ("start_period", "StartPeriod"),
        ("start_interval", "StartInterval"),
    ):
        value = given(getattr(healthcheck, field), 0)
        if field == "retries":
            if value < 0:
                raise InvalidArgument("Retries in Healthcheck cannot be negative")
        elif value and value < _MIN_DURATION_NS:
            raise InvalidArgument(f"{name} in Healthcheck cannot be less than 1ms")


def _check_host_config(host_config: HostConfig, host: Host) -> None:
    policy = host_config.restart_policy
    if host_config.auto_remove and policy.name not in ("", "no"):
        raise InvalidArgument("can't create 'AutoRemove' container with restart policy")
    mounts.parse_all(host_config)
    for entry in host_config.extra_hosts or ():
        _check_extra_host(entry)
    for address in host_config.dns or ():
        _check_nameserver(address)
    check_port_bindings(host_config.port_bindings or {})
    check_restart_policy(policy)
    capabilities.check(host_config.cap_add, host_config.cap_drop, host.capabilities)
    if "" in given(host_config.annotations, {}):
        raise InvalidArgument("invalid Annotations: the empty string is not permitted as an annotation key")


def _check_rest(host_config: HostConfig, host: Host) -> list[str]:
    """The checks that come after those of resources and modes."""
    warnings = []
    if host.id_map is not None and host_config.userns_mode != "host":
        _check_remapped(host_config)
    if host_config.shm_size < 0:
        raise InvalidArgument("SHM size can not be less than 0")
    if not -1000 <= host_config.oom_score_adj <= 1000:
        raise InvalidArgument(f"Invalid value {host_config.oom_score_adj}, range for oom score adj is [-1000, 1000]")
    if host.cgroup_driver == "systemd" and host_config.cgroup_parent and not is_slice(host_config.cgroup_parent):
        raise InvalidArgument(NO_SLICE)
    if any(given(mount.type, "") == "image" for mount in given(host_config.mounts, []) or ()):
        warnings.append("Image mount is an experimental feature")
    if not host.ipv4_forwarding and host_config.network_mode not in ("host", "none"):
        warnings.append("IPv4 forwarding is disabled. Networking will not work.")
    if host_config.network_mode == "host" and host_config.port_bindings:
        warnings.append("Published ports are discarded when using host network mode")
    runtimes.find(given(host_config.runtime, ""), host)
    for destination in given(host_config.tmpfs, {}):
        mount_syntax.check_absolute(destination)
    for option in given(host_config.storage_opt, {}):
        if option not in _STORAGE_OPTIONS:
            raise InvalidArgument(f"Unknown option {option}")
        raise InvalidArgument("--storage-opt is supported only for overlay over xfs with 'pquota' mount option")
    return warnings


def _check_remapped(host_config: HostConfig) -> None:
    """What does not go with ids of the container's own."""
    if host_config.privileged:
        raise InvalidArgument(
            "privileged mode is incompatible with user namespaces.  You must run the container in the host namespace "
            "when running privileged mode"
        )
    if host_config.network_mode == "host":
        raise InvalidArgument("cannot share the host's network namespace when user namespaces are enabled")
    if host_config.pid_mode == "host":
        raise InvalidArgument("cannot share the host PID namespace when user namespaces are enabled")
    joined = {mode for mode in (host_config.pid_mode, host_config.ipc_mode) if modes.joined_container(mode)}
    if joined - {host_config.network_mode}:
        raise errors.NotImplemented(
            "sharing a container's pid or ipc namespace, but not its network, is not supported with userns-remap"
        )
    if not runtimes.is_own(given(host_config.runtime, "")):
        raise errors.NotImplemented("other OCI runtimes are not supported with userns-remap")


def _move_mac_address(request: ContainerCreateRequest, host_config: HostConfig) -> list[str]:
    """Give the container-wide address of older clients to the endpoint on the container's first network."""
    address = given(request.mac_address, "")
    request.mac_address = UNSET
    if not address:
        return []
    mode = host_config.network_mode or "default"
    if mode in ("host", "none") or not modes.makes_network(mode):
        raise InvalidArgument("conflicting options: mac-address and the network mode")
    networking = request.networking_config or NetworkingConfig()
    endpoints = networking.endpoints_config or {}
    same = ("default", "bridge") if mode in ("default", "bridge") else (mode,)
    network = next((name for name in same if name in endpoints), mode)
    endpoint = endpoints.get(network) or EndpointSettings()
    if endpoint.mac_address not in ("", address):
        raise InvalidArgument(
            "the container-wide MAC address must match the endpoint-specific MAC address for the main network, or be "
            "left empty"
        )
    endpoint.mac_address = address
    networking.endpoints_config = {**endpoints, network: endpoint}
    request.networking_config = networking
    return ["The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead."]


def _check_extra_host(entry: str) -> None:
    name, colon, address = entry.partition(":")
    if not colon or not name:
        raise InvalidArgument(f'bad format for add-host: "{entry}"')
    if address == _HOST_GATEWAY:
        return
    try:
        ipaddress.ip_address(address.strip().removeprefix("[").removesuffix("]"))
    except ValueError as error:
        raise InvalidArgument(f'invalid IP address in add-host: "{address}"') from error


def _check_nameserver(address: str) -> None:
    try:
        ipaddress.ip_address(address)
    except ValueError as error:
        raise InvalidArgument(
            f'bad nameserver address {address}: ParseAddr("{address}"): unable to parse IP'
        ) from error


def _check_port(port: str) -> None:
    protocol = _check_port_number(port)
    if protocol.lower() not in _PROTOCOLS:
        raise InvalidArgument(f'invalid proto: "{protocol}"')


def _check_port_number(port: str) -> str:
    """Check what is exposed, by whatever protocol; return that."""
    match = PORT.fullmatch(port)
    if match is None or not 0 < int(match[1]) <= _MAX_PORT:
        raise InvalidArgument(f'invalid port specification: "{port}"')
    return match[2] or "tcp"


def _is_port_range(text: str) -> bool:
    match = _PORT_RANGE.fullmatch(text)
    return match is not None and int(match[1]) <= int(match[2] or match[1]) <= _MAX_PORT


def _check_host_ip(text: str) -> None:
    try:
        ipaddress.ip_address(text)
    except ValueError as error:
        raise InvalidArgument(f"invalid HostIp: {text}") from error
