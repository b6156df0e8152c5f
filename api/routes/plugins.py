"""Managed plugins."""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.responses import Response

from ...engine.errors import InvalidArgument
from ...engine.images.progress import Message
from ...engine.images.registry.credentials import Credentials, decode
from ...engine.plugins.plugins import local_name
from ...openapi.operations.operation import JSON
from ...openapi.types.plugins import PluginPrivilege
from ..call import Call
from ..streaming import StreamingResponse, begun, progress


async def listing(call: Call) -> Response:
    return call.json(list(call.engine.plugins.list(call.filters())))


async def inspect(call: Call) -> Response:
    return call.json(call.engine.plugins.inspect(call.path["name"]))


async def create(call: Call) -> Response:
    await call.engine.plugins.create(call.text("name"), call.chunks())
    return call.empty()


async def set_settings(call: Call) -> Response:
    call.engine.plugins.set(call.path["name"], await call.body(list[str]))
    return call.empty()


async def enable(call: Call) -> Response:
    timeout_s = call.integer("timeout")
    if timeout_s is None:
        raise InvalidArgument('strconv.Atoi: parsing "": invalid syntax')
    await call.engine.plugins.enable(call.path["name"], timeout_s=max(timeout_s, 0))
    return call.empty(200)


async def disable(call: Call) -> Response:
    await call.engine.plugins.disable(call.path["name"], force=call.flag("force"))
    return call.empty(200)


async def remove(call: Call) -> Response:
    await call.engine.plugins.remove(call.path["name"], force=call.flag("force"))
    return call.empty(200)


async def privileges(call: Call) -> Response:
    return call.json(list(await call.engine.plugins.privileges(call.text("remote"), _credentials(call))))


async def pull(call: Call) -> Response:
    accepted = await call.body(list[PluginPrivilege])
    remote = call.text("remote")
    name = local_name(remote, call.text("name"))
    return await _told(call.engine.plugins.pull(remote, name, accepted, _credentials(call)), name)


async def upgrade(call: Call) -> Response:
    accepted = await call.body(list[PluginPrivilege])
    name = call.path["name"]
    return await _told(call.engine.plugins.upgrade(name, call.text("remote"), accepted, _credentials(call)), name)


async def push(call: Call) -> Response:
    name = call.path["name"]
    return await _told(call.engine.plugins.push(name, _credentials(call)), name)


async def _told(items: AsyncIterator[Message], name: str) -> Response:
    response = StreamingResponse(progress(await begun(items)), JSON)
    # The CLI enables what it has installed by this name
    response.headers["Docker-Plugin-Name"] = name
    return response


def _credentials(call: Call) -> Credentials:
    return decode(call.headers.get("x-registry-auth", ""))


HANDLERS = {
    "PluginList": listing,
    "GetPluginPrivileges": privileges,
    "PluginPull": pull,
    "PluginInspect": inspect,
    "PluginDelete": remove,
    "PluginEnable": enable,
    "PluginDisable": disable,
    "PluginUpgrade": upgrade,
    "PluginCreate": create,
    "PluginPush": push,
    "PluginSet": set_settings,
}
