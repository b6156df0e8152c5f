"""How a client proves itself to a registry: what the challenge asks for, basic credentials or a token for a scope.

Tokens come from the server that the challenge names, by name and password, by an identity token, or for anybody. They
are kept until shortly before they end.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec

from ...errors import Internal
from .credentials import Credentials
from .failures import NoCredentials, Refused, Unexpected, of_response
from .transport import ANSWER_S, Transport

Challenge = tuple[str, dict[str, str]]

_CLIENT_ID = "docker"
_MIN_LIFE_S = 60.0
_PARAMETER = re.compile(r'([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))\s*,?\s*')
_SCHEME = re.compile(r"\s*,?\s*([A-Za-z][A-Za-z0-9_-]*)(?:\s+|$)(?![=,])")
_MAX_ANSWER = 1 << 20


class _Token(msgspec.Struct):
    token: str = ""
    access_token: str = ""
    refresh_token: str = ""
    expires_in: float = 0


def parse_challenges(values: list[str]) -> list[Challenge]:
    """Read WWW-Authenticate headers."""
    found: list[Challenge] = []
    for value in values:
        position = 0
        while match := _SCHEME.match(value, position):
            position = match.end()
            parameters: dict[str, str] = {}
            while pair := _PARAMETER.match(value, position):
                quoted = pair[2]
                parameters[pair[1].lower()] = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else pair[3]
                position = pair.end()
            found.append((match[1].lower(), parameters))
    return found


class Authorizer:
    """Gives the Authorization header for requests within some scopes; `login` asks for a lasting token, too."""

    def __init__(self, transport: Transport, credentials: Credentials, scopes: tuple[str, ...], *, login: bool = False):
        self._transport, self._credentials, self._scopes, self._login = transport, credentials, scopes, login
        self._challenges: list[Challenge] = []
        self._tokens: dict[tuple[str, ...], tuple[str, float]] = {}
        self._asking = asyncio.Lock()
        self.identity_token = ""
        """What a token server gave to be known by from now on."""

    def challenge(self, challenges: list[Challenge]) -> None:
        self._challenges = challenges

    def forget(self) -> None:
        """Drop the tokens: one was refused."""
        self._tokens.clear()

    async def header(self, extra_scope: str = "") -> dict[str, str]:
        """Return what to send; raises NoCredentials or the token server's refusal."""
        if self._credentials.registry_token:
            return {"Authorization": f"Bearer {self._credentials.registry_token}"}
        for scheme, parameters in self._challenges:
            if scheme == "bearer":
                scopes = (*self._scopes, extra_scope) if extra_scope else self._scopes
                return {"Authorization": f"Bearer {await self._token(parameters, scopes)}"}
        if any(scheme == "basic" for scheme, _ in self._challenges):
            return {"Authorization": self._basic()}
        return {}

    def _basic(self) -> str:
        if not self._credentials.username or not self._credentials.password:
            raise NoCredentials("no basic auth credentials")
        return self._credentials.basic()

    async def _token(self, parameters: dict[str, str], scopes: tuple[str, ...]) -> str:
        async with self._asking:
            return await self._known_token(parameters, scopes)

    async def _known_token(self, parameters: dict[str, str], scopes: tuple[str, ...]) -> str:
        token, ends_at = self._tokens.get(scopes, ("", 0.0))
        if time.monotonic() < ends_at:
            return token
        asked_at = time.monotonic()
        answer = await self._ask(parameters, scopes)
        token = answer.token or answer.access_token
        if not token:
            raise Internal("authorization server did not include a token in the response")
        if answer.refresh_token:
            self.identity_token = answer.refresh_token
        # A tenth is kept for the way there.
        self._tokens[scopes] = token, asked_at + max(answer.expires_in, _MIN_LIFE_S) * 0.9
        return token

    async def _ask(self, parameters: dict[str, str], scopes: tuple[str, ...]) -> _Token:
        realm = parameters.get("realm", "")
        if urlsplit(realm).scheme not in ("http", "https"):
            raise Internal("no token auth challenge: the realm is no URL")
        service = parameters.get("service", "")
        if self._credentials.identity_token:
            form = {
                "grant_type": "refresh_token",
                "service": service,
                "client_id": _CLIENT_ID,
                "scope": " ".join(scopes),
                "refresh_token": self._credentials.identity_token,
            }
            return await self._answer("POST", realm, data={name: value for name, value in form.items() if value})
        query = [("service", service)] if service else []
        query += [("scope", scope) for scope in scopes]
        headers = {}
        if self._credentials.username:
            query.append(("account", self._credentials.username))
            headers["Authorization"] = self._basic()
        if self._login:
            query += [("client_id", _CLIENT_ID), ("offline_token", "true")]
        separator = "&" if "?" in realm else "?"
        return await self._answer("GET", f"{realm}{separator}{urlencode(query)}" if query else realm, headers=headers)

    async def _answer(self, method: str, url: str, **given: Any) -> _Token:
        async with self._transport.stream(method, url, wait_s=ANSWER_S, **given) as response:
            body = await read_limited(response, _MAX_ANSWER)
            if not response.is_success:
                challenges = parse_challenges(response.headers.get_list("www-authenticate"))
                error = of_response(response.status_code, response.reason_phrase, body, challenges)
                raise error if isinstance(error, Refused) else Unexpected(str(error), response.status_code)
        try:
            return msgspec.json.decode(body, type=_Token)
        except msgspec.DecodeError as error:
            raise Internal(f"unable to decode token response: {error}") from error


async def read_limited(response: Any, limit: int) -> bytes:
    """Read a body of at most `limit` bytes."""
    parts = []
    size = 0
    async for chunk in response.aiter_raw():
        parts.append(chunk)
        size += len(chunk)
        if size > limit:
            raise Internal(f"the answer of {response.url.host} is larger than {limit} bytes")
    return b"".join(parts)
