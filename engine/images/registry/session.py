"""A client of one repository at one endpoint: asks what authentication it wants, and sends requests that have it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from ...config import RegistryConfig
from ...errors import Error
from .auth import Authorizer, parse_challenges, read_limited
from .credentials import Credentials
from .failures import NoCredentials, Refused, of_response
from .hosts import Endpoint
from .transport import ANSWER_S, Transport, open_transport

if TYPE_CHECKING:
    import httpx

_MAX_ERROR = 64 << 10


class Session:
    """Made by `open_session`. Paths are below the repository."""

    def __init__(self, endpoint: Endpoint, repository: str, transport: Transport, authorizer: Authorizer) -> None:
        self.endpoint, self.repository = endpoint, repository
        self._transport, self.authorizer = transport, authorizer

    def url(self, path: str) -> str:
        return f"{self.endpoint.url}/v2/{self.repository}/{path}"

    @asynccontextmanager
    async def request(
        self, method: str, url: str, *, extra_scope: str = "", headers: dict[str, str] | None = None, **given: Any
    ) -> AsyncIterator[httpx.Response]:
        """Send a request with authorization; give the answer, of whatever status, before its body."""
        for attempt in (1, 2):
            sent = dict(headers or {})
            # A registry may have uploads go to another host, which is not to be told who the client is.
            if url.startswith(f"{self.endpoint.url}/"):
                sent |= await self._authorization(method, url, extra_scope)
            async with self._transport.stream(method, url, headers=sent, **given) as response:
                # A token may have been withdrawn; what was streamed to the server cannot be sent again.
                if response.status_code == 401 and attempt == 1 and "Authorization" in sent and "content" not in given:
                    self.authorizer.forget()
                    continue
                yield response
                return

    async def _authorization(self, method: str, url: str, extra_scope: str) -> dict[str, str]:
        try:
            return await self.authorizer.header(extra_scope)
        except NoCredentials as error:
            raise NoCredentials(f'{method.capitalize()} "{url}": {error}') from error
        except Refused as error:
            raise Refused(error.code, "", others=f'{method.capitalize()} "{url}": {error}') from error

    async def ping(self) -> None:
        """Ask for the challenge. Raises what keeps the endpoint from being one."""
        async with self._transport.stream("GET", f"{self.endpoint.url}/v2/", wait_s=ANSWER_S) as response:
            if response.status_code == 401:
                self.authorizer.challenge(parse_challenges(response.headers.get_list("www-authenticate")))

    async def close(self) -> None:
        await self._transport.close()


async def failure(response: httpx.Response) -> Error:
    """Return the error that an answer is."""
    challenges = parse_challenges(response.headers.get_list("www-authenticate"))
    body = await read_limited(response, _MAX_ERROR)
    return of_response(response.status_code, response.reason_phrase, body, challenges)


@asynccontextmanager
async def open_session(
    config: RegistryConfig, endpoint: Endpoint, repository: str, credentials: Credentials, *, actions: str
) -> AsyncIterator[Session]:
    """Open a repository at an endpoint; `actions` are what a token is to allow."""
    transport = await open_transport(config, endpoint)
    try:
        scopes = (f"repository:{repository}:{actions}",) if repository else ()
        known = credentials if endpoint.credentials is None else endpoint.credentials
        session = Session(endpoint, repository, transport, Authorizer(transport, known, scopes))
        await session.ping()
        yield session
    finally:
        await transport.close()


def is_fallback(error: Error, endpoint: Endpoint) -> bool:
    """Tell whether the next endpoint may do better."""
    return endpoint.is_mirror or not isinstance(error, Refused | NoCredentials)
