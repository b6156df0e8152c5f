"""The containers' life, lists and streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.responses import Response

from ...engine.containers.attach import AttachOptions
from ...engine.containers.logformat import LogsOptions
from ...engine.errors import InvalidArgument
from ...openapi import codec
from ...openapi.types.answers import ContainerPruneResponse
from ...openapi.types.containers import ContainerWaitResponse
from ...openapi.types.requests import ContainerCreateRequest, ContainerUpdateRequest
from .. import params
from ..call import Call
from ..streaming import StreamingResponse, begun
from ..websocket import serve as serve_websocket

_SMALLEST_OBJECT = 7
_WAIT_CONDITIONS = ("not-running", "next-exit", "removed")


async def listing(call: Call) -> Response:
    found = await call.engine.containers.list(
        call.filters(), all=call.flag("all"), limit=call.integer("limit") or 0, size=call.flag("size")
    )
    return call.json(found)


async def create(call: Call) -> Response:
    request = await call.body(ContainerCreateRequest, required=True)
    answer = await call.engine.containers.create(
        request,
        name=call.text("name"),
        platform=call.text("platform"),
        recursive_read_only=call.version >= (1, 44),
    )
    answer.warnings = [*(answer.warnings or ()), *call.warnings]
    return call.json(answer, 201)


async def inspect(call: Call) -> Response:
    return call.json(await call.engine.containers.inspect(call.path["id"], size=call.flag("size")))


async def top(call: Call) -> Response:
    return call.json(await call.engine.containers.top(call.path["id"], call.text("ps_args")))


async def logs(call: Call) -> Response:
    stdout, stderr = call.flag("stdout"), call.flag("stderr")
    if not stdout and not stderr:
        raise InvalidArgument("Bad parameters: you must choose at least one stream")
    options = LogsOptions(
        stdout=stdout,
        stderr=stderr,
        since=params.timestamp_ns(call.text("since")) or 0,
        until=params.timestamp_ns(call.text("until")) or 0,
        timestamps=call.flag("timestamps"),
        tail=call.text("tail"),
        follow=call.flag("follow"),
        details=call.flag("details"),
    )
    found = await call.engine.containers.logs(call.path["id"], options)
    return StreamingResponse(await begun(aiter(found)), call.stream_type(tty=found.tty))


async def start(call: Call) -> Response:
    length = call.headers.get("content-length")
    if "transfer-encoding" in call.headers or (length and int(length) > _SMALLEST_OBJECT):
        raise InvalidArgument(
            "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24"
        )
    await call.engine.containers.start(call.path["id"])
    return call.empty()


async def stop(call: Call) -> Response:
    await call.engine.containers.stop(call.path["id"], signal=call.text("signal"), timeout_s=call.integer("t"))
    return call.empty()


async def restart(call: Call) -> Response:
    await call.engine.containers.restart(call.path["id"], signal=call.text("signal"), timeout_s=call.integer("t"))
    return call.empty()


async def kill(call: Call) -> Response:
    await call.engine.containers.kill(call.path["id"], signal=call.text("signal"))
    return call.empty()


async def pause(call: Call) -> Response:
    await call.engine.containers.pause(call.path["id"])
    return call.empty()


async def unpause(call: Call) -> Response:
    await call.engine.containers.unpause(call.path["id"])
    return call.empty()


async def rename(call: Call) -> Response:
    await call.engine.containers.rename(call.path["id"], call.text("name"))
    return call.empty()


async def update(call: Call) -> Response:
    request = await call.body(ContainerUpdateRequest)
    return call.json(await call.engine.containers.update(call.path["id"], request))


async def remove(call: Call) -> Response:
    await call.engine.containers.remove(
        call.path["id"], force=call.flag("force"), volumes=call.flag("v"), link=call.flag("link")
    )
    return call.empty()


async def prune(call: Call) -> Response:
    deleted, reclaimed = await call.engine.containers.prune(call.filters())
    return call.json(ContainerPruneResponse(containers_deleted=deleted or None, space_reclaimed=reclaimed))


async def resize(call: Call) -> Response:
    height = params.console_size(call.text("h"), "height")
    width = params.console_size(call.text("w"), "width")
    await call.engine.containers.resize(call.path["id"], height, width)
    return call.empty(200)


async def wait(call: Call) -> Response:
    condition = call.text("condition") or "not-running"
    if condition not in _WAIT_CONDITIONS:
        raise InvalidArgument(f'invalid condition: "{condition}"')
    result = asyncio.ensure_future(await call.engine.containers.wait(call.path["id"], condition))
    if call.version < (1, 30):
        return call.json(await result)
    return StreamingResponse(await begun(_wait_answer(result)), "application/json")


async def _wait_answer(result: asyncio.Future[ContainerWaitResponse]) -> AsyncIterator[bytes]:
    try:
        yield b""
        yield codec.encode(await result)
    finally:
        result.cancel()


def _attach_options(call: Call, *, framed: bool) -> AttachOptions:
    everything = not framed and call.version < (1, 42)
    return AttachOptions(
        stdin=call.flag("stdin") or everything,
        stdout=call.flag("stdout") or everything,
        stderr=call.flag("stderr") or everything,
        stream=call.flag("stream"),
        logs=call.flag("logs"),
        detach_keys=call.text("detachKeys"),
        framed=framed,
    )


async def attach(call: Call) -> None:
    attachment = await call.engine.containers.attach(call.path["id"], _attach_options(call, framed=True))
    client, prefix = await call.hijack(tty=attachment.tty)
    await attachment.hand_over(client, prefix)


async def attach_websocket(call: Call) -> None:
    attachment = await call.engine.containers.attach(call.path["id"], _attach_options(call, framed=False))
    await serve_websocket(call.websocket(), attachment, binary=call.version >= (1, 28))


async def refuse_websocket(call: Call) -> Response:
    await call.engine.containers.inspect(call.path["id"])  # one that is not there is told of first
    raise InvalidArgument("this operation needs a websocket")


HANDLERS = {
    "ContainerList": listing,
    "ContainerCreate": create,
    "ContainerInspect": inspect,
    "ContainerTop": top,
    "ContainerLogs": logs,
    "ContainerStart": start,
    "ContainerStop": stop,
    "ContainerRestart": restart,
    "ContainerKill": kill,
    "ContainerPause": pause,
    "ContainerUnpause": unpause,
    "ContainerRename": rename,
    "ContainerUpdate": update,
    "ContainerDelete": remove,
    "ContainerPrune": prune,
    "ContainerResize": resize,
    "ContainerWait": wait,
    "ContainerAttach": attach,
    "ContainerAttachWebsocket": refuse_websocket,
}
WEBSOCKETS = {"ContainerAttachWebsocket": attach_websocket}
