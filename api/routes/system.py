"""`/_ping`, `/version`, `/info` and `/events`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from starlette.responses import Response

from ...compat import gates
from ...engine import usage
from ...engine.errors import InvalidArgument
from ...openapi import codec
from .. import params
from ..call import Call
from ..streaming import StreamingResponse, begun

if TYPE_CHECKING:
    from ...engine.events import Subscription

_JSON_LINES, _NDJSON, _JSON_SEQUENCE = "application/jsonl", "application/x-ndjson", "application/json-seq"
_PING_HEADERS = [
    (b"builder-version", b"2"),
    (b"cache-control", b"no-cache, no-store, must-revalidate"),
    (b"pragma", b"no-cache"),
    (b"swarm", b"inactive"),
]


async def ping(call: Call) -> Response:
    content = b"" if call.operation.method == "HEAD" else b"OK"
    response = Response(content, media_type="text/plain")
    response.raw_headers += _PING_HEADERS
    return response


async def version(call: Call) -> Response:
    return call.json(call.engine.system.version())


async def info(call: Call) -> Response:
    return call.json(await call.engine.system.info())


async def data_usage(call: Call) -> Response:
    kinds = call.texts("type") or usage.KINDS
    for kind in kinds:
        if kind not in usage.KINDS:
            raise InvalidArgument(f"unknown object type: {kind}")
    found = await usage.disk_usage(call.engine, kinds)
    # Before 1.53 the lists are there in any case, by the names that they had.
    if call.version >= (1, 53) and not call.flag("verbose"):
        usage.without_items(found)
    return call.json(found)


async def events(call: Call) -> Response:
    since_text, until_text = call.text("since"), call.text("until")
    since, until = params.timestamp_ns(since_text), params.timestamp_ns(until_text)
    if until is not None and until < (since or 0):
        raise InvalidArgument(f"`since` time ({since_text}) cannot be after `until` time ({until_text})")
    filters = call.filters()
    fallback = _JSON_LINES if call.version >= (1, 52) else "application/json"
    accept = call.headers.get("accept", "")
    media_type = params.accepted(accept, (_JSON_LINES, _NDJSON, _JSON_SEQUENCE)) or fallback
    subscription = call.engine.events.subscribe(filters, since_ns=since, until_ns=until)
    record_start = b"\x1e" if media_type == _JSON_SEQUENCE else b""
    return StreamingResponse(await begun(_lines(call, subscription, record_start)), media_type)


async def _lines(call: Call, subscription: Subscription, record_start: bytes) -> AsyncIterator[bytes]:
    try:
        yield b""
        async for event in subscription:
            shown = gates.downgrade(call.operation.id, call.version, event)
            if shown is not None:
                yield record_start + codec.encode(shown, is_ordered=shown is not event)
    finally:
        subscription.close()


HANDLERS = {
    "SystemPing": ping,
    "SystemPingHead": ping,
    "SystemVersion": version,
    "SystemInfo": info,
    "SystemDataUsage": data_usage,
    "SystemEvents": events,
}
