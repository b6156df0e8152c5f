"""Content stores in directories of clients, over a real socket: what is read, and what is written in which steps."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError
from grpclib.server import Stream
from harness.sessions import in_session
from lightship.engine.build.buildkit.client import SessionClient
from lightship.engine.build.buildkit.protocol.content_pb2 import (
    COMMIT,
    STAT,
    WRITE,
    ReadContentRequest,
    ReadContentResponse,
    WriteContentRequest,
    WriteContentResponse,
)
from lightship.engine.build.caching.directory import Directory
from lightship.engine.errors import Error, InvalidArgument, NotFound, Unavailable
from lightship.engine.images.content import digest_of

READ = "/containerd.services.content.v1.Content/Read"
WRITE_CALL = "/containerd.services.content.v1.Content/Write"
STORE = "local:/cache"


class Store:
    """The client's side. As containerd's it ends a write itself, before its caller does."""

    def __init__(self, blobs: dict[str, bytes] | None = None, *, piece: int = 32 * 1024) -> None:
        self.blobs = blobs or {}
        self.piece = piece
        self.partial = b""
        self.actions: list[int] = []
        self.ids: set[object] = set()

    async def read(self, stream: Stream[ReadContentRequest, ReadContentResponse]) -> None:
        self._note(stream)
        request = await stream.recv_message()
        assert request is not None
        if request.digest not in self.blobs:
            raise GRPCError(Status.NOT_FOUND, f"content {request.digest}: not found")
        data = self.blobs[request.digest]
        for start in range(0, len(data), self.piece):
            await stream.send_message(ReadContentResponse(data=data[start : start + self.piece]))

    async def write(self, stream: Stream[WriteContentRequest, WriteContentResponse]) -> None:
        self._note(stream)
        first = await stream.recv_message()
        assert first is not None and first.ref and first.action == STAT
        if first.expected in self.blobs:
            raise GRPCError(Status.ALREADY_EXISTS, f"blob with expected digest {first.expected} exists")
        await stream.send_message(WriteContentResponse(offset=len(self.partial)))
        while (request := await stream.recv_message()) is not None:
            self.actions.append(request.action)
            if request.offset == 0:
                self.partial = b""
            if request.offset != len(self.partial):
                raise GRPCError(Status.OUT_OF_RANGE, "write must occur at current offset")
            self.partial += request.data
            if request.action == COMMIT:
                if digest_of(self.partial) != request.expected or len(self.partial) != request.total:
                    raise GRPCError(Status.FAILED_PRECONDITION, "unexpected commit digest")
                self.blobs[request.expected] = self.partial
                # Twice, as containerd's does.
                await stream.send_message(WriteContentResponse(offset=len(self.partial)))
                await stream.send_message(WriteContentResponse(offset=len(self.partial)))
                return
            await stream.send_message(WriteContentResponse(offset=len(self.partial)))

    def _note(self, stream: Stream[ReadContentRequest, ReadContentResponse]) -> None:
        assert stream.metadata is not None
        self.ids.add(stream.metadata["buildkit-attachable-store-id"])


def with_client(store: Store, scenario: Callable[[SessionClient], Awaitable[object]]) -> object:
    """Run a scenario against a client that has a store."""
    handlers = {
        READ: Handler(store.read, Cardinality.UNARY_STREAM, ReadContentRequest, ReadContentResponse),
        WRITE_CALL: Handler(store.write, Cardinality.STREAM_STREAM, WriteContentRequest, WriteContentResponse),
    }
    return in_session(handlers, scenario)


async def pieces(*data: bytes) -> AsyncIterator[bytes]:
    for each in data:
        yield each


def write(store: Store, *data: bytes, digest: str | None = None) -> None:
    whole = b"".join(data)
    with_client(store, lambda client: client.write_blob(STORE, digest or digest_of(whole), len(whole), pieces(*data)))


def read(store: Store, digest: str, *, limit: int = 1 << 30) -> object:
    return with_client(store, lambda client: Directory(client, STORE).read(digest, limit))


@pytest.mark.parametrize("data", [b"", b"a", bytes(3 << 20)], ids=["empty", "small", "large"])
def test_a_blob_is_written_and_read(data: bytes) -> None:
    store = Store()
    write(store, data)
    assert store.blobs == {digest_of(data): data}
    assert store.actions[-1] == COMMIT and set(store.actions[:-1]) <= {WRITE}
    assert read(store, digest_of(data)) == data
    assert store.ids == {STORE}


def test_what_is_there_is_not_written_again() -> None:
    store = Store({digest_of(b"there"): b"there"})
    write(store, b"there")
    assert store.actions == []


def test_what_an_earlier_write_left_is_replaced() -> None:
    store = Store()
    store.partial = b"half of"
    write(store, b"one", b"two")
    assert list(store.blobs.values()) == [b"onetwo"]


def test_a_write_that_is_refused() -> None:
    with pytest.raises(Error, match="unexpected commit digest"):
        write(Store(), b"one", digest=digest_of(b"two"))


def test_what_is_read_is_verified() -> None:
    digest = digest_of(b"content")
    with pytest.raises(NotFound, match=f"content {digest}: not found"):
        read(Store(), digest)
    with pytest.raises(InvalidArgument, match="unexpected digest"):
        read(Store({digest: b"another"}), digest)
    with pytest.raises(InvalidArgument, match="too large"):
        read(Store({digest: b"content"}, piece=3), digest, limit=6)
    with pytest.raises(InvalidArgument):
        read(Store(), "sha256:../../etc/passwd")


def test_a_store_that_fails() -> None:
    class Gone(Store):
        async def write(self, stream: Stream[WriteContentRequest, WriteContentResponse]) -> None:
            await stream.recv_message()
            raise GRPCError(Status.UNAVAILABLE, "the store has gone")

    with pytest.raises(Unavailable, match="the store has gone"):
        write(Gone(), b"data")
