"""Builds on behalf of clients: `Control.Solve` from the session to the exporters' answer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence

from ...errors import InvalidArgument, NotImplemented
from ..builder import Build, Builder
from ..frontend import Request, Result
from ..request import BuildRequest, CacheLocation, Exporter, Outcome
from . import definitions, frontends
from .client import EXPORTER_ID, SessionClient
from .errors import placed, to_grpc
from .history import History
from .journal import Journal, stamp
from .protocol import control_pb2 as pb
from .protocol.status_pb2 import Status
from .running import Driven, Named
from .sessions import Sessions

logger = logging.getLogger(__name__)


class Solves:
    """The builds that run."""

    def __init__(
        self,
        builder: Builder,
        sessions: Sessions,
        driven: Named[Driven],
        journals: Named[Journal],
        history: History,
    ) -> None:
        self._builder, self._sessions = builder, sessions
        self._driven, self._journals, self._history = driven, journals, history

    async def solve(self, request: pb.SolveRequest) -> Mapping[str, str]:
        """Do a build, or have its client drive it; return the exporters' answer. Cancelled, it leaves nothing."""
        _check(request)
        journal = Journal()
        with self._journals.having(request.ref, journal):
            record = _record(request)
            if not request.is_internal:
                self._history.begin(record)
            provenance: dict[str, bytes] = {}
            try:
                outcome = await self._run(request, journal, provenance)
                record.exporter_response.update(outcome.response)
                return outcome.response
            except (Exception, asyncio.CancelledError) as error:
                record.error.CopyFrom(_failure(error))
                raise
            finally:
                journal.end()
                if not request.is_internal:
                    self._history.end(_ended(record, journal), journal.everything(), provenance)

    async def _run(self, request: pb.SolveRequest, journal: Journal, provenance: dict[str, bytes]) -> Outcome:
        """Build; fill in how each platform's image was made."""
        client = SessionClient(await self._sessions.get(request.session), self._sessions)
        options = dict(request.frontend_options)
        asked = BuildRequest(
            frontends.frontend,
            Request(options, request.session),
            _exporters(request, options),
            _caches(request.cache.imports),
            _caches(request.cache.exports),
            frozenset(request.entitlements),
        )
        async with self._builder.open(asked, client, journal.tell) as build:
            if request.frontend or request.definition.operations:
                return await _export(build, await self._made(request, build), provenance)
            return await self._drive(request, build, provenance)

    async def _made(self, request: pb.SolveRequest, build: Build) -> Result:
        options = dict(request.frontend_options)
        inputs = await definitions.to_steps(request.frontend_inputs, build, request.session)
        if request.frontend:
            asked = Request(options, request.session, inputs)
        else:
            step = await definitions.to_step(request.definition, build, request.session)
            asked = frontends.Given(options, request.session, step=step)
        return (await build.solve(asked)).result

    async def _drive(self, request: pb.SolveRequest, build: Build, provenance: dict[str, bytes]) -> Outcome:
        """Have the client make the result."""
        driven = Driven(request.session, build, dict(request.frontend_inputs))
        try:
            with self._driven.having(request.ref, driven):
                outcome = await _export(build, await driven.returned, provenance)
                await driven.unused()
                return outcome
        finally:
            driven.has_ended.set()


async def _export(build: Build, result: Result, provenance: dict[str, bytes]) -> Outcome:
    if not result.images:
        return Outcome(metadata=result.metadata)
    with placed(result):
        outcome = await build.export(result)
    provenance.update(build.provenance(result))
    return outcome


def _check(request: pb.SolveRequest) -> None:
    frontends.check(request.frontend, request.frontend_options)
    if request.has_session_exporter:
        raise NotImplemented("exporters that the session names are not supported")
    if request.source_policy_session or request.HasField("source_policy"):
        raise NotImplemented("source policies are not supported")
    if not request.session:
        raise InvalidArgument("a build needs a session")


def _exporters(request: pb.SolveRequest, options: Mapping[str, str]) -> tuple[Exporter, ...]:
    asked = [(exporter.type, exporter.attributes) for exporter in request.exporters]
    if not asked and request.old_exporter:
        asked = [(request.old_exporter, request.old_exporter_attributes)]
    shared = {name: value for name, value in options.items() if name.startswith("attest:")}
    if epoch := options.get("build-arg:SOURCE_DATE_EPOCH"):
        shared["source-date-epoch"] = epoch
    return tuple(
        Exporter(type, {**shared, **attributes, EXPORTER_ID: str(position)})
        for position, (type, attributes) in enumerate(asked)
    )


def _caches(entries: Sequence[pb.CacheEntry]) -> tuple[CacheLocation, ...]:
    return tuple(CacheLocation(entry.type, dict(entry.attributes)) for entry in entries)


def _record(request: pb.SolveRequest) -> pb.BuildHistoryRecord:
    return pb.BuildHistoryRecord(
        ref=request.ref,
        frontend=request.frontend or "dockerfile.v0",
        frontend_options=request.frontend_options,
        exporters=request.exporters,
        created_at=stamp(time.time_ns()),
    )


def _ended(record: pb.BuildHistoryRecord, journal: Journal) -> pb.BuildHistoryRecord:
    record.completed_at.FromNanoseconds(time.time_ns())
    vertexes = journal.vertexes.values()
    record.total_steps = len(vertexes)
    record.completed_steps = sum(vertex.completed_ns is not None for vertex in vertexes)
    record.cached_steps = sum(vertex.is_cached for vertex in vertexes)
    record.warnings = journal.warnings
    return record


def _failure(error: BaseException) -> Status:
    if isinstance(error, asyncio.CancelledError):
        return Status(code=1, message="context canceled")
    told = to_grpc(error)
    status = Status(code=told.status.value, message=told.message or "")
    for type_url, value in told.details or ():
        status.details.add(type_url=type_url, value=value)
    return status
