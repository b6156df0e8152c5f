"""A content store in a directory of a client, over its session: containerd's content service, which the client serves.

A client has one for each cache in a directory, by an id that both sides make of the directory's path.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from grpclib.client import Stream, StreamStreamMethod, UnaryStreamMethod

from ...errors import AlreadyExists, Unavailable
from .errors import of_the_client
from .protocol.content_pb2 import (
    COMMIT,
    STAT,
    WRITE,
    ReadContentRequest,
    ReadContentResponse,
    WriteContentRequest,
    WriteContentResponse,
)
from .transport import Calls

_READ = "/containerd.services.content.v1.Content/Read"
_WRITE = "/containerd.services.content.v1.Content/Write"
_CHUNK_BYTES = 1 << 20


async def read(calls: Calls, store: str, digest: str) -> AsyncIterator[bytes]:
    """Read a blob. It is for the caller to check."""
    call = UnaryStreamMethod(calls, _READ, ReadContentRequest, ReadContentResponse)
    with of_the_client():
        async with call.open(metadata=_chosen(store)) as stream:
            await stream.send_message(ReadContentRequest(digest=digest), end=True)
            async for message in stream:
                yield bytes(message.data)


async def write(calls: Calls, store: str, digest: str, size: int, pieces: AsyncIterator[bytes]) -> None:
    """Write a blob, unless it is there."""
    call = StreamStreamMethod(calls, _WRITE, WriteContentRequest, WriteContentResponse)
    try:
        with of_the_client():
            async with call.open(metadata=_chosen(store)) as stream:
                await _send(stream, WriteContentRequest(action=STAT, ref=digest, total=size, expected=digest))
                offset = 0
                async for piece in pieces:
                    for start in range(0, len(piece), _CHUNK_BYTES):
                        data = piece[start : start + _CHUNK_BYTES]
                        await _send(stream, WriteContentRequest(action=WRITE, offset=offset, data=data))
                        offset += len(data)
                commit = WriteContentRequest(action=COMMIT, offset=offset, total=size, expected=digest)
                await _send(stream, commit, end=True)
                async for _ in stream:
                    pass
    except AlreadyExists:
        pass


async def _send(
    stream: Stream[WriteContentRequest, WriteContentResponse], request: WriteContentRequest, *, end: bool = False
) -> None:
    await stream.send_message(request, end=end)
    if await stream.recv_message() is None:
        await stream.recv_trailing_metadata()
        raise Unavailable("the client's content store has ended a write")


def _chosen(store: str) -> list[tuple[str, str]]:
    return [("buildkit-attachable-store-id", store)]
