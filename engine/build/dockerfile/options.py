"""The options of a build, read from a frontend's request; names and errors are those of BuildKit's dockerfile.v0."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

from ...booleans import parse as parse_bool
from ...errors import InvalidArgument
from ...images.config import Platform
from ..graph import Limits, Ulimit
from .checks import Choice, parse_choice
from .mounts import fields

_NORMAL = {("arm64", "v8"): "", ("amd64", "v1"): "", ("arm", ""): "v7"}
_ALIASES = {"armhf": ("arm", "v7"), "armel": ("arm", "v6"), "i386": ("386", ""), "x86-64": ("amd64", "")}
HOST_GATEWAY = "host-gateway"
_RESOLVE_MODES = ("default", "pull", "local")


@dataclass(frozen=True, slots=True)
class Options:
    """`platforms` is empty where none was asked for; `no_cache` None for no stage, empty for all."""

    build_args: dict[str, str]
    labels: dict[str, str]
    contexts: dict[str, str]
    target: str
    platforms: tuple[Platform, ...]
    is_multi_platform: bool
    no_cache: frozenset[str] | None
    extra_hosts: tuple[tuple[str, str], ...]
    hostname: str
    network: str
    limits: Limits
    cache_namespace: str
    choice: Choice | None

    def is_cacheless(self, stage: str) -> bool:
        return self.no_cache is not None and (not self.no_cache or stage.lower() in self.no_cache)


def read_options(options: Mapping[str, str]) -> Options:
    """Raises InvalidArgument."""
    build_args = _with_prefix(options, "build-arg:")
    text = options.get("platform", "")
    platforms = tuple(_target_platform(word) for word in text.split(",")) if text else ()
    if (mode := options.get("image-resolve-mode", "")) and mode not in _RESOLVE_MODES:
        raise InvalidArgument(f"invalid image-resolve-mode: {mode}")
    check = build_args.get("BUILDKIT_DOCKERFILE_CHECK")
    no_cache = options.get("no-cache")
    return Options(
        build_args=build_args,
        labels=_with_prefix(options, "label:"),
        contexts=_with_prefix(options, "context:"),
        target=options.get("target", ""),
        platforms=platforms,
        is_multi_platform=_is_multi_platform(options, build_args, platforms),
        no_cache=None if no_cache is None else frozenset(no_cache.lower().split(",")) - {""},
        extra_hosts=_extra_hosts(options.get("add-hosts", "")),
        hostname=build_args.get("BUILDKIT_SANDBOX_HOSTNAME") or options.get("hostname", ""),
        network=_network(options.get("force-network-mode", "")),
        limits=_limits(options),
        cache_namespace=build_args.get("BUILDKIT_CACHE_MOUNT_NS", ""),
        choice=None if check is None else parse_choice(check),
    )


def parse_platform(text: str) -> Platform:
    """Read a platform, its usual variant left out. Raises InvalidArgument."""
    return normalized(Platform.parse(text))


def normalized(platform: Platform) -> Platform:
    architecture, variant = _ALIASES.get(platform.architecture, (platform.architecture, platform.variant))
    return Platform(platform.os, architecture, _NORMAL.get((architecture, variant), variant))


def _target_platform(text: str) -> Platform:
    try:
        return parse_platform(text)
    except InvalidArgument as error:
        raise InvalidArgument(f"failed to parse target platform {text}: {error}") from error


def _is_multi_platform(
    options: Mapping[str, str], build_args: Mapping[str, str], platforms: tuple[Platform, ...]
) -> bool:
    text = build_args.get("BUILDKIT_MULTI_PLATFORM") or options.get("multi-platform", "")
    if not text:
        return len(platforms) > 1
    try:
        is_wanted = parse_bool(text)
    except ValueError:
        raise InvalidArgument(f"invalid boolean value for multi-platform: {text}") from None
    if not is_wanted and len(platforms) > 1:
        raise InvalidArgument("conflicting config: returning multiple target platforms is not allowed")
    return is_wanted


def _extra_hosts(text: str) -> tuple[tuple[str, str], ...]:
    hosts = []
    for field in fields(text) if text else ():
        host, separator, address = field.lower().partition("=")
        if not separator:
            raise InvalidArgument(f"failed to parse additional hosts: invalid key-value pair {field}")
        try:
            if address != HOST_GATEWAY:
                ipaddress.ip_address(address)
        except ValueError:
            raise InvalidArgument(f"failed to parse additional hosts: failed to parse IP {address}") from None
        hosts.append((host, address))
    return tuple(hosts)


def _network(mode: str) -> str:
    return "default" if mode in ("", "sandbox") else mode


def _limits(options: Mapping[str, str]) -> Limits:
    return Limits(
        memory_bytes=_number(options, "memory"),
        memory_swap_bytes=_number(options, "memswap"),
        cpu_shares=_number(options, "cpushares"),
        cpu_period=_number(options, "cpuperiod"),
        cpu_quota=_number(options, "cpuquota"),
        cpuset_cpus=options.get("cpusetcpus", ""),
        cpuset_mems=options.get("cpusetmems", ""),
        shm_size_bytes=_number(options, "shm-size"),
        ulimits=tuple(_ulimit(field) for field in fields(options.get("ulimit", ""))),
        cgroup_parent=options.get("cgroup-parent", ""),
    )


def _number(options: Mapping[str, str], name: str) -> int:
    text = options.get(name, "")
    try:
        return int(text or "0")
    except ValueError:
        raise InvalidArgument(f"failed to parse {name.replace('-', ' ')}: invalid {name} value: {text}") from None


def _ulimit(text: str) -> Ulimit:
    name, separator, values = text.partition("=")
    soft, _, hard = values.partition(":")
    try:
        limit = Ulimit(name, int(soft), int(hard or soft))
    except ValueError:
        raise InvalidArgument(f"failed to parse ulimit: invalid ulimit argument: {text}") from None
    if limit.hard != -1 and (limit.soft == -1 or limit.soft > limit.hard):
        raise InvalidArgument(
            f"failed to parse ulimit: ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
        )
    return limit


def _with_prefix(options: Mapping[str, str], prefix: str) -> dict[str, str]:
    return {name.removeprefix(prefix): value for name, value in options.items() if name.startswith(prefix)}
