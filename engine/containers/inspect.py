"""`docker inspect`: everything about one container, shaped as the newest API version has it.

Older shapes are made from it in `lightship.compat`. Read without a lock; sizes are the caller's to add.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ...openapi.types.containers import ContainerInspectResponse, ContainerState
from ...openapi.types.images import DriverData
from ..times import rfc3339
from . import health, links, security

if TYPE_CHECKING:
    from pathlib import Path

    from ...openapi.types.config import Config
    from .container import Container
    from .context import Context
    from .record import ContainerRecord


def inspect(context: Context, container: Container) -> ContainerInspectResponse:
    """Describe a container as it is now."""
    record = container.record
    directory = context.config.containers_dir / record.id
    shown = ContainerInspectResponse(
        id=record.id,
        created=rfc3339(record.created_ns),
        path=record.path,
        args=record.args,
        state=_state(container),
        image=record.image_id,
        resolv_conf_path=_path(container, directory / "resolv.conf"),
        hostname_path=_path(container, directory / "hostname"),
        hosts_path=_path(container, directory / "hosts"),
        log_path=_shown_log_path(context, container),
        name=record.name,
        restart_count=record.restart_count,
        driver=_driver(context, container),
        platform=record.platform_os,
        app_armor_profile=_apparmor_profile(context, container),
        exec_ids=context.execs.live_ids(container) or None,
        host_config=msgspec.structs.replace(record.host_config, links=links.shown(context, container)),
        graph_driver=_graph_driver(context, container),
        mounts=[mount.point() for mount in record.mounts],
        config=_config(record),
        network_settings=msgspec.structs.replace(record.network, ports=record.network.ports or {}),
    )
    if record.image_manifest is not None:
        shown.image_manifest_descriptor = record.image_manifest
    return shown


def _config(record: ContainerRecord) -> Config:
    """What it was made with; older clients look for its address on its main network here."""
    address = record.mac_addresses.get(record.host_config.network_mode)
    return msgspec.structs.replace(record.config, mac_address=address) if address else record.config


def log_path(context: Context, container: Container) -> Path:
    """Where the container's log is or would be, or the copy of one that a server gets."""
    directory = context.config.containers_dir / container.id
    driver = container.record.host_config.log_config.type
    if driver == "json-file":
        return directory / f"{container.id}-json.log"
    return directory / ("local-logs/container.log" if driver == "local" else "container-cached.log")


def _shown_log_path(context: Context, container: Container) -> str:
    """As in dockerd, only this driver's file is for others to read."""
    is_public = container.record.host_config.log_config.type == "json-file"
    return _path(container, log_path(context, container)) if is_public else ""


def _state(container: Container) -> ContainerState:
    state = container.state
    shown = ContainerState(
        status=container.status(),
        running=state.running,
        paused=state.paused,
        restarting=state.restarting,
        oom_killed=state.oom_killed,
        dead=state.dead,
        pid=state.pid,
        exit_code=state.exit_code,
        error=state.error,
        started_at=rfc3339(state.started_ns),
        finished_at=rfc3339(state.finished_ns),
    )
    if found := health.shown(state):
        shown.health = found
    return shown


def _apparmor_profile(context: Context, container: Container) -> str:
    host_config = container.record.host_config
    options = security.parse(host_config, context.host)
    return security.apparmor_profile(options, context.host, privileged=host_config.privileged)


def _path(container: Container, path: Path) -> str:
    """These files are written at the first start; dockerd names none before."""
    return str(path) if container.record.started_before else ""


def _graph_driver(context: Context, container: Container) -> DriverData:
    name = _driver(context, container)
    if not context.snapshots.has(container.id):
        return DriverData(name=name)
    root = context.snapshots.mounts(container.id)[0]
    data = {"ID": container.id}
    if "lower" in root:
        data |= {"LowerDir": ":".join(root["lower"]), "UpperDir": root["upper"], "WorkDir": root["work"]}
        if container.state.running and container.state.pid:
            # The root is mounted in the container's own namespace; this is the way to it from here.
            data["MergedDir"] = f"/proc/{container.state.pid}/root"
    return DriverData(name=name, data=data)


def _driver(context: Context, container: Container) -> str:
    has_snapshot = context.snapshots.has(container.id)
    return (context.snapshots.driver_of(container.id) if has_snapshot else context.snapshots.driver).name
