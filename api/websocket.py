"""Attach over a websocket: the daemon pumps between its frames and a socket pair whose other end the shim has."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from starlette.websockets import WebSocket, WebSocketDisconnect

if TYPE_CHECKING:
    from ..engine.containers.attach import Attachment

_CHUNK_BYTES = 65536


async def serve(websocket: WebSocket, attachment: Attachment, *, binary: bool) -> None:
    """Carry bytes both ways until the container or the client ends."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=ours)
    try:
        # What goes wrong until here is still answered as HTTP.
        await attachment.hand_over(theirs, b"")
        await websocket.accept()
        await _pump(websocket, reader, writer, binary=binary)
    finally:
        writer.close()


async def _pump(
    websocket: WebSocket, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, binary: bool
) -> None:
    output = asyncio.create_task(_output(reader, websocket, binary))
    stdin = asyncio.create_task(_stdin(websocket, writer))
    try:
        await asyncio.wait((output, stdin), return_when=asyncio.FIRST_COMPLETED)
    finally:
        output.cancel()
        stdin.cancel()
        await asyncio.wait((output, stdin))


async def _output(reader: asyncio.StreamReader, websocket: WebSocket, binary: bool) -> None:
    while data := await reader.read(_CHUNK_BYTES):
        if binary:
            await websocket.send_bytes(data)
        else:
            await websocket.send_text(data.decode("utf-8", "replace"))
    await websocket.close()


async def _stdin(websocket: WebSocket, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            writer.write(text.encode() if text is not None else message["bytes"])
            await writer.drain()
    except (WebSocketDisconnect, OSError):
        return
