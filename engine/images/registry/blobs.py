"""Blobs from a registry: streamed into an ingest, verified as they come, resumed where the connection broke."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ...errors import Error, Internal
from ..config import Descriptor
from ..content import Ingest, digest_of
from .auth import read_limited
from .failures import Unexpected, Unreachable
from .session import Session, failure

MAX_CONFIG = 8 << 20
_WAIT_S = 5
"""What each attempt adds to the wait before the next, as in dockerd."""

Progress = Callable[[int], None]
Waiting = Callable[[int], None]


async def fetch_config(session: Session, descriptor: Descriptor, attempts: int) -> bytes:
    """Return an image's config."""
    if descriptor.size > MAX_CONFIG:
        raise Internal(f"image config {descriptor.digest} is too large")
    for attempt in range(1, attempts + 1):
        try:
            async with session.request("GET", session.url(f"blobs/{descriptor.digest}")) as answer:
                if not answer.is_success:
                    raise await failure(answer)
                data = await read_limited(answer, descriptor.size)
        except (Unreachable, Unexpected) as error:
            if attempt == attempts or not is_worth_another(error):
                raise
            await asyncio.sleep(0.25 * 2 ** (attempt - 1))
            continue
        if digest_of(data) != descriptor.digest:
            raise Internal(f"image config verification failed for digest {descriptor.digest}")
        return data
    raise Internal("no attempt to download was allowed")


async def fetch(
    session: Session,
    descriptor: Descriptor,
    ingest: Ingest,
    *,
    attempts: int,
    on_progress: Progress,
    on_wait: Waiting,
) -> None:
    """Stream a blob into `ingest`. `on_wait` is told the seconds left before another attempt."""
    attempt = 1
    while True:
        before = ingest.size
        try:
            await _continue(session, descriptor, ingest, on_progress)
            break
        except (Unreachable, Unexpected) as error:
            if attempt >= attempts or not is_worth_another(error):
                raise
            # A connection that brought something is likely to do so again at once.
            wait_s = 1 if ingest.size > before else _WAIT_S * attempt
        attempt += 1
        for left_s in range(wait_s, 0, -1):
            on_wait(left_s)
            await asyncio.sleep(1)
    if ingest.size != descriptor.size or ingest.digest != descriptor.digest:
        raise Internal(f"filesystem layer verification failed for digest {descriptor.digest}")


def is_worth_another(error: Error) -> bool:
    return isinstance(error, Unreachable) or (isinstance(error, Unexpected) and error.status >= 500)


async def _continue(session: Session, descriptor: Descriptor, ingest: Ingest, on_progress: Progress) -> None:
    """Fetch what is missing. A server that begins anew is passed over up to there; the digest tells if it changed."""
    if ingest.size == descriptor.size:
        return
    headers = {"Range": f"bytes={ingest.size}-"} if ingest.size else {}
    async with session.request("GET", session.url(f"blobs/{descriptor.digest}"), headers=headers) as answer:
        if not answer.is_success:
            raise await failure(answer)
        passed_over = ingest.size if answer.status_code != 206 else 0
        async for chunk in answer.aiter_raw():
            if passed_over:
                chunk, passed_over = chunk[passed_over:], max(0, passed_over - len(chunk))
            if ingest.size + len(chunk) > descriptor.size:
                raise Internal(f"filesystem layer verification failed for digest {descriptor.digest}")
            ingest.write(chunk)
            on_progress(ingest.size)
    if ingest.size < descriptor.size:
        raise Unreachable("unexpected EOF")
