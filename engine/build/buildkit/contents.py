"""containerd's content service as clients find it beside BuildKit's: what the records of ended builds refer to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from grpclib.const import Handler

from ...errors import InvalidArgument
from .history import History
from .protocol import content_pb2 as pb
from .transport import streaming, unary

_SERVICE = "/containerd.services.content.v1.Content"
_CHUNK_BYTES = 1 << 20


class Contents:
    """The service; it reads."""

    def __init__(self, history: History) -> None:
        self._history = history

    def handlers(self) -> dict[str, Handler]:
        return {
            f"{_SERVICE}/Info": unary(self._info, pb.InfoRequest, pb.InfoResponse),
            f"{_SERVICE}/Read": streaming(self._read, pb.ReadContentRequest, pb.ReadContentResponse),
        }

    async def _info(self, request: pb.InfoRequest, metadata: Mapping[str, Any]) -> pb.InfoResponse:
        size = len(self._history.read(request.digest))
        return pb.InfoResponse(info=pb.Info(digest=request.digest, size=size))

    async def _read(
        self, request: pb.ReadContentRequest, send: Callable[[pb.ReadContentResponse], Awaitable[None]]
    ) -> None:
        data = self._history.read(request.digest)
        if not 0 <= request.offset <= len(data) or request.size < 0:
            raise InvalidArgument("read past the end of the content")
        end = min(request.offset + request.size, len(data)) if request.size else len(data)
        for start in range(request.offset, end, _CHUNK_BYTES):
            await send(pb.ReadContentResponse(offset=start, data=data[start : min(start + _CHUNK_BYTES, end)]))
