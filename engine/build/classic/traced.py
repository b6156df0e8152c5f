"""Version 2 of `POST /build`: what older CLIs and Docker's Go client ask for as BuildKit.

The course of the build is told by BuildKit's status messages, each in one of the classic ones. Files come by the
client's session, or by the request's body where it has none.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ...booleans import parse as parse_bool
from ...errors import InvalidArgument
from ...images.progress import Message
from ...images.references import Reference
from ..client import Client
from ..dockerfile.frontend import build
from ..frontend import Request
from ..request import BuildRequest, CacheLocation, Exporter
from .client import TarClient
from .options import ClassicOptions

if TYPE_CHECKING:
    from ...engine import Engine

_NAMED = ("moby", "image")
_NONE = "cacheonly"


async def traced(
    engine: Engine, options: ClassicOptions, names: tuple[Reference, ...], directory: Path
) -> AsyncGenerator[Message, None]:
    """Yield what is told of the build. Closed, the build ends."""
    from ..buildkit.journal import Journal  # protobuf, which few daemons need

    client: Client = TarClient(directory, options.credentials)
    if options.session:
        client = await engine.buildkit.client_of(options.session)
    journal = Journal()
    request = _request(options, names, unique=options.session or directory.name)
    task = asyncio.create_task(engine.builds.build(request, client, journal.tell))
    task.add_done_callback(lambda task: journal.end())
    try:
        async for status in journal.follow():
            encoded = base64.b64encode(status.SerializeToString()).decode()
            yield {"id": "moby.buildkit.trace", "aux": encoded}
        outcome = await task
        if outcome.image_id:
            yield {"id": "moby.image.id", "aux": {"ID": outcome.image_id}}
    finally:
        task.cancel()
        await asyncio.wait([task])


def _request(options: ClassicOptions, names: tuple[Reference, ...], *, unique: str) -> BuildRequest:
    if options.network not in ("", "default", "host", "none"):
        raise InvalidArgument(f'network mode "{options.network}" not supported by buildkit')
    inline = options.build_args.get("BUILDKIT_INLINE_CACHE") or "false"
    return BuildRequest(
        frontend=build,
        request=Request(options.for_frontend(), unique),
        exporters=_exporters(options, names),
        cache_from=tuple(CacheLocation("registry", {"ref": name}) for name in options.cache_from),
        cache_to=(CacheLocation("inline"),) if parse_bool(inline) else (),
        entitlements=frozenset({"network.host"} if options.network == "host" else ()),
    )


def _exporters(options: ClassicOptions, names: tuple[Reference, ...]) -> tuple[Exporter, ...]:
    if len(options.outputs) > 1:
        raise InvalidArgument("multiple outputs not supported")
    if options.outputs and options.outputs[0].type == _NONE:
        return ()
    exporter = options.outputs[0] if options.outputs else Exporter("moby")
    if exporter.type in _NAMED and names:
        return (replace(exporter, attributes={**exporter.attributes, "name": ",".join(map(str, names))}),)
    return (exporter,)
