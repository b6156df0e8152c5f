"""The Starlette application: each operation of the table on its path, with and without a version before it.

`main` builds it with the engine and hands it to `listen`. The endpoints here do what all operations share (version,
errors, headers); what an operation does is in `routes`.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, compile_path
from starlette.types import Receive, Scope, Send

from ..compat.gaps import GAPS, Gap
from ..engine.errors import InvalidArgument
from ..openapi.operations.operation import Operation, Version
from ..openapi.operations.table import OPERATIONS
from . import versions
from .authorization import Authorized
from .call import Call
from .errors import error_body, error_response, page_not_found
from .routes.buildkit import Http2
from .routes.table import HANDLERS, WEBSOCKETS

if TYPE_CHECKING:
    from ..engine.engine import Engine

_UNCLEAN = re.compile(r"/(/|\.\.?(/|$))")
Handler = Callable[[Call], Awaitable[Response | None]]


class Endpoint:
    """Serves one operation: an ASGI application."""

    def __init__(self, engine: Engine, operation: Operation, handler: Handler) -> None:
        self._engine, self._operation, self._handler = engine, operation, handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            version = versions.negotiate(scope["api_version"])
            self._check(version)
            call = Call(self._engine, self._operation, version, (scope, receive, send))
            response = await self._handler(call)
        except versions.Unsupported as error:
            response = _unsupported(scope["api_version"], error)
        except ConnectionError:
            raise
        except Exception as error:
            response = error_response(error, self._operation.id)
        if response is not None:
            response.raw_headers += versions.headers(experimental=self._engine.config.experimental)
            await response(scope, receive, send)

    def _check(self, version: Version) -> None:
        operation = self._operation
        if version < operation.since:
            since = ".".join(map(str, operation.since))
            raise InvalidArgument(f"{operation.method} {operation.path} requires minimum API version {since}")


class GapEndpoint:
    """Says that an operation is not there: an ASGI application."""

    def __init__(self, engine: Engine, gap: Gap) -> None:
        self._engine, self._gap = engine, gap

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            versions.negotiate(scope["api_version"])
            response = Response(error_body(self._gap.message), self._gap.status, media_type="application/json")
        except versions.Unsupported as error:
            response = _unsupported(scope["api_version"], error)
        response.raw_headers += versions.headers(experimental=self._engine.config.experimental)
        await response(scope, receive, send)


def _unsupported(text: str, error: versions.Unsupported) -> Response:
    """Clients before 1.24 did not know errors in JSON."""
    if versions.parse(text) < (1, 24):
        return Response(f"{error}\n", 400, media_type="text/plain")
    return error_response(error, "version")


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    response = page_not_found()
    response.raw_headers.append(versions.date_header())
    await response(scope, receive, send)


async def _redirect(scope: Scope, receive: Receive, send: Send) -> None:
    """Send clients whose base address ends in a slash to the right path, as Go's mux does."""
    query = scope["query_string"].decode("latin-1")
    location = quote(_clean(scope["path"])) + (f"?{query}" if query else "")
    await Response(status_code=301, headers={"location": location})(scope, receive, send)


def _clean(path: str) -> str:
    return "/" + posixpath.normpath(path).lstrip("/") + ("/" if path.endswith("/") and path.strip("/") else "")


class Resources(BaseRoute):
    """All routes, found by method and first path segment; names in a path may contain slashes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._http2 = Http2(engine)
        self._routes: dict[tuple[str, str], list[tuple[Any, Callable[..., Any]]]] = {}

    def add(self, method: str, path: str, endpoint: Callable[..., Any]) -> None:
        pattern, _, _ = compile_path(path.replace("}", ":path}"))
        self._routes.setdefault((method, path.split("/")[1]), []).append((pattern, endpoint))

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if _UNCLEAN.search(scope["path"]):
            return Match.FULL, {"endpoint": _redirect}
        if scope.get("method") == "PRI":
            return Match.FULL, {"endpoint": self._http2}
        version, path = versions.split(scope["path"])
        method = "WEBSOCKET" if scope["type"] == "websocket" else scope["method"]
        found: dict[str, Any] = {"endpoint": self._options if method == "OPTIONS" else _not_found}
        first = path[1:].partition("/")[0]
        for pattern, endpoint in self._routes.get((method, first), ()):
            if match := pattern.match(path):
                found = {"endpoint": endpoint, "path_params": match.groupdict()}
                break
        return Match.FULL, found | {"api_version": version}

    async def _options(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Every path has options, as in dockerd."""
        response = Response()
        response.raw_headers += versions.headers(experimental=self._engine.config.experimental)
        await response(scope, receive, send)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = scope["endpoint"]
        # What is nowhere is nobody's secret: dockerd's plugins are not asked of it either.
        if self._engine.authorization.names and endpoint not in (_not_found, _redirect):
            endpoint = Authorized(self._engine.authorization, endpoint)
        await endpoint(scope, receive, send)


def build(engine: Engine, handlers: Mapping[str, Handler] = HANDLERS) -> Starlette:
    """Make the application that serves `engine`."""
    resources = Resources(engine)
    for operation in OPERATIONS:
        resources.add(operation.method, operation.path, Endpoint(engine, operation, handlers[operation.id]))
        if operation.id in WEBSOCKETS:
            resources.add("WEBSOCKET", operation.path, Endpoint(engine, operation, WEBSOCKETS[operation.id]))
    for gap in GAPS:
        resources.add(gap.method, gap.path, GapEndpoint(engine, gap))
    return Starlette(routes=[resources])
