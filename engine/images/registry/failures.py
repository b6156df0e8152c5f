"""What a registry, or the way to it, can answer instead of content, in the words that dockerd has for it."""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import ssl
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ...errors import Error, Internal, NotFound, Unauthorized

if TYPE_CHECKING:
    import httpx

_VERIFICATION = {
    10: "certificate has expired or is not yet valid",
    18: "certificate signed by unknown authority",
    19: "certificate signed by unknown authority",
    20: "certificate signed by unknown authority",
    21: "certificate signed by unknown authority",
}
_BEARER_CODES = {"invalid_token": "UNAUTHORIZED", "insufficient_scope": "DENIED"}
_MESSAGES = {
    "UNAUTHORIZED": "authentication required",
    "DENIED": "requested access to the resource is denied",
    "TOOMANYREQUESTS": "too many requests",
}


class Unreachable(Internal):
    """No answer of HTTP came: another endpoint may do better, and so may another attempt."""


class Unexpected(Internal):
    """An answer that is no registry's, or a server's failure."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Refused(Error):
    """An error as registries tell them: a code and a message."""

    def __init__(self, code: str, message: str, *, others: str = "") -> None:
        self.code = code
        super().__init__(others or f"{code.lower().replace('_', ' ')}: {message or _MESSAGES.get(code, 'unknown')}")


class NoCredentials(Internal):
    """The registry wants a name and a password, and there are none."""


def as_engine_error(error: Error) -> Error:
    """Return what an API request fails with."""
    if isinstance(error, Refused):
        if error.code in ("DENIED", "MANIFEST_UNKNOWN", "NAME_UNKNOWN", "BLOB_UNKNOWN"):
            return NotFound(str(error))
        return Unauthorized(str(error)) if error.code == "UNAUTHORIZED" else Internal(str(error))
    return error


def of_response(status: int, reason: str, body: bytes, challenges: list[tuple[str, dict[str, str]]]) -> Error:
    """Read an answer that is no success."""
    if not 400 <= status < 500:
        return Unexpected(f"received unexpected HTTP status: {status} {reason}".rstrip(), status)
    for scheme, parameters in challenges:
        code = _BEARER_CODES.get(parameters.get("error", "")) if scheme == "bearer" else None
        if code is not None:
            return Refused(code, parameters.get("error_description", ""))
    return _of_body(status, body)


def _of_body(status: int, body: bytes) -> Error:
    try:
        document: Any = json.loads(body)
    except ValueError:
        return _unreadable(status, body, "it is not JSON")
    if isinstance(document, dict) and isinstance(document.get("details"), str) and document["details"]:
        code = {401: "UNAUTHORIZED", 429: "TOOMANYREQUESTS"}.get(status, "UNKNOWN")
        return Refused(code, document["details"])
    listed = document.get("errors") if isinstance(document, dict) else None
    found = [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []
    if not found:
        return _unreadable(status, body, "no error details found in HTTP response body")
    refusals = [Refused(str(item.get("code", "UNKNOWN")), str(item.get("message", ""))) for item in found]
    if len(refusals) > 1:
        lines = "".join(f"{refusal}\n" for refusal in refusals)
        return Refused(refusals[0].code, "", others=f"errors:\n{lines}")
    return refusals[0]


def _unreadable(status: int, body: bytes, why: str) -> Error:
    if status == 401:
        return Refused("UNAUTHORIZED", "")
    if status == 429:
        return Refused("TOOMANYREQUESTS", "")
    shown = json.dumps(body.decode(errors="replace"))
    return Unexpected(f"error parsing HTTP {status} response body: {why}: {shown}", status)


def of_transport(error: Exception, request: httpx.Request) -> Unreachable:
    """Say what kept a request from being answered, as Go's HTTP client does."""
    method = request.method.capitalize()
    return Unreachable(f'{method} "{request.url}": {described(error, request)}')


def described(error: BaseException, request: httpx.Request) -> str:
    import httpx

    port = request.url.port or (443 if request.url.scheme == "https" else 80)
    host = request.url.host
    causes = list(_chain(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            why = _VERIFICATION.get(cause.verify_code, cause.verify_message)
            return f"tls: failed to verify certificate: x509: {why}"
        if isinstance(cause, ssl.SSLError):
            return _tls_failure(cause)
        if isinstance(cause, socket.gaierror):
            return f"dial tcp: lookup {host}: no such host"
    if isinstance(error, httpx.ConnectTimeout):
        return f"dial tcp {host}:{port}: i/o timeout"
    if isinstance(error, httpx.TimeoutException):
        return "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
    number = next((cause.errno for cause in causes if isinstance(cause, OSError) and cause.errno), None)
    if isinstance(error, httpx.ConnectError) and number is not None:
        return f"dial tcp {_address(host, port)}: connect: {os.strerror(number).lower()}"
    if number == errno.ECONNRESET or isinstance(error, httpx.ReadError):
        return "read: connection reset by peer"
    if isinstance(error, httpx.RemoteProtocolError):
        return "EOF" if "without sending" in str(error) else "unexpected EOF"
    return str(error) or type(error).__name__


def _tls_failure(error: ssl.SSLError) -> str:
    # What OpenSSL says, by version, of a server that answers in plain HTTP.
    if error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"):
        return "http: server gave HTTP response to HTTPS client"
    reason = re.sub(r"^(sslv3|tlsv1|tlsv13)_alert_", "", (error.reason or str(error)).lower())
    return f"remote error: tls: {reason.replace('_', ' ')}"


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            yield from _chain(error.exceptions[0])
        error = error.__cause__ or error.__context__
