"""`--security-opt`, the seccomp profile and the paths that a container may not see or change.

Options are read when a container is created (to refuse bad ones) and at each start. The profile itself is compiled by
the runtime; here it is only chosen and adapted to the container's capabilities.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from ...openapi.types.hostconfig import HostConfig
from .. import booleans
from ..apparmor import DEFAULT_PROFILE, UNCONFINED
from ..errors import InvalidArgument
from ..runtime import seccomp_default
from ..runtime.errors import RuntimeFailure
from .host import Host

BUILTIN = "builtin"
MASKED_PATHS = (
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
"""Hidden from every container that is not privileged, with the CPUs' `Host.thermal_throttle_paths`."""
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityOptions:
    """What SecurityOpt says; empty and None are "not said"."""

    no_new_privileges: bool = False
    seccomp: str = ""
    apparmor: str = ""
    writable_cgroups: bool | None = None


def parse(host_config: HostConfig, host: Host) -> SecurityOptions:
    """Read SecurityOpt; raise InvalidArgument for an option that Docker does not know.

    SELinux labels are read and have no effect, as under dockerd on a host without SELinux.
    """
    no_new_privileges = host.no_new_privileges
    seccomp = apparmor = ""
    writable_cgroups: bool | None = None
    for option in host_config.security_opt or ():
        key, value = _split(option)
        if key == "seccomp":
            seccomp = value
        elif key == "apparmor":
            apparmor = value
        elif key == "no-new-privileges":
            no_new_privileges = _boolean(option, value)
        elif key == "writable-cgroups":
            writable_cgroups = _boolean(option, value)
        elif key != "label":
            raise InvalidArgument(f'invalid --security-opt 2: "{option}"')
    return SecurityOptions(
        no_new_privileges=no_new_privileges, seccomp=seccomp, apparmor=apparmor, writable_cgroups=writable_cgroups
    )


def seccomp_profile(
    options: SecurityOptions, host: Host, *, privileged: bool, capabilities: set[str]
) -> dict[str, Any] | None:
    """Choose the filter and return it as an OCI object, or None for no filter.

    A privileged container has one only if it was asked for.
    """
    text = options.seccomp or ("" if privileged else host.seccomp_profile)
    if text == UNCONFINED or (privileged and not text):
        return None
    if not host.seccomp:
        if options.seccomp not in ("", BUILTIN):
            raise InvalidArgument("seccomp is not enabled in your kernel, cannot run a custom seccomp profile")
        return None
    try:
        if text in ("", BUILTIN):
            return seccomp_default.default_profile(capabilities)
        return seccomp_default.load_profile(msgspec.json.decode(text, type=dict[str, Any]), capabilities)
    except (msgspec.DecodeError, RuntimeFailure) as error:
        reason = "unexpected end of JSON input" if "truncated" in str(error) else error
        raise InvalidArgument(f"Decoding seccomp profile failed: {reason}") from error


def apparmor_profile(options: SecurityOptions, host: Host, *, privileged: bool) -> str:
    """Choose the AppArmor profile's name; empty on a host without AppArmor."""
    if not host.apparmor:
        return ""
    return options.apparmor or (UNCONFINED if privileged else DEFAULT_PROFILE)


def masked_paths(host: Host) -> list[str]:
    return [*MASKED_PATHS, *host.thermal_throttle_paths]


def _split(option: str) -> tuple[str, str]:
    """Split at the first `=`, or at `:` as very old clients write it."""
    if option in ("no-new-privileges", "writable-cgroups"):
        return option, "true"
    if option == "disable":
        return "label", option
    for separator in "=:":
        key, found, value = option.partition(separator)
        if found:
            return key, value
    raise InvalidArgument(f'invalid --security-opt 1: "{option}"')


def _boolean(option: str, value: str) -> bool:
    try:
        return booleans.parse(value)
    except ValueError as error:
        raise InvalidArgument(f'invalid --security-opt 2: "{option}"') from error
