"""What is told of one build, kept so that any number of clients can read it from its beginning, while it grows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence

from google.protobuf.timestamp_pb2 import Timestamp

from ..graph import Location
from ..progress import Log, Status, Told, Vertex, Warning
from .protocol import control_pb2
from .protocol.control_pb2 import StatusResponse
from .protocol.llb_pb2 import Position, Range, SourceInfo

_LOG_LIMIT_BYTES = 2 * 1024 * 1024
"""How much of one step's output is kept (BuildKit's limit)."""


class Journal:
    """The story of a build."""

    def __init__(self) -> None:
        self._told: list[Told] = []
        self._log_bytes: dict[str, int] = {}
        self._is_over = False
        self._changed = asyncio.Event()
        self.vertexes: dict[str, Vertex] = {}
        self.warnings = 0

    def tell(self, told: Told) -> None:
        """Write something down (a `Progress`)."""
        if isinstance(told, Log):
            clipped = self._clipped(told)
            if clipped is None:
                return
            told = clipped
        elif isinstance(told, Vertex):
            self.vertexes[told.digest] = told
        elif isinstance(told, Warning):
            self.warnings += 1
        self._told.append(told)
        self._wake()

    def _clipped(self, log: Log) -> Log | None:
        written = self._log_bytes.get(log.vertex, 0)
        self._log_bytes[log.vertex] = written + len(log.data)
        if written > _LOG_LIMIT_BYTES:
            return None
        if written + len(log.data) <= _LOG_LIMIT_BYTES:
            return log
        notice = b"\n[output clipped, log limit 2MiB reached]\n"
        return Log(log.vertex, log.stream, log.data[: _LOG_LIMIT_BYTES - written] + notice, log.time_ns)

    def end(self) -> None:
        self._is_over = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def everything(self) -> StatusResponse:
        return response(self._told)

    async def follow(self) -> AsyncIterator[StatusResponse]:
        """Yield all that was told and is told, until the end."""
        position = 0
        while True:
            changed, news = self._changed, self._told[position:]
            if news:
                position += len(news)
                yield response(news)
            elif self._is_over:
                return
            else:
                await changed.wait()


def response(news: Sequence[Told]) -> StatusResponse:
    """Put what was told into BuildKit's words."""
    answer = StatusResponse()
    for told in news:
        if isinstance(told, Vertex):
            answer.vertexes.append(_vertex(told))
        elif isinstance(told, Log):
            answer.logs.add(vertex=told.vertex, stream=told.stream, message=told.data, time=stamp(told.time_ns))
        elif isinstance(told, Status):
            answer.statuses.append(_status(told))
        else:
            answer.warnings.append(_warning(told))
    return answer


def stamp(time_ns: int | None) -> Timestamp | None:
    return None if time_ns is None else Timestamp(seconds=time_ns // 10**9, nanos=time_ns % 10**9)


def ranges(locations: Iterable[Location]) -> list[Range]:
    return [Range(start=Position(line=place.first), end=Position(line=place.last)) for place in locations]


def _vertex(told: Vertex) -> control_pb2.Vertex:
    return control_pb2.Vertex(
        digest=told.digest,
        inputs=told.inputs,
        name=told.name,
        is_cached=told.is_cached,
        started=stamp(told.started_ns),
        completed=stamp(told.completed_ns),
        error=told.error,
    )


def _status(told: Status) -> control_pb2.VertexStatus:
    return control_pb2.VertexStatus(
        id=told.id,
        vertex=told.vertex,
        name=told.id,
        current=told.current,
        total=told.total,
        time=stamp(told.time_ns),
        started=stamp(told.started_ns),
        completed=stamp(told.completed_ns),
    )


def _warning(told: Warning) -> control_pb2.VertexWarning:
    return control_pb2.VertexWarning(
        vertex=told.vertex,
        level=told.level,
        short=told.message.encode(),
        detail=[line.encode() for line in told.detail],
        url=told.url,
        info=SourceInfo(filename=told.filename, data=told.source, language="Dockerfile"),
        ranges=ranges(told.locations),
    )
