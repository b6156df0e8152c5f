"""A container's files: copied in and out, compared, exported, committed."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator
from typing import Any

from starlette.responses import Response

from ...engine.containers.commit import CommitOptions
from ...engine.errors import InvalidArgument
from ...engine.images.references import parse_repository_and_tag
from ...openapi import codec
from ...openapi.operations.operation import OCTETS, TAR
from ...openapi.types.answers import IDResponse
from ...openapi.types.config import Config
from ...openapi.types.containers import PathStat
from .. import params
from ..call import Call
from ..streaming import StreamingResponse

_ENCODINGS = ("gzip", "deflate")


async def stat(call: Call) -> Response:
    found = await call.engine.containers.files.stat(call.path["id"], _path(call))
    return Response(headers={"X-Docker-Container-Path-Stat": _header(found)})


async def read(call: Call) -> Response:
    encoding = params.accepted(call.headers.get("accept-encoding", ""), _ENCODINGS) or ""
    pieces = call.engine.containers.files.read(call.path["id"], _path(call), compression=encoding)
    found = await anext(pieces)
    response = StreamingResponse(pieces, TAR)
    response.headers["X-Docker-Container-Path-Stat"] = _header(found)
    if encoding:
        response.headers["Content-Encoding"] = encoding
    return response


async def write(call: Call) -> Response:
    path = _path(call)
    keeps_kinds, copies_owner = call.flag("noOverwriteDirNonDir"), call.flag("copyUIDGID")
    with call.lent_body() as lent:
        await call.engine.containers.files.write(
            call.path["id"], path, lent or call.chunks(), keeps_kinds=keeps_kinds, copies_owner=copies_owner
        )
    return call.empty(200)


async def changes(call: Call) -> Response:
    return call.json(await call.engine.containers.files.changes(call.path["id"]) or None)


async def export(call: Call) -> Response:
    pieces: AsyncGenerator[Any, None] = call.engine.containers.files.export(call.path["id"])
    await anext(pieces)
    return StreamingResponse(pieces, OCTETS)


async def commit(call: Call) -> Response:
    config = await call.body(Config)
    options = CommitOptions(
        reference=parse_repository_and_tag(call.text("repo"), call.text("tag")),
        pauses=call.flag("pause", default=True),
        author=call.text("author"),
        comment=call.text("comment"),
        changes=call.texts("changes"),
        config=None if config == Config() else config,
    )
    image_id = await call.engine.containers.files.commit(call.text("container"), options)
    return call.json(IDResponse(id=image_id), 201)


def _path(call: Call) -> str:
    path = call.text("path")
    if not path:
        raise InvalidArgument("bad parameter: pathcannot be empty")
    return path


def _header(found: PathStat) -> str:
    return base64.b64encode(codec.encode(found).strip()).decode()


HANDLERS = {
    "ContainerArchiveInfo": stat,
    "ContainerArchive": read,
    "PutContainerArchive": write,
    "ContainerChanges": changes,
    "ContainerExport": export,
    "ImageCommit": commit,
}
