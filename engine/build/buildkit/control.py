"""BuildKit's Control service: what buildx and compose call first, to build, to follow a build, to look at the cache."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from grpclib.const import Cardinality, Handler
from grpclib.server import Stream

from ...errors import NotImplemented
from . import usage
from .contents import Contents
from .errors import to_grpc
from .gateway import Gateway
from .history import History
from .journal import Journal
from .protocol import control_pb2 as pb
from .running import Driven, Named
from .sessions import Sessions
from .solves import Solves
from .transport import streaming, unary
from .tunnel import tunnel
from .workers import Workers

if TYPE_CHECKING:
    from ...engine import Engine

logger = logging.getLogger(__name__)
_SERVICE = "/moby.buildkit.v1.Control"
_SERVING = 1
Metadata = Mapping[str, Any]
Send = Callable[[Any], Awaitable[None]]


class Control:
    """The service, and the gateway beside it."""

    def __init__(self, engine: Engine, sessions: Sessions) -> None:
        self._engine, self._sessions = engine, sessions
        self._workers = Workers(engine)
        self._history = History(engine.config.data_root / "build" / "history")
        self._journals = Named[Journal]()
        driven = Named[Driven]()
        self._solves = Solves(engine.builds, sessions, driven, self._journals, self._history)
        self._gateway = Gateway(driven, self._workers)

    def handlers(self) -> dict[str, Handler]:
        return {
            f"{_SERVICE}/Solve": unary(self._solve, pb.SolveRequest, pb.SolveResponse),
            f"{_SERVICE}/Status": streaming(self._status, pb.StatusRequest, pb.StatusResponse),
            f"{_SERVICE}/ListWorkers": unary(self._list_workers, pb.ListWorkersRequest, pb.ListWorkersResponse),
            f"{_SERVICE}/Info": unary(self._info, pb.InfoRequest, pb.InfoResponse),
            f"{_SERVICE}/DiskUsage": unary(self._disk_usage, pb.DiskUsageRequest, pb.DiskUsageResponse),
            f"{_SERVICE}/Prune": streaming(self._prune, pb.PruneRequest, pb.UsageRecord),
            f"{_SERVICE}/ListenBuildHistory": streaming(
                self._listen_history, pb.BuildHistoryRequest, pb.BuildHistoryEvent
            ),
            f"{_SERVICE}/UpdateBuildHistory": unary(
                self._update_history, pb.UpdateBuildHistoryRequest, pb.UpdateBuildHistoryResponse
            ),
            f"{_SERVICE}/Session": Handler(self._session, Cardinality.STREAM_STREAM, pb.BytesMessage, pb.BytesMessage),
            "/grpc.health.v1.Health/Check": unary(self._check, pb.HealthCheckRequest, pb.HealthCheckResponse),
            **self._gateway.handlers(),
            **Contents(self._history).handlers(),
        }

    async def _solve(self, request: pb.SolveRequest, metadata: Metadata) -> pb.SolveResponse:
        return pb.SolveResponse(exporter_response=await self._solves.solve(request))

    async def _status(self, request: pb.StatusRequest, send: Send) -> None:
        if (logs := self._history.logs(request.ref)) is not None:
            await send(logs)
            return
        journal = await self._journals.get(request.ref)
        async for news in journal.follow():
            await send(news)

    async def _list_workers(self, request: pb.ListWorkersRequest, metadata: Metadata) -> pb.ListWorkersResponse:
        if request.filters:
            raise NotImplemented("filters of workers are not supported")
        return pb.ListWorkersResponse(records=[self._workers.record()])

    async def _info(self, request: pb.InfoRequest, metadata: Metadata) -> pb.InfoResponse:
        return pb.InfoResponse(buildkit_version=self._workers.version())

    async def _disk_usage(self, request: pb.DiskUsageRequest, metadata: Metadata) -> pb.DiskUsageResponse:
        found = await self._engine.builds.disk_usage(usage.filters(request.filters))
        oldest_ns = time.time_ns() - request.age_limit_ns if request.age_limit_ns else None
        records = [usage.record(one) for one in found if oldest_ns is None or (one.last_used_ns or 0) <= oldest_ns]
        return pb.DiskUsageResponse(records=records)

    async def _prune(self, request: pb.PruneRequest, send: Send) -> None:
        removed = await self._engine.builds.prune(
            usage.filters(request.filters), all=request.all, keep=usage.keep(request)
        )
        for one in removed:
            await send(usage.record(one))

    async def _listen_history(self, request: pb.BuildHistoryRequest, send: Send) -> None:
        if request.filters:
            raise NotImplemented("filters of build records are not supported")
        events = self._history.listen(ref=request.ref, active_only=request.active_only, early_exit=request.early_exit)
        async for event in events:
            await send(event)

    async def _update_history(
        self, request: pb.UpdateBuildHistoryRequest, metadata: Metadata
    ) -> pb.UpdateBuildHistoryResponse:
        if request.delete:
            self._history.remove(request.ref)
        elif not request.finalize:
            self._history.pin(request.ref, is_pinned=request.pinned)
        return pb.UpdateBuildHistoryResponse()

    async def _session(self, stream: Stream[pb.BytesMessage, pb.BytesMessage]) -> None:
        try:
            await tunnel(stream, self._sessions)
        except Exception as error:
            raise to_grpc(error) from error

    async def _check(self, request: pb.HealthCheckRequest, metadata: Metadata) -> pb.HealthCheckResponse:
        return pb.HealthCheckResponse(status=_SERVING)
