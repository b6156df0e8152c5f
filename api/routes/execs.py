"""Processes run in containers that exist."""

from __future__ import annotations

from starlette.responses import Response

from ...engine.errors import InvalidArgument
from ...openapi.types.answers import IDResponse
from ...openapi.types.requests import ExecCreateRequest, ExecStartRequest
from .. import params
from ..call import Call


async def create(call: Call) -> Response:
    request = await call.body(ExecCreateRequest)
    if not request.cmd:
        raise InvalidArgument("No exec command specified")
    exec_id = await call.engine.execs.create(call.path["id"], request)
    return call.json(IDResponse(id=exec_id), 201)


async def start(call: Call) -> Response | None:
    request = await call.body(ExecStartRequest)
    if request.detach:
        await call.engine.execs.start_detached(call.path["id"], request)
        return call.empty(200)
    attachment = await call.engine.execs.prepare(call.path["id"], request)
    client, prefix = await call.hijack(tty=attachment.tty)
    await attachment.hand_over(client, prefix)
    return None


async def resize(call: Call) -> Response:
    height = params.console_size(call.text("h"), "height")
    width = params.console_size(call.text("w"), "width")
    await call.engine.execs.resize(call.path["id"], height, width)
    return call.empty(200)


async def inspect(call: Call) -> Response:
    return call.json(await call.engine.execs.inspect(call.path["id"]))


HANDLERS = {"ContainerExec": create, "ExecStart": start, "ExecResize": resize, "ExecInspect": inspect}
