"""A command's OCI spec: that of a `docker run` with the same limits, but for its files in /etc and its environment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ....openapi.types.config import Config
from ....openapi.types.hostconfig import HostConfig
from ....openapi.types.hostconfig import Ulimit as ApiUlimit
from ... import apparmor
from ...containers import cdi, defaults
from ...containers.seccomp_filter import filter_path
from ...containers.spec import Spec, SpecContext
from ...containers.spec import build_spec as build_container_spec
from ..context import Context
from ..graph import Run

HOSTNAME = "buildkitsandbox"


async def build_spec(
    context: Context,
    step: Run,
    id: str,
    directory: Path,
    mounts: list[dict[str, Any]],
    env: list[str],
    devices: Sequence[str],
) -> Spec:
    """Return the spec; `directory` has the command's hosts and resolv.conf."""
    config = Config(hostname=step.hostname or HOSTNAME, user=step.user, working_dir=step.cwd)
    spec = build_container_spec(
        SpecContext(
            id=id,
            config=config,
            host_config=host_config(context, step),
            path=step.args[0],
            args=step.args[1:],
            host=context.containers.host,
            resolv_conf_path=str(directory / "resolv.conf"),
            hosts_path=str(directory / "hosts"),
        )
    )
    spec["process"]["env"] = env
    for mount in spec["mounts"]:
        if mount["destination"] in ("/etc/resolv.conf", "/etc/hosts"):
            mount["options"].append("ro")
    spec["mounts"] += sorted(mounts, key=lambda mount: str(mount["destination"]).rstrip("/").count("/"))
    if devices:
        cdi.inject(spec, devices, context.containers.host.cdi_directories)
    if spec["process"].get("apparmorProfile") == apparmor.DEFAULT_PROFILE:
        await apparmor.ensure_default()
    return spec


async def seccomp_of(context: Context, step: Run) -> str | None:
    """Return the path of the compiled filter."""
    return await filter_path(context.containers, host_config(context, step))


def host_config(context: Context, step: Run) -> HostConfig:
    limits = step.limits
    made = HostConfig(
        network_mode={"host": "host", "none": "none"}.get(step.network, "bridge"),
        privileged=step.is_insecure,
        memory=limits.memory_bytes,
        memory_swap=limits.memory_swap_bytes,
        cpu_shares=limits.cpu_shares,
        cpu_period=limits.cpu_period,
        cpu_quota=limits.cpu_quota,
        cpuset_cpus=limits.cpuset_cpus,
        cpuset_mems=limits.cpuset_mems,
        shm_size=limits.shm_size_bytes,
        cgroup_parent=limits.cgroup_parent,
        ulimits=[ApiUlimit(name=each.name, soft=each.soft, hard=each.hard) for each in limits.ulimits],
        init=False,
    )
    defaults.fill_host_config(made, context.containers.host, id_of=lambda ref: ref)
    return made
