"""From the engine's errors to HTTP: one status for each class, looked up along its bases, and Docker's error body."""

from __future__ import annotations

import logging

from starlette.responses import Response

from ..engine import errors
from ..openapi import codec
from ..openapi.types.answers import ErrorResponse

logger = logging.getLogger(__name__)

STATUS: dict[type[Exception], int] = {
    errors.InvalidArgument: 400,
    codec.DecodeError: 400,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.NotModified: 304,
    errors.Conflict: 409,
    errors.Unavailable: 503,
    errors.NotImplemented: 501,
    errors.Internal: 500,
}
NOT_FOUND = "page not found"


def status_of(error: BaseException) -> int:
    """Return the status for an error, 500 where its class says nothing."""
    return next((STATUS[base] for base in type(error).__mro__ if base in STATUS), 500)


def message_of(error: BaseException) -> str:
    """Return what the client may read of an error."""
    if isinstance(error, (errors.Error, codec.DecodeError)):
        return str(error)
    return f"internal error: {type(error).__name__}: {error}"


def error_body(message: str) -> bytes:
    return codec.encode(ErrorResponse(message=message))


def error_response(error: BaseException, operation: str) -> Response:
    """Answer an error; what the engine did not foresee is logged with its traceback."""
    status = status_of(error)
    if status == 500:
        logger.error("%s failed", operation, exc_info=error)
    else:
        logger.debug("%s: %d %s", operation, status, error)
    if status == 304:
        return Response(status_code=status)
    return Response(error_body(message_of(error)), status, media_type="application/json")


def page_not_found() -> Response:
    return Response(error_body(NOT_FOUND), 404, media_type="application/json")
