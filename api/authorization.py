"""What authorization plugins see of requests and answers, and what becomes of those that they deny.

`app` puts it around an endpoint while there are such plugins. An answer that comes as a whole waits for their verdict;
one that is made while it is sent has begun by then, so that a denial is only its last line, as with dockerd.
"""

from __future__ import annotations

import base64
import logging
import re
import ssl
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from starlette.types import Message, Receive, Scope, Send

from ..engine.errors import Error, Internal
from . import versions
from .errors import error_body, error_response

if TYPE_CHECKING:
    from ..engine.authorization import Authorization

TLS = "lightship.tls"
"""Where the state of a connection has its TLS side, None where there is none."""

_MAX_BODY_BYTES = 4 << 20
_IS_LOGIN = re.compile(r"[^/]*/(v\d[\d.]*/)?auth")
_SECRET = {"authorization", "x-registry-auth", "x-registry-config"}
_NOT_IN_REQUESTS = _SECRET | {"host", "transfer-encoding"}
_NOT_IN_ANSWERS = _SECRET | {"content-length", "date"}  # dockerd adds them later
Headers = Iterable[tuple[bytes, bytes]]
logger = logging.getLogger(__name__)


class Authorized:
    """An endpoint that plugins stand before: an ASGI application."""

    def __init__(self, authorization: Authorization, endpoint: Callable[..., Any]) -> None:
        self._authorization, self._endpoint = authorization, endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        question = _question(scope)
        try:
            if _tells_body(scope["path"], scope["headers"]):
                body = await _read(receive)
                question |= {"RequestBody": _encoded(body)} if body else {}
                receive = _replayed(body, receive)
            await self._authorization.ask("AuthZReq", question)
        except Error as error:
            await _refuse(error, scope, receive, send)
            return
        answer = _Answer(self._authorization, question, scope, receive, send)
        await self._endpoint(scope, receive, answer.send)
        await answer.end()


class _Answer:
    """What an endpoint sends, on its way through the plugins."""

    def __init__(
        self, authorization: Authorization, question: dict[str, Any], scope: Scope, receive: Receive, send: Send
    ) -> None:
        self._authorization, self._question = authorization, question
        self._scope, self._receive, self._send = scope, receive, send
        self._start: Message = {}
        self._has_begun = self._was_asked = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
        elif message["type"] != "http.response.body":
            await self._send(message)  # a websocket's
        elif self._has_begun:
            await self._go_on(message)
        elif message.get("more_body"):
            await self._begin(message)
        else:
            await self._send_whole(message)

    async def end(self) -> None:
        """Ask about a connection that was taken out of HTTP, where a denial comes too late."""
        if not self._was_asked:
            try:
                await self._ask({})
            except Error as error:
                logger.error("%s: %s", self._scope["path"], error)

    async def _begin(self, message: Message) -> None:
        self._has_begun = True
        await self._send(self._start)
        await self._send(message)

    async def _go_on(self, message: Message) -> None:
        if not message.get("more_body"):
            try:
                await self._ask({})
            except Error as error:
                logger.error("%s: %s", self._scope["path"], error)
                message = {**message, "body": message.get("body", b"") + error_body(str(error))}
        await self._send(message)

    async def _send_whole(self, message: Message) -> None:
        status, headers = self._start["status"], self._start["headers"]
        is_error = status >= 400 or status == 304
        without = _NOT_IN_ANSWERS | ({"content-type"} if is_error else set())
        told: dict[str, Any] = {"ResponseHeaders": _shown(headers, without)}
        # Of errors dockerd's plugins hear the headers alone, and cannot change them.
        if not is_error:
            told["ResponseStatusCode"] = status
            if message.get("body") and _tells_body(self._scope["path"], headers):
                told["ResponseBody"] = _encoded(message["body"])
        try:
            await self._ask(told)
        except Error as error:
            if not is_error:
                await _refuse(error, self._scope, self._receive, self._send)
                return
        await self._begin(message)

    async def _ask(self, told: dict[str, Any]) -> None:
        self._was_asked = True
        await self._authorization.ask("AuthZRes", self._question | told)


async def _refuse(error: Error, scope: Scope, receive: Receive, send: Send) -> None:
    response = error_response(error, f"authorization of {scope['path']}")
    response.raw_headers.append(versions.date_header())
    await response(scope, receive, send)


def _question(scope: Scope) -> dict[str, Any]:
    query = scope["query_string"]
    return {
        **_user(scope["state"].get(TLS)),
        "RequestMethod": scope.get("method", "GET"),
        "RequestUri": (scope["raw_path"] + (b"?" + query if query else b"")).decode("latin-1"),
        "RequestHeaders": _shown(scope["headers"], _NOT_IN_REQUESTS),
    }


def _user(tls: ssl.SSLObject | None) -> dict[str, Any]:
    """Tell who a client's certificate says that it is."""
    certificate = tls.getpeercert(binary_form=True) if tls is not None else None
    if tls is None or certificate is None:
        return {}
    subject: Any = (tls.getpeercert() or {}).get("subject", ())
    names = [value for part in subject for key, value in part if key == "commonName"]
    told = {"User": names[-1]} if names else {}
    pem = ssl.DER_cert_to_PEM_cert(certificate)
    return {**told, "UserAuthNMethod": "TLS", "RequestPeerCertificates": [_encoded(pem.encode())]}


def _tells_body(path: str, headers: Headers) -> bool:
    """Tell whether plugins see this body: JSON, but no passwords."""
    kinds = [value for name, value in headers if name.lower() == b"content-type"]
    is_json = bool(kinds) and kinds[0].partition(b";")[0].strip().lower() == b"application/json"
    return is_json and not _IS_LOGIN.match(path)


def _shown(headers: Headers, without: set[str]) -> dict[str, str]:
    texts = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers]
    return {name.title(): value for name, value in texts if name not in without}


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


async def _read(receive: Receive) -> bytes:
    body, has_more = bytearray(), True
    while has_more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionResetError("the client went away before the end of its request")
        body += message["body"]
        has_more = message.get("more_body", False)
        if len(body) > _MAX_BODY_BYTES:
            raise Internal(f"request body too large for authorization plugin: size exceeds {_MAX_BODY_BYTES} bytes")
    return bytes(body)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Give a body that was read to whom it is for."""
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return first.pop() if first else await receive()

    return replay
