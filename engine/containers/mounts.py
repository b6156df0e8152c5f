"""What is mounted in a container: decided when it is created, made ready each time it starts, let go at its removal.

Called by the life cycle. Volumes are made and held through `Volumes`; the OCI form is `spec_mounts`' business and the
mounting itself the runtime's, inside the container. Order and rules are those of moby's `daemon/volumes.go`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from ...openapi.types.config import Config
from ...openapi.types.hostconfig import HostConfig
from ...openapi.types.model import given
from ...openapi.types.mounts import BindOptions, IDMapping, MountPoint, TmpfsOptions, VolumeDriverConfig, VolumeOptions
from ..errors import Conflict, Error, Internal, InvalidArgument, NotFound
from ..volumes.local import DRIVER
from ..volumes.record import VolumeSource
from ..volumes.volumes import Volumes
from . import mount_syntax, propagation
from .mount_syntax import ParsedMount

if TYPE_CHECKING:
    from ..snapshots.snapshotter import Snapshotter
    from .image_mounts import ImageMounts

logger = logging.getLogger(__name__)

MountsOf = Callable[[str], Sequence["ResolvedMount"]]
"""Gives the mounts of the container that a client's reference names; raises NotFound."""


class ResolvedMount(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """One mount of a container, with everything decided; part of the container's record.

    `source` is a directory or file of the host, `options` are words for a tmpfs or for the file system of a volume with
    a device. `anonymous` volumes go with the container when asked for; `create_source` is `-v`'s way with a missing
    directory. An image's layers are held by `snapshot`, whose `root` a start fills in.
    """

    type: str
    destination: str
    source: str = ""
    name: str = ""
    driver: str = ""
    mode: str = ""
    rw: bool = True
    propagation: str = ""
    propagation_given: bool = False
    subpath: str = ""
    copy_up: bool = False
    anonymous: bool = False
    create_source: bool = False
    non_recursive: bool = False
    read_only_non_recursive: bool = False
    read_only_force_recursive: bool = False
    filesystem: str = ""
    device: str = ""
    options: tuple[str, ...] = ()
    snapshot: str = ""
    root: dict[str, Any] | None = None
    id_source: str = ""
    id_user: str = ""
    id_maps: dict[str, Any] | None = None
    """Made of `id_source` and `id_user` at each start: what the runtime is to map the mount by."""

    def point(self) -> MountPoint:
        """Report it as inspect and list do."""
        point = MountPoint(
            type=self.type,
            source=self.source,
            destination=self.destination,
            mode=self.mode,
            rw=self.rw,
            propagation=self.propagation,
        )
        if self.name:
            point.name, point.driver = self.name, self.driver
        return point


def parse_all(host_config: HostConfig) -> list[ParsedMount]:
    """Read Binds and Mounts, in this order; raise InvalidArgument for a bad one or for one destination used twice."""
    parsed: list[ParsedMount] = []
    taken = set(given(host_config.tmpfs, {}))
    for text in host_config.binds or ():
        mount = mount_syntax.parse_bind(text, host_config.volume_driver)
        if mount.destination in taken:
            raise InvalidArgument(f"Duplicate mount point: {mount.destination}")
        taken.add(mount.destination)
        parsed.append(mount)
    # A tmpfs of `--tmpfs` may be covered by a `--mount`, as in dockerd.
    taken = {mount.destination for mount in parsed}
    for spec in given(host_config.mounts, []) or ():
        mount = mount_syntax.parse_mount(spec)
        if mount.destination in taken:
            raise InvalidArgument(f"Duplicate mount point: {given(spec.target, '')}")
        taken.add(mount.destination)
        parsed.append(mount)
    return parsed


async def resolve(
    config: Config,
    host_config: HostConfig,
    *,
    container_id: str,
    volumes: Volumes,
    mounts_of: MountsOf,
    images: ImageMounts,
    data_root: str,
) -> list[ResolvedMount]:
    """Decide all mounts of a new container, make its volumes and hold them for it; undone where it raises."""
    parsed = parse_all(host_config)
    found: dict[str, ResolvedMount] = {}
    async with AsyncExitStack() as undo:
        undo.push_async_callback(_undo, found, volumes, container_id)
        undo.push_async_callback(images.undo)
        for mount in _volumes_from(host_config.volumes_from or (), mounts_of):
            if mount.type == "volume":
                volumes.hold(mount.name, container_id)
            found[mount.destination] = await images.share(mount) if mount.snapshot else mount
        for asked in parsed:
            covered = found.get(asked.destination)
            found[asked.destination] = (
                await images.resolve(asked)
                if asked.type == "image"
                else await _resolve_one(asked, container_id, volumes, data_root)
            )
            names = {mount.name for mount in found.values() if mount.type == "volume"}
            if covered is not None and covered.type == "volume" and covered.name not in names:
                volumes.release(covered.name, container_id)
        for path in config.volumes or ():
            destination = mount_syntax.clean(path)
            if destination not in found and destination not in given(host_config.tmpfs, {}):
                volume = await volumes.acquire("", container_id, driver=host_config.volume_driver)
                found[destination] = _of_volume(volume, destination, anonymous=True, copy_up=True)
        undo.pop_all()
    return sorted(found.values(), key=depth)


def plain_read_only(mounts: Iterable[ResolvedMount]) -> list[ResolvedMount]:
    """Let read-only binds be so themselves, and what is mounted below them not."""
    return [
        msgspec.structs.replace(mount, read_only_non_recursive=True) if mount.type == "bind" and not mount.rw else mount
        for mount in mounts
    ]


def depth(mount: ResolvedMount) -> tuple[int, str]:
    """Sort key by which no mount hides a later one."""
    return mount.destination.count("/"), mount.destination


def prepare(mounts: Iterable[ResolvedMount], *, snapshots: Snapshotter) -> list[ResolvedMount]:
    """Make what a start needs: missing directories of `-v`; check what cannot be known before.

    Returns the mounts with the propagation that their sources allow.
    """
    ready = []
    for mount in mounts:
        _check_read_only(mount)
        if mount.type == "bind" and mount.create_source:
            _create_source(mount.source)
        if mount.snapshot:
            mount = msgspec.structs.replace(mount, root=snapshots.mounts(mount.snapshot)[0])
        elif mount.subpath and (not mount.device or _is_bind(mount)):
            _check_subpath(mount)
        ready.append(propagation.settle(mount) if mount.type == "bind" else mount)
    return ready


def is_of_plugin(mount: ResolvedMount) -> bool:
    """Does a plugin mount this volume?"""
    return mount.type == "volume" and mount.driver not in ("", DRIVER)


async def attach(mounts: Iterable[ResolvedMount], *, volumes: Volumes, container_id: str) -> list[ResolvedMount]:
    """Have the volumes of plugins mounted for a run; `volumes.attachments.detach` lets them go."""
    return [
        msgspec.structs.replace(mount, source=await volumes.attachments.attach(mount.name, mount.driver, container_id))
        if is_of_plugin(mount)
        else mount
        for mount in mounts
    ]


@asynccontextmanager
async def borrowed(
    mounts: Iterable[ResolvedMount], *, volumes: Volumes, container_id: str
) -> AsyncIterator[list[ResolvedMount]]:
    """Have the volumes of plugins mounted for a moment."""
    async with AsyncExitStack() as stack:
        found = []
        for mount in mounts:
            if is_of_plugin(mount):
                borrow = volumes.attachments.borrow(mount.name, mount.driver, container_id)
                mount = msgspec.structs.replace(mount, source=await stack.enter_async_context(borrow))
            found.append(mount)
        yield found


async def populate(
    mounts: Iterable[ResolvedMount], *, root: Sequence[dict[str, Any]], volumes: Volumes, container_id: str
) -> None:
    """Fill the new container's empty volumes from its image; `root` are the mounts that make its root."""
    for mount in mounts:
        if mount.copy_up:
            await volumes.copy_up(
                mount.name,
                root,
                mount.destination,
                container_id=container_id,
                subpath=mount.subpath,
                image_volume=mount.anonymous,
            )


def hold(mounts: Iterable[ResolvedMount], *, volumes: Volumes, container_id: str) -> None:
    """Hold the volumes of a container that was restored."""
    for mount in mounts:
        if mount.type == "volume":
            volumes.hold(mount.name, container_id)


async def release(
    mounts: Iterable[ResolvedMount], *, volumes: Volumes, container_id: str, remove_anonymous: bool
) -> None:
    """Let the volumes of a removed container go; with `remove_anonymous` those without a name go for good."""
    failures = []
    held = [mount for mount in mounts if mount.type == "volume"]
    for mount in held:
        volumes.release(mount.name, container_id)
    for mount in held:
        if not (remove_anonymous and mount.anonymous):
            continue
        try:
            await volumes.remove(mount.name, force=True)
        except Conflict:
            logger.debug("%s: volume %s is still in use by another container", container_id, mount.name)
        except Error as error:
            failures.append(str(error))
    if failures:
        raise Internal("Error removing volumes:\n" + "\n".join(failures))


async def _undo(found: dict[str, ResolvedMount], volumes: Volumes, container_id: str) -> None:
    await release(found.values(), volumes=volumes, container_id=container_id, remove_anonymous=True)


def _volumes_from(texts: Iterable[str], mounts_of: MountsOf) -> Iterator[ResolvedMount]:
    for text in texts:
        ref, writable = mount_syntax.parse_volumes_from(text)
        try:
            mounts = mounts_of(ref)
        except NotFound as error:
            raise InvalidArgument(str(error)) from error
        for mount in mounts:
            yield msgspec.structs.replace(mount, mode="", rw=mount.rw and writable, copy_up=False)


async def _resolve_one(asked: ParsedMount, container_id: str, volumes: Volumes, data_root: str) -> ResolvedMount:
    if asked.type == "tmpfs":
        tmpfs = given(asked.spec.tmpfs_options, TmpfsOptions())
        words = mount_syntax.tmpfs_words(tmpfs, read_only=asked.read_only)
        return ResolvedMount(type="tmpfs", destination=asked.destination, rw=not asked.read_only, options=tuple(words))
    if asked.type == "bind":
        return _resolve_bind(asked, data_root)
    options = given(asked.spec.volume_options, VolumeOptions())
    driver = given(options.driver_config, VolumeDriverConfig())
    volume = await volumes.acquire(
        asked.source,
        container_id,
        driver=given(driver.name, ""),
        options=given(driver.options, None),
        labels=given(options.labels, None),
    )
    return _of_volume(
        volume,
        asked.destination,
        anonymous=not asked.source,
        copy_up=not given(options.no_copy, False),
        mode=asked.mode or ("z" if volume.driver == DRIVER else ""),
        rw=not asked.read_only,
        subpath=given(options.subpath, ""),
    )


def _resolve_bind(asked: ParsedMount, data_root: str) -> ResolvedMount:
    options = given(asked.spec.bind_options, BindOptions())
    source = mount_syntax.clean(asked.source)
    wanted = given(options.propagation, "")
    mapping = given(options.id_mapping, IDMapping())
    return ResolvedMount(
        type="bind",
        destination=asked.destination,
        source=source,
        mode=asked.mode,
        rw=not asked.read_only,
        propagation=propagation.choose(source, wanted, data_root=data_root),
        propagation_given=bool(wanted),
        create_source=asked.from_bind_text or given(options.create_mountpoint, False),
        non_recursive=given(options.non_recursive, False),
        id_source=given(mapping.source, ""),
        id_user=given(mapping.user, ""),
        read_only_non_recursive=given(options.read_only_non_recursive, False),
        read_only_force_recursive=given(options.read_only_force_recursive, False),
    )


def _of_volume(
    volume: VolumeSource,
    destination: str,
    *,
    anonymous: bool,
    copy_up: bool,
    mode: str = "",
    rw: bool = True,
    subpath: str = "",
) -> ResolvedMount:
    return ResolvedMount(
        type="volume",
        destination=destination,
        source=volume.path,
        name=volume.name,
        driver=volume.driver,
        mode=mode,
        rw=rw,
        subpath=subpath,
        copy_up=copy_up,
        anonymous=anonymous,
        filesystem=volume.filesystem,
        device=volume.device,
        options=volume.options,
    )


def _check_read_only(mount: ResolvedMount) -> None:
    for name, is_set in (
        ("ReadOnlyNonRecursive", mount.read_only_non_recursive),
        ("ReadOnlyForceRecursive", mount.read_only_force_recursive),
    ):
        if mount.rw and is_set:
            raise InvalidArgument(f"mount options conflict: !ReadOnly && BindOptions.{name}")
    if mount.read_only_non_recursive and mount.read_only_force_recursive:
        raise InvalidArgument("mount options conflict: ReadOnlyNonRecursive && BindOptions.ReadOnlyForceRecursive")


def _create_source(path: str) -> None:
    """Make a missing directory of the host, owned by root; what is there already, file or directory, stays."""
    try:
        os.makedirs(path, mode=0o755, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        return
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InvalidArgument(
            f"error while creating mount source path '{path}': mkdir {error.filename}: {reason}"
        ) from error


def _is_bind(mount: ResolvedMount) -> bool:
    return mount.filesystem == "none" or bool({"bind", "rbind"} & set(mount.options))


def _check_subpath(mount: ResolvedMount) -> None:
    root = mount.device or mount.source
    path = f"{root}/{mount.subpath}"
    if not os.path.lexists(path):
        raise NotFound(f"cannot access path {path}: lstat {path}: no such file or directory")
