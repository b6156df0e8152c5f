"""A plugin's process: a container known to the supervisor alone, restarted by its shim, found again by its socket."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

from ...openapi.types.config import Config
from ...openapi.types.hostconfig import DeviceMapping, HostConfig
from ..containers import defaults
from ..containers.context import Context
from ..containers.propagation import mount_of
from ..containers.seccomp_filter import filter_path
from ..containers.spec import DEFAULT_PATH, Spec, SpecContext, build_spec
from ..errors import Error, Internal, InvalidArgument
from ..ids import short_id
from ..runtime import linux
from ..runtime.constants import MNT_DETACH, MS_BIND, MS_REC, MS_SHARED
from ..shim.messages import Restart, TaskRequest
from .record import PluginRecord

_SOCKETS = "/run/docker/plugins"
_START_S = 10.0
_STOP_S = 10.0
_POLL_S = 0.02


class Process:
    """How a plugin runs. `root` is the plugin's directory, with its `rootfs`."""

    def __init__(self, context: Context, record: PluginRecord, root: Path) -> None:
        self._context, self._record, self._root = context, record, root
        # A socket's path may have 107 bytes.
        self._sockets = context.config.exec_root / "plugins" / short_id(record.id)
        self._propagated = root / "propagated-mount"
        self.socket = self._sockets / record.config.interface.socket

    def on_host(self, path: str) -> str:
        """Return where a path in the plugin is on the host."""
        propagated = self._record.config.propagated_mount
        if propagated and path.startswith(propagated):
            return f"{self._propagated}{path.removeprefix(propagated)}"
        return f"{self._root}/rootfs{path}"

    async def adopt(self) -> bool:
        """Tell whether an earlier daemon's is there, and take it on."""
        task = self._context.supervisor.get(self._record.id)
        if task is not None:
            await task.listen()
        return task is not None

    async def start(self) -> None:
        """Start the plugin, and wait until it listens. Where this raises, nothing of it is left."""
        async with AsyncExitStack() as undo:
            undo.push_async_callback(self.clear)
            self._sockets.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self._context.config.containers_dir / self._record.id).mkdir(mode=0o710, exist_ok=True)
            if self._record.config.propagated_mount:
                self._share()
            await self._context.supervisor.create_task(await self._request())
            await self._answers()
            undo.pop_all()

    async def stop(self) -> None:
        """End the plugin, first asking it to; nothing of it is left."""
        task = self._context.supervisor.get(self._record.id)
        if task is not None:
            try:
                await task.set_restart(Restart())
                await task.kill(signal.SIGTERM, by_user=True, final=True)
                await asyncio.wait_for(_gone(task.pid), _STOP_S)
            except (TimeoutError, Error):
                pass  # what is left of it is killed now
        await self.clear()

    async def clear(self) -> None:
        """Kill what runs, and remove what is there for it."""
        await self._context.supervisor.delete(self._record.id)
        if self._is_shared():
            linux.umount2(str(self._propagated), MNT_DETACH)
        for directory in (self._sockets, self._context.config.containers_dir / self._record.id):
            shutil.rmtree(directory, ignore_errors=True)
        with suppress(OSError):
            self._sockets.parent.rmdir()  # the last one's

    def _share(self) -> None:
        """Make what the plugin mounts there appear on the host."""
        self._propagated.mkdir(mode=0o755, exist_ok=True)
        if not self._is_shared():
            linux.mount(str(self._propagated), str(self._propagated), "", MS_BIND | MS_REC)
            linux.mount("", str(self._propagated), "", MS_SHARED | MS_REC)

    def _is_shared(self) -> bool:
        return mount_of(str(self._propagated))[0] == str(self._propagated)

    async def _answers(self) -> None:
        deadline = asyncio.get_running_loop().time() + _START_S
        while True:
            try:
                _, writer = await asyncio.open_unix_connection(str(self.socket))
            except OSError as error:
                if asyncio.get_running_loop().time() > deadline:
                    reason = os.strerror(error.errno or 0).lower()
                    raise Internal(f"dial unix {self.socket}: connect: {reason}") from error
                await asyncio.sleep(_POLL_S)
            else:
                writer.close()
                return

    async def _request(self) -> TaskRequest:
        host_config = self._host_config()
        return TaskRequest(
            id=self._record.id,
            spec=self._spec(host_config),
            rootfs=[{"type": "bind", "source": f"{self._root}/rootfs", "options": ["rbind", "rw"]}],
            seccomp=await filter_path(self._context, host_config),
            restart=Restart("always"),
            start=True,
        )

    def _host_config(self) -> HostConfig:
        config = self._record.config
        made = HostConfig(
            network_mode="host" if config.network.type == "host" else "none",
            pid_mode="host" if config.pid_host else "",
            ipc_mode="host" if config.ipc_host else "private",
            cap_add=list(config.linux.capabilities or ()),
            # Most plugins mount, which docker-default forbids
            security_opt=["apparmor=unconfined"],
            device_cgroup_rules=["a *:* rwm"] if config.linux.allow_all_devices else [],
            devices=[
                DeviceMapping(path_on_host=path, path_in_container=path, cgroup_permissions="rwm")
                for device in self._record.settings.devices or ()
                if (path := device.path)
            ],
            init=False,
        )
        defaults.fill_host_config(made, self._context.host, id_of=lambda ref: ref)
        return made

    def _spec(self, host_config: HostConfig) -> Spec:
        config, settings = self._record.config, self._record.settings
        args = [*(config.entrypoint or ()), *(settings.args or ())]
        if not args:
            raise InvalidArgument("no command specified")
        spec = build_spec(
            SpecContext(
                id=self._record.id,
                config=Config(hostname=self._record.id[:12], working_dir=config.work_dir or "/"),
                host_config=host_config,
                path=args[0],
                args=args[1:],
                host=self._context.host,
            )
        )
        spec["process"]["env"] = [f"PATH={DEFAULT_PATH}", *(settings.env or ())]
        spec["mounts"] += self._mounts()
        if config.propagated_mount:
            spec["linux"]["rootfsPropagation"] = "shared"
        return spec

    def _mounts(self) -> list[dict[str, Any]]:
        config = self._record.config
        mounts = []
        for mount in self._record.settings.mounts or ():
            if mount.source is None:
                raise InvalidArgument("mount source is not specified")
            mounts.append(_mount(mount.source, mount.destination, mount.type, *(mount.options or ())))
        mounts.append(_mount(str(self._sockets), _SOCKETS, "bind", "rbind"))
        if config.propagated_mount:
            mounts.append(_mount(str(self._propagated), config.propagated_mount, "bind", "rbind", "rw", "rshared"))
        if config.network.type:
            mounts += [_mount(path, path, "bind", "rbind", "ro") for path in ("/etc/hosts", "/etc/resolv.conf")]
        return mounts


def _mount(source: str, destination: str, kind: str, *options: str) -> dict[str, Any]:
    return {"type": kind, "source": source, "destination": destination, "options": list(options)}


async def _gone(pid: int) -> None:
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(pidfd, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)
