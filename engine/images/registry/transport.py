"""HTTP to one endpoint: its TLS, proxies, time limits, and errors in words.

httpx is imported with the first request (11 MiB that an idle engine does not need). Its own logs would show headers, so
they are switched off. Redirects are followed; credentials do not follow to another host.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit
from urllib.request import getproxies, proxy_bypass

from ...config import RegistryConfig
from ...version import SERVER_VERSION, VERSION
from . import tls
from .failures import Unreachable, of_transport
from .hosts import Endpoint

if TYPE_CHECKING:
    import httpx

USER_AGENT = f"docker/{SERVER_VERSION} lightship/{VERSION}"
_CONNECT_S, _STALLED_S = 30.0, 60.0
ANSWER_S = 15.0
"""How long a small answer may take to begin."""


class Transport:
    """A pool of connections to an endpoint and to where it sends its clients."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def close(self) -> None:
        await self._client.aclose()

    @asynccontextmanager
    async def stream(
        self, method: str, url: str, *, wait_s: float = _STALLED_S, **given: Any
    ) -> AsyncIterator[httpx.Response]:
        """Send a request and give its answer, whose body is not read yet. Raises Unreachable."""
        import httpx

        timeout = httpx.Timeout(wait_s, connect=_CONNECT_S)
        try:
            request = self._client.build_request(method, url, timeout=timeout, **given)
        except httpx.InvalidURL as error:  # a host that no name server could know
            shown, host = quote(url, safe=":/?&=[]%"), urlsplit(url).hostname
            raise Unreachable(f'{method.capitalize()} "{shown}": dial tcp: lookup {host}: no such host') from error
        try:
            response = await self._client.send(request, stream=True)
        except (httpx.HTTPError, ssl.SSLError) as error:
            # A server that refuses a client's certificate says so after the handshake, which httpx does not expect.
            raise of_transport(error, request) from error
        try:
            yield response
        except (httpx.HTTPError, ssl.SSLError) as error:
            raise of_transport(error, request) from error
        finally:
            await response.aclose()


async def open_transport(config: RegistryConfig, endpoint: Endpoint) -> Transport:
    """Make the transport to an endpoint."""
    # It takes a tenth of a second the first time, which other requests are not to wait for.
    await asyncio.to_thread(importlib.import_module, "httpx")
    import httpx

    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    host, is_insecure = endpoint.host, endpoint.is_insecure
    if endpoint.is_tls and not is_insecure:
        verify = await asyncio.to_thread(tls.context, host, is_insecure=False, certs_dir=config.certs_dir)
    else:
        verify = tls.context(host, is_insecure=is_insecure, certs_dir=config.certs_dir)
    client = httpx.AsyncClient(
        transport=_router(config, verify),
        headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
        follow_redirects=True,
        max_redirects=10,
        trust_env=False,
    )
    return Transport(client)


def _router(config: RegistryConfig, verify: ssl.SSLContext) -> httpx.AsyncBaseTransport:
    """Return a transport that takes each request through the proxy for its URL, or straight."""
    import httpx

    proxies = {**getproxies(), **config.proxies}
    straight = httpx.AsyncHTTPTransport(verify=verify)
    through = {
        scheme: httpx.AsyncHTTPTransport(verify=verify, proxy=httpx.Proxy(proxies[scheme]))
        for scheme in ("http", "https")
        if proxies.get(scheme)
    }

    class Router(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            chosen = through.get(request.url.scheme)
            if chosen is None or _bypasses(proxies, request.url.host):
                chosen = straight
            return await chosen.handle_async_request(request)

        async def aclose(self) -> None:
            for transport in (straight, *through.values()):
                await transport.aclose()

    return Router()


def _bypasses(proxies: dict[str, str], host: str) -> bool:
    """Tell whether a host is reached without a proxy; as in Go, this host always is."""
    if host == "localhost" or host.startswith("127.") or host == "::1":
        return True
    return bool(proxy_bypass(host, proxies))
