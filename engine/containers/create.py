"""`docker create`: a container's record, its writable snapshot and its volumes, all or nothing.

Everything that can be refused is refused before anything is made. The root file system is not mounted: the runtime
does that at each start, inside the container.
"""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from ...openapi.types.config import Config
from ...openapi.types.containers import ContainerCreateResponse
from ...openapi.types.hostconfig import HostConfig
from ...openapi.types.networks import EndpointSettings, NetworkSettings
from ...openapi.types.requests import ContainerCreateRequest
from .. import errors
from ..ids import new_id
from ..images.config import Platform
from ..images.query import run_config
from ..networks import endpoints
from . import defaults, links, merge, modes, mounts, validate, workdir
from .container import Container
from .image_mounts import ImageMounts
from .record import ContainerRecord

if TYPE_CHECKING:
    from ..images.catalog import Image
    from .context import Context


async def create(
    context: Context, request: ContainerCreateRequest, *, name: str, platform: str, recursive_read_only: bool
) -> ContainerCreateResponse:
    """Make a container that can be started; `recursive_read_only` says whether `ro` counts for mounts below a bind."""
    warnings = validate.validate(request, name=name, host=context.host)
    host_config = request.host_config or HostConfig()
    image = _find_image(context, request, platform, warnings)
    networks = _endpoints(context, request, host_config)
    linked = links.resolve(context, host_config)
    defaults.fill_host_config(host_config, context.host, id_of=lambda ref: context.registry.resolve(ref).id)
    config = merge.merge(request, run_config(image.config.config) if image else None)
    container_id = new_id()
    async with AsyncExitStack() as undo:
        full_name = context.registry.reserve_name(name, container_id)
        undo.callback(context.registry.release_name, full_name)
        config.hostname = defaults.hostname(config, host_config, container_id, context.host)
        record = _record(container_id, full_name, config, host_config, image)
        if image is not None:
            record.image_manifest = context.images.manifest_of(image, request.image)
        record.network = NetworkSettings(ports={}, networks=networks)
        record.links = linked
        record.mac_addresses = {name: one.mac_address for name, one in networks.items() if one.mac_address}
        images = ImageMounts(context.images.catalog, context.snapshots, container_id)
        record.mounts = await mounts.resolve(
            config,
            host_config,
            container_id=container_id,
            volumes=context.volumes,
            mounts_of=lambda ref: context.registry.resolve(ref).record.mounts,
            images=images,
            data_root=str(context.config.data_root),
        )
        if not recursive_read_only:
            record.mounts = mounts.plain_read_only(record.mounts)
        undo.push_async_callback(images.undo)
        undo.push_async_callback(_release_volumes, context, record)
        await context.snapshots.prepare(container_id, image.diff_ids if image else [])
        undo.push_async_callback(context.snapshots.remove, container_id)
        workdir.check(config.working_dir, context.snapshots.lower_paths(container_id))
        root = context.snapshots.mounts(container_id)
        await mounts.populate(record.mounts, root=root, volumes=context.volumes, container_id=container_id)
        container = Container(record)
        context.registry.add(container)
        undo.pop_all()
    context.announce(container, "create")
    return ContainerCreateResponse(id=container_id, warnings=warnings)


def _find_image(context: Context, request: ContainerCreateRequest, platform: str, warnings: list[str]) -> Image | None:
    if not request.image:
        return None
    here = Platform.of_host()
    image = context.images.catalog.resolve(request.image, platform=Platform.parse(platform) if platform else None)
    if not platform and not image.config.platform.matches(here):
        warnings.append(
            f"The requested image's platform ({image.config.platform}) does not match the detected host platform "
            f"({here}) and no specific platform was requested"
        )
    return image


def _endpoints(
    context: Context, request: ContainerCreateRequest, host_config: HostConfig
) -> dict[str, EndpointSettings]:
    """Check what was asked of the networks, and return it by the networks' names."""
    given = (request.networking_config and request.networking_config.endpoints_config) or {}
    asked: dict[str, EndpointSettings] = {}
    for ref, settings in given.items():
        if settings is None:
            raise errors.InvalidArgument(f"invalid config for network {ref}: EndpointsConfig is nil")
        network = context.networks.find_or_none(settings.network_id or endpoints.network_name(ref))
        name = network.name if network is not None else endpoints.network_name(ref)
        endpoints.validate_created(name, settings, network)
        asked[name] = settings
    mode = host_config.network_mode
    if modes.joined_container(mode) is not None:
        return {}
    main = context.networks.find_or_none(endpoints.network_name(mode))
    return {main.name if main is not None else endpoints.network_name(mode): EndpointSettings(), **asked}


def _record(
    container_id: str, full_name: str, config: Config, host_config: HostConfig, image: Image | None
) -> ContainerRecord:
    path, args = merge.command(config)
    return ContainerRecord(
        id=container_id,
        name=full_name,
        created_ns=time.time_ns(),
        path=path,
        args=args,
        config=config,
        host_config=host_config,
        image_id=image.id if image else "",
        platform_os=image.config.platform.os if image else "linux",
    )


async def _release_volumes(context: Context, record: ContainerRecord) -> None:
    await mounts.release(record.mounts, volumes=context.volumes, container_id=record.id, remove_anonymous=True)
