"""Fetching the archive of `docker import URL`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from http.client import HTTPException, HTTPResponse
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
)

from ..errors import Error, Forbidden, Internal, InvalidArgument, NotFound, Unauthorized

_CHUNK = 1 << 18
_STALLED_S = 60.0
_ERRORS: dict[int, type[Error]] = {400: InvalidArgument, 401: Unauthorized, 403: Forbidden, 404: NotFound}


def _opener() -> OpenerDirector:
    """Return what follows redirects over HTTP alone: the host's files and FTP are not for clients to read."""
    opener = OpenerDirector()
    for handler in (
        ProxyHandler(),
        HTTPHandler(),
        HTTPSHandler(),
        HTTPRedirectHandler(),
        HTTPErrorProcessor(),
        HTTPDefaultErrorHandler(),
    ):
        opener.add_handler(handler)
    return opener


class Download:
    """A body that is being fetched; iterating gives its pieces."""

    def __init__(self, url: str, response: HTTPResponse) -> None:
        self.url = url
        self._response = response
        self.total = int(response.headers.get("Content-Length") or 0)
        self.done = 0

    async def pieces(self) -> AsyncIterator[bytes]:
        try:
            while chunk := await asyncio.to_thread(self._response.read, _CHUNK):
                self.done += len(chunk)
                yield chunk
            if self.done < self.total:
                raise Internal("unexpected EOF")
        except (OSError, HTTPException) as error:
            raise Internal(f"downloading: {error}") from error
        finally:
            self._response.close()


async def download(source: str) -> Download:
    """Ask for a URL; without a scheme it is plain HTTP. Errors carry the server's own words, as in dockerd."""
    url = source if "://" in source else f"http://{source}"
    scheme = url.partition(":")[0]
    if scheme not in ("http", "https"):
        raise InvalidArgument(f'Get "{url}": unsupported protocol scheme "{scheme}"')
    if not urlsplit(url).netloc:
        raise InvalidArgument(f'Get "{scheme}:": http: no Host in request URL')
    try:
        return Download(url, await asyncio.to_thread(_opener().open, url, None, _STALLED_S))
    except HTTPError as error:
        with error:
            body = (await asyncio.to_thread(error.read, 4096)).decode(errors="replace").strip()
        status = f"{error.code} {error.reason}"
        raise _ERRORS.get(error.code, Internal)(f"failed to GET {url} with status {status}: {body}") from error
    except (URLError, OSError, HTTPException, ValueError) as error:
        reason = error.reason if isinstance(error, URLError) else error
        raise Internal(f'Get "{url}": {reason}') from error
