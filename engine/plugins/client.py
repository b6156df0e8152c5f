"""A plugin at an address: JSON over HTTP on its socket, in the words that all of Docker's plugins share.

Made by `discovery.py` for plugins that are found, by `plugins.py` for those that the engine runs. Where one cannot be
reached a call is tried again for a quarter of a minute, as dockerd does: a plugin may be starting. The HTTP client is
imported when there is a plugin to talk to.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..errors import Internal

if TYPE_CHECKING:
    import ssl

    import httpx

RETRY_DELAYS_S = (1, 2, 4, 8)
_ACTIVATE_S = 30.0
_MEDIA_TYPE = "application/vnd.docker.plugins.v1.1+json"
# Where no host is needed one is named all the same; plugins' logs show it.
_NO_HOST = "plugin.moby.localhost"

logger = logging.getLogger(__name__)
logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells of every call


class Unreachable(Internal):
    """The plugin did not answer."""


class Refused(Internal):
    """The plugin answered with an HTTP status of its own."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Client:
    """A plugin at an address (`unix:///…`, `tcp://…`, `https://…`). A call takes `limit_s` at most, 0 sets none."""

    def __init__(self, name: str, address: str, tls: ssl.SSLContext | None = None, *, limit_s: int = 0) -> None:
        self.name = name
        self._limit_s = limit_s
        self._address = urlsplit(address)
        self._tls = tls

    async def activate(self, *, retry: bool) -> Sequence[str]:
        """Ask the plugin what it is; return what it implements."""
        answer = await self.call("Plugin.Activate", None, timeout_s=_ACTIVATE_S, retry=retry)
        return answer.get("Implements") or []

    async def call(
        self, method: str, request: Any, *, timeout_s: float, retry: bool = True, retries: int = len(RETRY_DELAYS_S)
    ) -> dict[str, Any]:
        """Call one of its methods. Raises Internal, which is Unreachable where there was no answer."""
        import httpx

        is_local = self._address.scheme == "unix"
        scheme = "https" if self._address.scheme == "https" else "http"
        url = f"{scheme}://{_NO_HOST if is_local else self._address.netloc}/{method}"
        transport = httpx.AsyncHTTPTransport(
            uds=self._address.path if is_local else None, verify=self._tls if self._tls is not None else False
        )
        content = b"" if request is None else json.dumps(request).encode()
        delays = list(RETRY_DELAYS_S[:retries]) if retry else []
        timeout_s = min(timeout_s, self._limit_s or timeout_s)
        async with httpx.AsyncClient(transport=transport, timeout=timeout_s) as client:
            while True:
                try:
                    response = await client.post(url, content=content, headers={"Accept": _MEDIA_TYPE})
                    return _decode(method, response)
                except httpx.TimeoutException as error:
                    # That took longer than trying again may.
                    raise Unreachable(f'Post "{url}": context deadline exceeded') from error
                except httpx.TransportError as error:
                    failure = f'Post "{url}": {self._reason(error)}'
                    if not delays:
                        raise Unreachable(failure) from error
                    logger.warning("plugin %s: %s, trying again", self.name, failure)
                    await asyncio.sleep(delays.pop(0))

    def _reason(self, error: BaseException) -> str:
        """Word a failed connection as Go does."""
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, OSError) and cause.errno:
                where = self._address.path or self._address.netloc
                network = "unix" if self._address.scheme == "unix" else "tcp"
                reason = os.strerror(cause.errno).lower()
                return f"dial {network} {where}: connect: {reason}" if cause.errno != errno.EPIPE else reason
            cause = cause.__cause__ or cause.__context__
        return str(error) or "EOF"


def _decode(method: str, response: httpx.Response) -> dict[str, Any]:
    try:
        answer = response.json()
    except ValueError as error:
        if response.status_code == 200:
            raise Internal(_unreadable(response.text)) from error
        answer = None
    if response.status_code != 200:
        told = answer.get("Err") if isinstance(answer, dict) else ""
        raise Refused(f"{method}: {told or response.text}", response.status_code)
    if answer is None:
        return {}
    if not isinstance(answer, dict):
        raise Internal("json: cannot unmarshal an answer that is no object")
    return answer


def _unreadable(text: str) -> str:
    """Word what is wrong with an answer as Go does, where it is wrong from its beginning."""
    start = text.lstrip()[:1]
    if not start:
        return "EOF"
    if start in '{["-0123456789tfn':
        return "unexpected EOF"
    return f"invalid character '{start}' looking for beginning of value"
