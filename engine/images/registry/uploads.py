"""Blobs to a registry: asked for first, mounted from another repository where one has it, else uploaded.

An upload whose connection breaks goes on where the registry says that it ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from ...errors import Error, Internal
from .blobs import is_worth_another
from .failures import Unreachable
from .session import Session, failure

if TYPE_CHECKING:
    import httpx

_CHUNK = 1 << 20
_WAIT_S = 1.0


async def exists(session: Session, digest: str) -> bool:
    """Tell whether the repository has a blob."""
    async with session.request("HEAD", session.url(f"blobs/{digest}")) as answer:
        if answer.status_code == 404:
            return False
        if not answer.is_success:
            raise await failure(answer)
        return True


async def mount(session: Session, digest: str, sources: Sequence[str]) -> str | None:
    """Have a blob linked from one of the repositories `sources` of the same registry; return which one it was."""
    for source in sources:
        query = urlencode({"mount": digest, "from": source})
        url = f"{session.url('blobs/uploads/')}?{query}"
        async with session.request("POST", url, extra_scope=f"repository:{source}:pull") as answer:
            if answer.status_code == 201:
                return source
            location = _location(answer) if answer.status_code == 202 else ""
        if location:
            await _cancel(session, location)
    return None


async def upload(
    session: Session, path: Path, *, digest: str, size: int, attempts: int, on_progress: Callable[[int], None]
) -> None:
    """Upload a blob from a file."""
    async with session.request("POST", session.url("blobs/uploads/")) as answer:
        if answer.status_code != 202:
            raise await failure(answer)
        location = _location(answer)
    done = 0
    for attempt in range(1, attempts + 1):
        try:
            if done < size:
                location = await _send(session, location, path, done, size, on_progress)
            break
        except Error as error:
            if attempt == attempts or not is_worth_another(error):
                raise
        await asyncio.sleep(_WAIT_S * attempt)
        location, done = await _position(session, location)
    joined = "&" if "?" in location else "?"
    url = f"{location}{joined}{urlencode({'digest': digest})}"
    async with session.request("PUT", url, headers={"Content-Length": "0"}) as answer:
        if answer.status_code not in (201, 204):
            raise await failure(answer)


async def put(session: Session, path: str, data: bytes, media_type: str) -> None:
    """Store a manifest."""
    async with session.request("PUT", session.url(path), content=data, headers={"Content-Type": media_type}) as answer:
        if answer.status_code not in (200, 201):
            raise await failure(answer)


async def _send(
    session: Session, location: str, path: Path, start: int, size: int, on_progress: Callable[[int], None]
) -> str:
    headers = {
        "Content-Type": "application/octet-stream",
        "Content-Length": str(size - start),
        "Content-Range": f"{start}-{size - 1}",
    }
    body = _pieces(path, start, size, on_progress)
    async with session.request("PATCH", location, headers=headers, content=body) as answer:
        if answer.status_code not in (202, 204):
            raise await failure(answer)
        return _location(answer)


async def _pieces(path: Path, start: int, size: int, on_progress: Callable[[int], None]) -> AsyncIterator[bytes]:
    with open(path, "rb", buffering=0) as file:
        file.seek(start)
        done = start
        while done < size:
            chunk = await asyncio.to_thread(file.read, min(_CHUNK, size - done))
            if not chunk:
                raise Internal(f"{path.name}: the blob is too short")
            done += len(chunk)
            yield chunk
            on_progress(done)


async def _position(session: Session, location: str) -> tuple[str, int]:
    """Ask how much of an upload has come; return where to go on and from what byte."""
    async with session.request("GET", location) as answer:
        if answer.status_code not in (202, 204):
            raise await failure(answer)
        _, _, last = answer.headers.get("range", "").rpartition("-")
        if not last.isdecimal():
            raise Unreachable("the registry does not say how much of the upload it has")
        # The range of nothing at all is written 0-0, too; a byte more or less is told by the digest.
        return _location(answer, location), int(last) + 1 if int(last) else 0


async def _cancel(session: Session, location: str) -> None:
    async with session.request("DELETE", location):
        pass


def _location(answer: httpx.Response, fallback: str = "") -> str:
    location: Any = answer.headers.get("location", fallback)
    if not location:
        raise Internal("the registry does not say where to upload to")
    return str(answer.url.join(location))
