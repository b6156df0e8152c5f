"""Volumes."""

from __future__ import annotations

from starlette.responses import Response

from ...engine.errors import InvalidArgument
from ...openapi.types.answers import VolumePruneResponse
from ...openapi.types.volumes import VolumeCreateRequest, VolumeListResponse
from ..call import Call


async def listing(call: Call) -> Response:
    try:
        filters = call.filters()
    except InvalidArgument as error:
        raise InvalidArgument(f"error reading volume filters: {error}") from error
    found, warnings = await call.engine.volumes.list(filters)
    return call.json(VolumeListResponse(volumes=list(found), warnings=list(warnings) or None))


async def create(call: Call) -> Response:
    request = await call.body(VolumeCreateRequest)
    return call.json(await call.engine.volumes.create(request), 201)


async def inspect(call: Call) -> Response:
    return call.json(await call.engine.volumes.inspect(call.path["name"]))


async def remove(call: Call) -> Response:
    await call.engine.volumes.remove(call.path["name"], force=call.flag("force"))
    return call.empty()


async def prune(call: Call) -> Response:
    deleted, reclaimed = await call.engine.volumes.prune(call.filters())
    return call.json(VolumePruneResponse(volumes_deleted=list(deleted), space_reclaimed=reclaimed))


HANDLERS = {
    "VolumeList": listing,
    "VolumeCreate": create,
    "VolumeInspect": inspect,
    "VolumeDelete": remove,
    "VolumePrune": prune,
}
