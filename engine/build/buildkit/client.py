"""What a build asks of a client of BuildKit's protocol: calls on its session (a `Client` of `engine.build.client`)."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote, urlsplit

from google.protobuf.message import Message
from grpclib.client import StreamStreamMethod, UnaryUnaryMethod

from ...errors import NotFound, NotImplemented
from ...images.references import DEFAULT_DOMAIN
from ...images.registry.credentials import ANONYMOUS, Credentials
from ..graph import LocalSource
from ..progress import Progress, Status
from . import agent, content
from .errors import of_the_client
from .filesend import send
from .filesync import receive
from .protocol import session_pb2
from .protocol.session_pb2 import BytesMessage, Packet
from .sessions import Session, Sessions

EXPORTER_ID = "lightship.exporter-id"
"""The attribute of an exporter that says which of a request's it is, counted from 0."""

_FILE_SYNC = "/moby.filesync.v1.FileSync/DiffCopy"
_FILE_SEND = "/moby.filesync.v1.FileSend/DiffCopy"
_CREDENTIALS = "/moby.filesync.v1.Auth/Credentials"
_GET_SECRET = "/moby.buildkit.secrets.v1.Secrets/GetSecret"
_PULL = "/moby.upload.v1.Upload/Pull"
_CHUNK_BYTES = 1 << 20
_TELL_EVERY_NS = 100_000_000


class _Transfer:
    """How far the files of a source have come, told now and then."""

    def __init__(self, source: LocalSource, progress: Progress) -> None:
        self._source, self._progress = source, progress
        self._started_ns = self._told_ns = time.time_ns()
        self._received = 0

    def tell(self, received: int) -> None:
        self._received, now_ns = received, time.time_ns()
        if now_ns - self._told_ns > _TELL_EVERY_NS:
            self._told_ns = now_ns
            self._progress(self._status(completed_ns=None))

    def end(self) -> None:
        self._progress(self._status(completed_ns=time.time_ns()))

    def _status(self, *, completed_ns: int | None) -> Status:
        return Status(
            self._source.digest,
            f"transferring {self._source.local}:",
            self._received,
            started_ns=self._started_ns,
            completed_ns=completed_ns,
        )


class SessionClient:
    """The client of one session."""

    def __init__(self, session: Session, sessions: Sessions) -> None:
        self._session, self._sessions = session, sessions
        # buildx has none: its directories of one name share theirs, as in BuildKit.
        self.shared_key = session.shared_key or "any"

    async def sync(self, source: LocalSource, directory: Path, progress: Progress) -> None:
        # The targets of one bake share a session for their files, beside their own.
        session = await self._sessions.get(source.unique) if source.unique else self._session
        if _FILE_SYNC.lower() not in session.methods:
            raise NotFound("no local sources enabled")
        metadata = [
            *_several("include-patterns", source.include),
            *_several("exclude-patterns", source.exclude),
            *_several("followpaths", source.follow),
            *_several("dir-name", [source.local]),
        ]

        transfer = _Transfer(source, progress)
        call = StreamStreamMethod(session.calls, _FILE_SYNC, Packet, Packet)
        with of_the_client():
            async with call.open(metadata=metadata) as stream:
                await stream.send_request()
                await receive(stream, directory, transfer.tell)
        transfer.end()

    async def credentials(self, domain: str) -> Credentials:
        if _CREDENTIALS.lower() not in self._session.methods:
            return ANONYMOUS
        host = "registry-1.docker.io" if domain == DEFAULT_DOMAIN else domain
        call = UnaryUnaryMethod(
            self._session.calls, _CREDENTIALS, session_pb2.CredentialsRequest, session_pb2.CredentialsResponse
        )
        with of_the_client():
            answer = await call(session_pb2.CredentialsRequest(host=host))
        if answer.secret and not answer.username:
            return Credentials(identity_token=answer.secret, server_address=domain)
        return Credentials(username=answer.username, password=answer.secret, server_address=domain)

    async def secret(self, id: str) -> bytes:
        call = UnaryUnaryMethod(
            self._session.calls, _GET_SECRET, session_pb2.GetSecretRequest, session_pb2.GetSecretResponse
        )
        try:
            with of_the_client():
                answer = await call(session_pb2.GetSecretRequest(id=id))
        except (NotFound, NotImplemented) as error:
            raise NotFound(f"secret {id}: not found") from error
        return bytes(answer.data)

    async def ssh_agent(self, id: str, socket_path: Path) -> None:
        await agent.check(self._session.calls, id)
        await agent.serve(self._session.calls, id, socket_path)

    async def upload(self, url: str) -> AsyncIterator[bytes]:
        """Read what the client has under a URL of `http://buildkit-session/`: a context from its standard input."""
        parts = urlsplit(url)
        call = StreamStreamMethod(self._session.calls, _PULL, BytesMessage, BytesMessage)
        with of_the_client():
            async with call.open(metadata=[("urlpath", parts.path), ("urlhost", parts.netloc)]) as stream:
                await stream.send_request(end=True)
                async for message in stream:
                    yield bytes(message.data)

    async def send_directory(self, directory: Path, attributes: Mapping[str, str]) -> None:
        call = StreamStreamMethod(self._session.calls, self._sending(), Packet, Packet)
        with of_the_client():
            async with call.open(metadata=_exporter(attributes)) as stream:
                await stream.send_request()
                await send(stream, directory)

    async def send_stream(self, stream: AsyncIterator[bytes], attributes: Mapping[str, str]) -> None:
        call = StreamStreamMethod(self._session.calls, self._sending(), BytesMessage, BytesMessage)
        with of_the_client():
            async with call.open(metadata=_exporter(attributes)) as sending:
                await sending.send_request()
                async for data in stream:
                    for start in range(0, len(data), _CHUNK_BYTES):
                        await sending.send_message(BytesMessage(data=data[start : start + _CHUNK_BYTES]))
                await sending.end()
                await _drain(sending)

    async def read_blob(self, store: str, digest: str, *, session: str = "") -> AsyncIterator[bytes]:
        asked = await self._sessions.get(session) if session else self._session
        async for piece in content.read(asked.calls, store, digest):
            yield piece

    async def write_blob(self, store: str, digest: str, size: int, pieces: AsyncIterator[bytes]) -> None:
        await content.write(self._session.calls, store, digest, size, pieces)

    def _sending(self) -> str:
        if _FILE_SEND.lower() not in self._session.methods:
            raise NotFound(f"method {_FILE_SEND} not supported by the client")
        return _FILE_SEND


async def _drain(stream: AsyncIterator[Message]) -> None:
    async for _ in stream:
        pass


def _exporter(attributes: Mapping[str, str]) -> list[tuple[str, str]]:
    return [("buildkit-attachable-exporter-id", attributes.get(EXPORTER_ID, "0"))]


def _several(name: str, values: Sequence[str]) -> list[tuple[str, str]]:
    """Write values as headers, which hold ASCII alone: quoted where need be, and then so marked."""
    if all(value.isascii() and value.isprintable() and value and "%" not in value for value in values):
        return [(name, value) for value in values]
    return [(f"{name}-encoded", "1"), *((name, quote(value, safe="/") or "") for value in values)]
