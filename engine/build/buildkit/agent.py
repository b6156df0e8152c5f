"""The client's ssh agent, as a socket for commands of a build: each connection to it is a call on the session."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from grpclib.client import Channel, Stream, StreamStreamMethod, UnaryUnaryMethod
from grpclib.exceptions import GRPCError, StreamTerminatedError

from ...errors import Error, NotFound, NotImplemented
from .errors import of_the_client
from .protocol.session_pb2 import BytesMessage, CheckAgentRequest, CheckAgentResponse

logger = logging.getLogger(__name__)

_CHECK = "/moby.sshforward.v1.SSH/CheckAgent"
_FORWARD = "/moby.sshforward.v1.SSH/ForwardAgent"
_READ_BYTES = 32 * 1024


async def check(calls: Channel, id: str) -> None:
    """Raise NotFound where the client has no such agent."""
    try:
        with of_the_client():
            await UnaryUnaryMethod(calls, _CHECK, CheckAgentRequest, CheckAgentResponse)(CheckAgentRequest(id=id))
    except NotImplemented as error:
        raise NotFound(f'no SSH key "{id}" forwarded from the client') from error
    except Error as error:
        raise NotFound(str(error)) from error


async def serve(calls: Channel, id: str, socket_path: Path) -> None:
    """Listen on a socket made at the path, until cancelled."""

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        call = StreamStreamMethod(calls, _FORWARD, BytesMessage, BytesMessage)
        try:
            async with call.open(metadata=[("buildkit.ssh.id", id)]) as stream:
                await stream.send_request()
                await _pump(stream, reader, writer)
        except (GRPCError, StreamTerminatedError, OSError) as error:
            logger.debug("ssh agent %s: connection broken off: %s", id, error)
        finally:
            writer.close()

    server = await asyncio.start_unix_server(forward, socket_path)
    async with server:
        await server.serve_forever()


async def _pump(
    stream: Stream[BytesMessage, BytesMessage], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    async def ask() -> None:
        while data := await reader.read(_READ_BYTES):
            await stream.send_message(BytesMessage(data=data))
        await stream.end()

    asking = asyncio.create_task(ask())
    try:
        async for message in stream:
            writer.write(message.data)
            await writer.drain()
    finally:
        asking.cancel()
