"""The engine as a whole: its services, made in the order in which they need each other, started and stopped.

`lightshipd` makes one and hands it to the API. Data and exec root are locked, so that two daemons cannot share them.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from . import apparmor, errors, idmap
from .authorization import Authorization
from .build.builder import Builder
from .build.classic.builds import ClassicBuilds
from .config import EngineConfig
from .containers.containers import Containers
from .containers.execs import Execs
from .events import Events
from .images.images import Images
from .networks.networks import Networks
from .plugins.plugins import Plugins
from .snapshots import room
from .snapshots.drivers import choose
from .snapshots.snapshotter import Snapshotter, prior_drivers
from .store import Store
from .supervisor.supervisor import Supervisor
from .system import System
from .volumes.volumes import Volumes

if TYPE_CHECKING:
    from .build.buildkit.service import BuildKit

logger = logging.getLogger(__name__)


class Identity(msgspec.Struct):
    """What tells one engine from another, for good."""

    id: str


class Engine:
    """All services over one data root. Used from the event loop's thread alone."""

    def __init__(self, config: EngineConfig) -> None:
        config = self.config = _remapped(config)
        for directory in (config.data_root, config.exec_root, config.containers_dir, config.tasks_dir):
            directory.mkdir(mode=0o710, parents=True, exist_ok=True)
        _let_through(config)
        self._lock_fd = _lock(config.data_root / "lock")
        self.store = Store(config.data_root / "lightship.db")
        self.id = _identity(self.store)
        self.events = Events()
        driver = choose(
            config.snapshots_dir,
            asked=config.storage_driver,
            prior=prior_drivers(self.store),
            maps_ids=config.id_map is not None,
        )
        self.snapshots = Snapshotter(config.snapshots_dir, self.store, driver)
        self.images = Images(config.data_root, self.store, self.events, self.snapshots, config.registry)
        self.volumes = Volumes(self.store, self.events, config.volumes_dir)
        self.networks = Networks(self.store, self.events.publish)
        self.supervisor = Supervisor(config.tasks_dir, config.containers_dir)
        self.containers = Containers(self)
        self.plugins = Plugins(self)
        self.authorization = Authorization(config.authorization_plugins, self.plugins)
        self.plugins.is_in_use = self._uses_plugin
        self.plugins.before_disable = self._forget_plugin
        self.volumes.plugins.managed = self.plugins
        self.networks.plugins.managed = self.plugins
        self.execs = Execs(self.containers)
        self.builds = Builder(self)
        self.classic_builds = ClassicBuilds(self)
        self.system = System(self)
        self._running = AsyncExitStack()

    @cached_property
    def buildkit(self) -> BuildKit:
        """What buildx and compose build by. Made when they first ask: many daemons never need what it imports."""
        from .build.buildkit.service import BuildKit

        return BuildKit(self)

    async def start(self) -> None:
        """Bring database, disk, kernel and shims into line, and be ready for requests."""
        async with AsyncExitStack() as undo:
            undo.callback(self.store.close)
            undo.push_async_callback(self.images.close)
            undo.push_async_callback(self.supervisor.stop)
            undo.push_async_callback(self.networks.stop)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._open_images())
                group.create_task(self.supervisor.start())
                group.create_task(self.networks.start(self.config, self.supervisor.fork_resolver))
                group.create_task(_load_apparmor_profile())
            self.volumes.load()
            await self.containers.restore(self.plugins)
            await self.builds.start()
            undo.push_async_callback(self.plugins.close)
            undo.push_async_callback(self.containers.stop_all)
            undo.push_async_callback(self.builds.close)
            await self.authorization.check(self.authorization.names)
            self._running = undo.pop_all()

    def _uses_plugin(self, name: str) -> bool:
        return self.volumes.uses_driver(name) or self.networks.uses_plugin(name)

    def _forget_plugin(self, name: str) -> None:
        self.authorization.forget(name)
        self.networks.plugins.forget(name)

    async def _open_images(self) -> None:
        self.snapshots.reconcile()
        await self.images.start()

    def reload(self, config: EngineConfig) -> None:
        """Take settings that may change while running, and tell it; which ones those are is the caller's choice."""
        self.config = replace(config, data_root=self.config.data_root, id_map=self.config.id_map)
        self.containers.reload(self.config)
        self.images.reload(config.registry)
        self.networks.reload()
        self.authorization.reload(config.authorization_plugins)
        self.events.publish("daemon", "reload", self.id, _reload_attributes(config))

    async def stop(self) -> None:
        """Finish what is under way and let go; containers stay where live-restore is on."""
        self.events.close()
        await self._running.aclose()
        if not any(self.config.tasks_dir.iterdir()):
            room.leave(self.config.snapshots_dir)
        os.close(self._lock_fd)


def _reload_attributes(config: EngineConfig) -> dict[str, str]:
    """What dockerd tells of itself when its configuration was read again."""
    registry = config.registry
    shown = {
        "debug": config.debug,
        "default-cgroupns-mode": config.default_cgroupns_mode,
        "default-ipc-mode": config.default_ipc_mode,
        "default-runtime": config.default_runtime,
        "default-shm-size": config.default_shm_size,
        "default-stop-timeout": config.default_stop_timeout_s,
        "insecure-registries": registry.insecure,
        "labels": config.labels,
        "live-restore": config.live_restore,
        "max-concurrent-downloads": registry.max_concurrent_downloads,
        "max-concurrent-uploads": registry.max_concurrent_uploads,
        "max-download-attempts": registry.max_download_attempts,
        "registry-mirrors": registry.hub_mirrors,
        "runtimes": tuple(config.runtimes),
        "shutdown-timeout": config.shutdown_timeout_s,
    }
    as_text = {
        name: item if isinstance(item, str) else msgspec.json.encode(item).decode() for name, item in shown.items()
    }
    return {"name": socket.gethostname(), **as_text}


def _remapped(config: EngineConfig) -> EngineConfig:
    """Find the ids of `userns-remap`; containers with other ids have a data root of their own, as in dockerd."""
    id_map = idmap.read(config.userns_remap)
    if id_map is None:
        return config
    config.data_root.mkdir(mode=0o711, parents=True, exist_ok=True)
    config.data_root.chmod(0o711)
    return replace(config, id_map=id_map, data_root=config.data_root / f"{id_map.root_uid}.{id_map.root_gid}")


def _let_through(config: EngineConfig) -> None:
    """Let the containers' root reach its own files, on whose way the host's root alone goes otherwise."""
    if config.id_map is None:
        return
    os.chown(config.data_root, 0, config.id_map.root_gid)
    for directory in (config.exec_root, config.tasks_dir):
        directory.chmod(0o711)
    for directory in (*config.data_root.parents, *config.exec_root.parents):
        if not directory.stat().st_mode & 0o001:
            raise errors.Internal(
                f"a subdirectory in your graphroot path ({config.data_root}) restricts access to the remapped root "
                "uid/gid; please fix by allowing 'o+x' permissions on existing directories"
            )


@contextmanager
def locked(data_root: Path) -> Iterator[None]:
    """Keep daemons away from a data root."""
    fd = _lock(data_root / "lock")
    try:
        yield
    finally:
        os.close(fd)


def _lock(path: Path) -> int:
    """Take the lock of a data root; it goes with the process."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise errors.Unavailable(f"{path.parent} is in use by another lightshipd") from error
    return fd


async def _load_apparmor_profile() -> None:
    """Where it cannot be loaded, the containers that need it fail to start, and say why."""
    if not apparmor.is_usable():
        return
    try:
        await apparmor.load_default()
    except errors.Error as error:
        logger.error("%s", error)


def _identity(store: Store) -> str:
    table = store.table("identity", Identity)
    identity = table.get("engine")
    if identity is None:
        identity = Identity(str(uuid.uuid4()))
        table.put("engine", identity)
    return identity.id
