"""A session inside a stream of messages of another connection (`Control.Session`), for clients that dial gRPC alone."""

from __future__ import annotations

import asyncio
import socket

from grpclib.server import Stream

from .protocol.control_pb2 import BytesMessage
from .sessions import Sessions

_READ_BYTES = 256 * 1024


async def tunnel(stream: Stream[BytesMessage, BytesMessage], sessions: Sessions) -> None:
    """Carry bytes between the stream and the session, until one of them ends."""
    headers: dict[str, list[str]] = {}
    for name, value in (stream.metadata or {}).items():
        headers.setdefault(name.lower(), []).append(str(value))
    sessions.check(headers.get("x-docker-expose-session-uuid", [""])[0])
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=ours)
    await stream.send_initial_metadata()

    async def receive() -> None:
        async for message in stream:
            writer.write(message.data)
            await writer.drain()

    async def send() -> None:
        while data := await reader.read(_READ_BYTES):
            await stream.send_message(BytesMessage(data=data))

    tasks = [asyncio.create_task(work) for work in (receive(), send(), sessions.keep(theirs, b"", headers))]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        writer.close()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
