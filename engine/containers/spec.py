"""A container's configuration as an OCI runtime spec, equal in effect to the one that dockerd writes.

`build_spec` is called at each start and reads nothing but its context and, where devices were asked for, the host's
device nodes. The seccomp filter is not in the spec: `seccomp_profile` gives it, the caller has it compiled (once for
each profile, `runtime.seccomp.compile_cached`) and hands the program to the shim beside the spec; what stays here are
the flags it is installed with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...openapi.types.config import Config
from ...openapi.types.hostconfig import HostConfig
from ...openapi.types.model import given
from ..errors import Internal, InvalidArgument
from . import capabilities, cdi, devices, modes, resources, security, spec_mounts
from .host import PING_GROUPS, Host
from .mounts import ResolvedMount

Spec = dict[str, Any]

OCI_VERSION = "1.2.1"
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecContext:
    """Everything that a spec is made from.

    `config` is the merged one with its host name, `mounts` come from `mounts.prepare`. Paths of the network files are
    empty where the container has none; namespace paths are those to join (`/proc/<pid>/ns/…` or `/proc/self/fd/<n>`),
    empty for a new one.
    """

    id: str
    config: Config
    host_config: HostConfig
    path: str
    args: Sequence[str]
    host: Host
    mounts: Sequence[ResolvedMount] = ()
    resolv_conf_path: str = ""
    hostname_path: str = ""
    hosts_path: str = ""
    network_namespace: str = ""
    pid_namespace: str = ""
    ipc_namespace: str = ""
    compiled_seccomp: bool = True
    """The filter goes beside the spec; other runtimes than lightship's own want it in there."""
    links_environment: Sequence[str] = ()
    """What linked containers add to the environment; what the container says itself goes before it."""

    @property
    def is_remapped(self) -> bool:
        """Whether the container has ids of its own."""
        return self.host.id_map is not None and self.host_config.userns_mode != "host"


def build_spec(context: SpecContext) -> Spec:
    """Return the spec; raise InvalidArgument for what can only be known at the start."""
    cdi_devices = devices.cdi_devices(context.host_config.device_requests, has_cdi=bool(context.host.cdi_directories))
    options = security.parse(context.host_config, context.host)
    spec: Spec = {
        "ociVersion": OCI_VERSION,
        "process": _process(context, options),
        "root": {"path": "rootfs"},
        "mounts": _mounts(context, options),
        "linux": _linux(context),
    }
    if context.host_config.readonly_rootfs:
        spec["root"]["readonly"] = True
    if context.host_config.uts_mode != "host":
        spec["hostname"] = context.config.hostname
        if context.config.domainname:
            spec["domainname"] = context.config.domainname
    if annotations := given(context.host_config.annotations, {}):
        spec["annotations"] = dict(annotations)
    if cdi_devices:
        cdi.inject(spec, cdi_devices, context.host.cdi_directories)
    return spec


def environment(config: Config, *, links: Sequence[str] = ()) -> list[str]:
    """Return the variables of the container's processes: Docker's, overridden by the container's.

    A name without `=` takes a variable away.
    """
    variables = {"PATH": DEFAULT_PATH, "HOSTNAME": config.hostname}
    if config.tty:
        variables["TERM"] = "xterm"
    for variable in (*links, *(config.env or ())):
        name, equals, value = variable.partition("=")
        if equals:
            variables[name] = value
        else:
            variables.pop(name, None)
    return [f"{name}={value}" for name, value in variables.items()]


def process_capabilities(host_config: HostConfig, host: Host, *, privileged: bool) -> dict[str, list[str]]:
    """Return the capability sets of a process; an exec may be privileged in a container that is not."""
    names = capabilities.effective(
        host_config.cap_add, host_config.cap_drop, privileged=privileged, available=host.capabilities
    )
    return {"bounding": names, "effective": names, "permitted": names}


def process_user(user: str, group_add: Sequence[str] | None) -> dict[str, Any]:
    """Return the user as the runtime looks it up in the image: names are lightship's addition to the OCI object."""
    found: dict[str, Any] = {"uid": 0, "gid": 0, "username": user or "0"}
    if group_add:
        found["additionalGroups"] = list(group_add)
    return found


def seccomp_profile(host_config: HostConfig, host: Host) -> dict[str, Any] | None:
    """Return the OCI linux.seccomp object to be compiled for the container and its execs, or None for no filter."""
    options = security.parse(host_config, host)
    names = capabilities.effective(
        host_config.cap_add, host_config.cap_drop, privileged=host_config.privileged, available=host.capabilities
    )
    return security.seccomp_profile(options, host, privileged=host_config.privileged, capabilities=set(names))


def _process(context: SpecContext, options: security.SecurityOptions) -> Spec:
    config, host_config = context.config, context.host_config
    process: Spec = {
        "user": process_user(config.user, host_config.group_add),
        "args": [context.path, *context.args],
        "env": environment(config, links=context.links_environment),
        "cwd": config.working_dir or "/",
        "capabilities": process_capabilities(host_config, context.host, privileged=host_config.privileged),
        "oomScoreAdj": host_config.oom_score_adj,
    }
    if _init_path(context):
        process["args"] = [spec_mounts.INIT_PATH, "--", *process["args"]]
    if config.tty:
        process["terminal"] = True
        height, width = (host_config.console_size or [0, 0])[:2]
        if height or width:
            process["consoleSize"] = {"height": height, "width": width}
    if options.no_new_privileges:
        process["noNewPrivileges"] = True
    if rlimits := _rlimits(context):
        process["rlimits"] = rlimits
    if profile := security.apparmor_profile(options, context.host, privileged=host_config.privileged):
        process["apparmorProfile"] = profile
    return process


def _rlimits(context: SpecContext) -> list[dict[str, Any]]:
    """The container's ulimits, and the engine's default ones that it does not name."""
    own = [(limit.name, limit.soft, limit.hard) for limit in context.host_config.ulimits or ()]
    named = {name for name, _, _ in own}
    own += [(limit.name, limit.soft, limit.hard) for limit in context.host.ulimits if limit.name not in named]
    return [{"type": f"RLIMIT_{name.upper()}", "soft": _limit(soft), "hard": _limit(hard)} for name, soft, hard in own]


def _limit(value: int) -> int:
    """-1 is "unlimited" for Docker; the spec's numbers are unsigned."""
    return value & 0xFFFFFFFFFFFFFFFF


def _mounts(context: SpecContext, options: security.SecurityOptions) -> list[Spec]:
    if options.writable_cgroups and context.is_remapped:
        raise InvalidArgument("option WritableCgroups conflicts with user namespaces and rootless mode")
    writable_cgroups = context.host_config.privileged if options.writable_cgroups is None else options.writable_cgroups
    files = {
        "/etc/resolv.conf": context.resolv_conf_path,
        "/etc/hostname": context.hostname_path,
        "/etc/hosts": context.hosts_path,
    }
    return spec_mounts.build(
        context.host_config,
        context.mounts,
        network_files={destination: source for destination, source in files.items() if source},
        init_path=_init_path(context),
        writable_cgroups=writable_cgroups,
        id_map=context.host.id_map if context.is_remapped else None,
    )


def _init_path(context: SpecContext) -> str:
    """Return the host's init program where the container has one: only in a pid namespace of its own."""
    wanted = given(context.host_config.init, context.host.init)
    if not wanted or not modes.makes_pid_namespace(context.host_config.pid_mode):
        return ""
    if not context.host.init_path:
        raise Internal('exec: "docker-init": executable file not found in $PATH')
    return context.host.init_path


def _cgroups_path(context: SpecContext) -> str:
    parent = context.host_config.cgroup_parent or context.host.cgroup_parent
    if context.host.cgroup_driver == "systemd":
        return f"{parent}:docker:{context.id}"
    return f"{parent.rstrip('/')}/{context.id}"


def _linux(context: SpecContext) -> Spec:
    host_config = context.host_config
    nodes, rules = devices.asked_for(
        host_config.devices, host_config.device_cgroup_rules, privileged=host_config.privileged
    )
    linux: Spec = {
        "cgroupsPath": _cgroups_path(context),
        "namespaces": _namespaces(context),
        "resources": {"devices": rules, **resources.to_oci(host_config)},
    }
    if sysctls := _sysctls(context):
        linux["sysctl"] = sysctls
    if nodes:
        linux["devices"] = nodes
    if host_config.masked_paths:
        linux["maskedPaths"] = host_config.masked_paths
    if host_config.readonly_paths:
        linux["readonlyPaths"] = host_config.readonly_paths
    profile = seccomp_profile(host_config, context.host)
    if profile and not context.compiled_seccomp:
        linux["seccomp"] = profile
    elif profile and (flags := profile.get("flags")):
        linux["seccomp"] = {"flags": flags}
    if context.is_remapped and context.host.id_map:
        linux |= context.host.id_map.to_oci()
    if root_propagation := _root_propagation(context.mounts):
        linux["rootfsPropagation"] = root_propagation
    return linux


def _namespaces(context: SpecContext) -> list[dict[str, str]]:
    host_config = context.host_config
    namespaces = [{"type": "mount"}]
    if context.is_remapped:
        namespaces.append({"type": "user"})
    if host_config.network_mode != "host":
        namespaces.append(_namespace("network", context.network_namespace))
    if host_config.uts_mode != "host":
        namespaces.append({"type": "uts"})
    if host_config.pid_mode != "host":
        namespaces.append(_namespace("pid", context.pid_namespace))
    if host_config.ipc_mode != "host":
        namespaces.append(_namespace("ipc", context.ipc_namespace))
    if host_config.cgroupns_mode == "private":
        namespaces.append({"type": "cgroup"})
    return namespaces


def _namespace(kind: str, path: str) -> dict[str, str]:
    return {"type": kind, "path": path} if path else {"type": kind}


def _sysctls(context: SpecContext) -> dict[str, str]:
    """The safe ones of a network namespace of the container's own, and those asked for."""
    safe = context.host.sysctls if modes.makes_network(context.host_config.network_mode) else {}
    if context.is_remapped:
        # It names groups that the user namespace does not have
        safe = {name: value for name, value in safe.items() if name != PING_GROUPS}
    return {**safe, **given(context.host_config.sysctls, {})}


def _root_propagation(mounts: Sequence[ResolvedMount]) -> str:
    """The root must not be more private than what is mounted below it."""
    kinds = {mount.propagation.removeprefix("r") for mount in mounts}
    return "shared" if "shared" in kinds else "rslave" if "slave" in kinds else ""
