"""Errors across gRPC: the engine's as statuses with the details that buildx prints, a client's as the engine's."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from grpclib.const import Status
from grpclib.encoding.base import StatusDetailsCodecBase
from grpclib.exceptions import GRPCError, StreamTerminatedError
from h2.exceptions import H2Error

from ... import errors
from ..dockerfile.errors import DockerfileError
from ..frontend import Result
from ..graph import Location
from ..vertices import StepError
from .protocol import status_pb2

logger = logging.getLogger(__name__)
Detail = tuple[str, bytes]

_TYPES = "github.com/moby/buildkit/"
_KINDS: dict[Status, type[errors.Error]] = {
    Status.INVALID_ARGUMENT: errors.InvalidArgument,
    Status.UNAUTHENTICATED: errors.Unauthorized,
    Status.PERMISSION_DENIED: errors.Forbidden,
    Status.NOT_FOUND: errors.NotFound,
    Status.ALREADY_EXISTS: errors.AlreadyExists,
    Status.UNAVAILABLE: errors.Unavailable,
    Status.UNIMPLEMENTED: errors.NotImplemented,
}


class StatusCodec(StatusDetailsCodecBase):
    """Writes the details of a failed call, as type and value; those of a client's are not looked at."""

    def encode(self, status: Status, message: str | None, details: Sequence[Detail]) -> bytes:
        encoded = status_pb2.Status(code=status.value, message=message or "")
        for type_url, value in details:
            encoded.details.add(type_url=type_url, value=value)
        return encoded.SerializeToString()

    def decode(self, status: Status, message: str | None, data: bytes) -> None:
        return None


def to_grpc(error: BaseException) -> GRPCError:
    """Word an error for buildx. It prints the code of those that have one, so hardly any has, as in BuildKit."""
    if isinstance(error, GRPCError):
        return error
    if not isinstance(error, errors.Error | OSError):
        logger.error("a call of a build client failed", exc_info=error)
        return GRPCError(Status.INTERNAL, "internal error, see the daemon's log")
    status = Status.UNIMPLEMENTED if isinstance(error, errors.NotImplemented) else Status.UNKNOWN
    details = []
    if isinstance(error, DockerfileError) and error.locations:
        details.append(_source(error.locations, error.filename, error.source))
    return GRPCError(status, str(error), details)


@contextmanager
def placed(result: Result | None) -> Iterator[None]:
    """Have the failure of a step point to its lines in the Dockerfile that the result was made of."""
    try:
        yield
    except StepError as error:
        vertex = json.dumps({"digest": error.step.digest}).encode()
        details = [(f"{_TYPES}errdefs.Vertex+json", vertex)]
        if error.step.locations and result is not None:
            details.append(_source(error.step.locations, result.filename, result.source))
        raise GRPCError(Status.UNKNOWN, str(error), details) from error


def _source(locations: Sequence[Location], filename: str, source: bytes) -> Detail:
    """Lines of a Dockerfile, which buildx then shows."""
    info = {"filename": filename, "data": base64.b64encode(source).decode(), "language": "Dockerfile"}
    ranges = [{"start": {"line": place.first}, "end": {"line": place.last}} for place in locations]
    return f"{_TYPES}errdefs.Source+json", json.dumps({"info": info, "ranges": ranges}).encode()


@contextmanager
def of_the_client() -> Iterator[None]:
    """Raise what a call on a client's session ends with as the engine's errors."""
    try:
        yield
    except GRPCError as error:
        kind = _KINDS.get(error.status, errors.Internal)
        raise kind(error.message or error.status.name.lower()) from error
    except (StreamTerminatedError, H2Error, ConnectionError) as error:
        raise errors.Unavailable("the client's session has ended") from error
