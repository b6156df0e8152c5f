"""BuildKit's LLBBridge: how a client (buildx) drives a build that it has asked for, step by step.

Every call names its build in the metadata. What a solve results in goes out as references, which the client reads,
passes on to other builds, and in the end returns as the build's result.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
from grpclib.const import Handler, Status
from grpclib.exceptions import GRPCError

from ...errors import InvalidArgument, NotFound
from ...images.config import Platform
from ..frontend import Request, Result
from ..graph import Location, ResultSource, Step
from ..progress import Warning
from ..request import FileStat, Solved
from . import capabilities, definitions, frontends
from .errors import placed
from .protocol import gateway_pb2 as pb
from .protocol import session_pb2
from .protocol.llb_pb2 import SourceOperation
from .running import Driven, Named
from .transport import unary
from .workers import Workers

_SERVICE = "/moby.buildkit.v1.frontend.LLBBridge"
_BUILD = "buildkit-controlapi-buildid"
_CONFIG = "containerimage.config"
Metadata = Mapping[str, Any]


class Gateway:
    """The service."""

    def __init__(self, driven: Named[Driven], workers: Workers) -> None:
        self._driven, self._workers = driven, workers

    def handlers(self) -> dict[str, Handler]:
        return {
            f"{_SERVICE}/Ping": unary(self._ping, pb.PingRequest, pb.PongResponse),
            f"{_SERVICE}/Solve": unary(self._solve, pb.SolveRequest, pb.SolveResponse),
            f"{_SERVICE}/Return": unary(self._return, pb.ReturnRequest, pb.ReturnResponse),
            f"{_SERVICE}/Inputs": unary(self._inputs, pb.InputsRequest, pb.InputsResponse),
            f"{_SERVICE}/ResolveImageConfig": unary(
                self._resolve_image, pb.ResolveImageRequest, pb.ResolveImageResponse
            ),
            f"{_SERVICE}/ResolveSourceMeta": unary(
                self._resolve_source, pb.ResolveSourceRequest, pb.ResolveSourceResponse
            ),
            f"{_SERVICE}/ReadFile": unary(self._read_file, pb.ReadFileRequest, pb.ReadFileResponse),
            f"{_SERVICE}/ReadDir": unary(self._read_dir, pb.ReadDirRequest, pb.ReadDirResponse),
            f"{_SERVICE}/StatFile": unary(self._stat_file, pb.StatFileRequest, pb.StatFileResponse),
            f"{_SERVICE}/Evaluate": unary(self._evaluate, pb.EvaluateRequest, pb.EvaluateResponse),
            f"{_SERVICE}/Warn": unary(self._warn, pb.WarnRequest, pb.WarnResponse),
        }

    async def _find(self, metadata: Metadata) -> Driven:
        name = metadata.get(_BUILD)
        if not name:
            raise InvalidArgument("no buildid found in context")
        return await self._driven.get(str(name))

    async def _ping(self, request: pb.PingRequest, metadata: Metadata) -> pb.PongResponse:
        await self._find(metadata)
        return pb.PongResponse(
            frontend_capabilities=capabilities.frontend(),
            llb_capabilities=capabilities.llb(),
            workers=[self._workers.record()],
        )

    async def _solve(self, request: pb.SolveRequest, metadata: Metadata) -> pb.SolveResponse:
        driven = await self._find(metadata)
        inputs = await definitions.to_steps(request.frontend_inputs, driven.build, driven.session)
        self._borrow(driven, inputs.values())
        options = dict(request.frontend_options)
        frontends.check(request.frontend, options)
        asked = Request(options, driven.session, inputs)
        if not request.frontend:
            step = await definitions.to_step(request.definition, driven.build, driven.session)
            asked = frontends.Given(options, driven.session, step=step)
        solved = await driven.build.solve(asked)
        driven.solved.append(solved)
        if request.evaluate:
            with placed(solved.result):
                for reference in filter(None, solved.references):
                    await driven.build.evaluate(reference)
        return pb.SolveResponse(result=_answer(solved))

    def _borrow(self, borrower: Driven, steps: Iterable[Step]) -> None:
        """Have the builds whose results a build uses outlast it."""
        results = {step.result for step in steps if isinstance(step, ResultSource)}
        for driven in self._driven.values():
            given = {reference for solved in driven.solved for reference in solved.references}
            if driven is not borrower and results & given:
                driven.users.add(borrower)

    async def _return(self, request: pb.ReturnRequest, metadata: Metadata) -> pb.ReturnResponse:
        driven = await self._find(metadata)
        if driven.returned.done():
            raise InvalidArgument("the build has returned already")
        if request.HasField("error"):
            error = request.error
            details = [(detail.type_url, detail.value) for detail in error.details]
            driven.returned.set_exception(GRPCError(Status(error.code or 2), error.message, details))
        else:
            driven.returned.set_result(_result(request.result, driven.solved))
        return pb.ReturnResponse()

    async def _inputs(self, request: pb.InputsRequest, metadata: Metadata) -> pb.InputsResponse:
        return pb.InputsResponse(definitions=(await self._find(metadata)).inputs)

    async def _resolve_image(self, request: pb.ResolveImageRequest, metadata: Metadata) -> pb.ResolveImageResponse:
        driven = await self._find(metadata)
        found = await driven.build.resolve_image(request.ref, definitions.platform(request.platform))
        digest = found.digest_ref.partition("@")[2]
        return pb.ResolveImageResponse(digest=digest, config=found.config_bytes, ref=request.ref)

    async def _resolve_source(self, request: pb.ResolveSourceRequest, metadata: Metadata) -> pb.ResolveSourceResponse:
        driven = await self._find(metadata)
        identifier = request.source.identifier
        if not identifier.startswith("docker-image://"):
            return pb.ResolveSourceResponse(source=request.source)
        reference = identifier.removeprefix("docker-image://")
        found = await driven.build.resolve_image(reference, definitions.platform(request.platform))
        digest = found.digest_ref.partition("@")[2]
        return pb.ResolveSourceResponse(
            source=SourceOperation(identifier=identifier, attributes=request.source.attributes),
            image=pb.ResolvedImage(digest=digest, config=found.config_bytes),
        )

    async def _read_file(self, request: pb.ReadFileRequest, metadata: Metadata) -> pb.ReadFileResponse:
        driven = await self._find(metadata)
        part = request.range if request.HasField("range") else None
        data = await driven.build.read(
            request.ref,
            request.path,
            offset=part.offset if part else 0,
            length=(part.length or None) if part else None,
        )
        return pb.ReadFileResponse(data=data)

    async def _read_dir(self, request: pb.ReadDirRequest, metadata: Metadata) -> pb.ReadDirResponse:
        driven = await self._find(metadata)
        found = await driven.build.list(request.ref, request.path, pattern=request.include)
        return pb.ReadDirResponse(entries=[_stat(entry) for entry in found])

    async def _stat_file(self, request: pb.StatFileRequest, metadata: Metadata) -> pb.StatFileResponse:
        driven = await self._find(metadata)
        return pb.StatFileResponse(stat=_stat(await driven.build.stat(request.ref, request.path)))

    async def _evaluate(self, request: pb.EvaluateRequest, metadata: Metadata) -> pb.EvaluateResponse:
        driven = await self._find(metadata)
        with placed(_of_reference(driven.solved, request.ref)):
            await driven.build.evaluate(request.ref)
        return pb.EvaluateResponse()

    async def _warn(self, request: pb.WarnRequest, metadata: Metadata) -> pb.WarnResponse:
        driven = await self._find(metadata)
        driven.build.warn(
            Warning(
                "",
                request.short.decode(errors="replace"),
                request.url,
                tuple(line.decode(errors="replace") for line in request.detail),
                tuple(Location(place.start.line, place.end.line) for place in request.ranges),
                request.info.data,
                request.info.filename,
                request.digest,
                request.level,
            )
        )
        return pb.WarnResponse()


def _answer(solved: Solved) -> pb.Result:
    """Give references out for what was solved: one, or for several platforms one each."""
    metadata = dict(solved.result.metadata)
    images = list(zip(solved.result.images, solved.references, strict=True))
    if not images:
        return pb.Result(ref=pb.Ref(), metadata=metadata)
    platforms = [{"ID": str(image.platform), "Platform": _document(image.platform)} for image, _ in images]
    metadata["refs.platforms"] = json.dumps({"Platforms": platforms}).encode()
    if len(images) == 1:
        image, reference = images[0]
        metadata[_CONFIG] = msgspec.json.encode(image.config)
        return pb.Result(ref=_ref(reference), metadata=metadata)
    for image, _ in images:
        metadata[f"{_CONFIG}/{image.platform}"] = msgspec.json.encode(image.config)
    refs = {str(image.platform): _ref(reference) for image, reference in images}
    return pb.Result(refs=pb.Refs(refs=refs), metadata=metadata)


def _of_reference(solved: Sequence[Solved], reference: str) -> Result | None:
    return next((answer.result for answer in solved if reference in answer.references), None)


def _document(platform: Platform) -> dict[str, str]:
    named = {"architecture": platform.architecture, "os": platform.os, "variant": platform.variant}
    return {name: value for name, value in named.items() if value}


def _ref(reference: str) -> pb.Ref:
    return pb.Ref(id=reference, definition=definitions.of_result(reference)) if reference else pb.Ref()


def _result(returned: pb.Result, solved: Sequence[Solved]) -> Result:
    """Find the images that a client returns among those that it was given. An image without files has no reference."""
    if not solved:
        return Result((), dict(returned.metadata))
    kind = returned.WhichOneof("kind")
    references = [ref.id for ref in returned.refs.refs.values()] if kind == "refs" else [returned.ref.id]
    known = {
        reference: image
        for answer in solved
        for image, reference in zip(answer.result.images, answer.references, strict=True)
        if reference
    }
    if all(references):
        try:
            images = tuple(known[reference] for reference in references)
        except KeyError as error:
            raise NotFound(f"return reference {error} not found") from None
        made = _of_reference(solved, references[0])
    else:
        made = solved[-1].result
        images = made.images
    assert made is not None  # the reference is of one of them
    return replace(made, images=images, metadata=dict(returned.metadata))


def _stat(entry: FileStat) -> session_pb2.Stat:
    return session_pb2.Stat(
        path=entry.path,
        mode=entry.mode,
        uid=entry.uid,
        gid=entry.gid,
        size=entry.size,
        modified_ns=entry.mtime_ns,
        linkname=entry.link,
        device_major=entry.device_major,
        device_minor=entry.device_minor,
        xattrs=entry.xattrs,
    )
