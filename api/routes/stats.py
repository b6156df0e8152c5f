"""What containers use, once or as a stream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from starlette.responses import Response

from ...compat import gates
from ...openapi import codec
from ...openapi.operations.operation import JSON
from ..call import Call
from ..streaming import StreamingResponse


async def stats(call: Call) -> Response:
    container_id = call.path["id"]
    if not call.flag("stream", default=True):
        return call.json(await call.engine.containers.stats(container_id, one_shot=call.flag("one-shot")))
    samples = call.engine.containers.stats_stream(container_id)

    async def lines() -> AsyncIterator[bytes]:
        async with aclosing(samples) as source:
            async for found in source:
                yield codec.encode(gates.downgrade(call.operation.id, call.version, found))

    return StreamingResponse(lines(), JSON)


HANDLERS = {"ContainerStats": stats}
