"""ADD of a URL: one file, fetched when the server has another one than the last time."""

from __future__ import annotations

import asyncio
import email.utils
import hashlib
import os
import posixpath
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from ... import errors
from ..client import UPLOADS, Client
from ..context import Context
from ..drafts import draft
from ..graph import HttpSource
from ..keys import key_of
from ..trees import Tree

if TYPE_CHECKING:
    import httpx

_MODE = 0o600
_LIMIT_S = 60.0
_DEFAULT_NAME = "download"


async def fetch(context: Context, client: Client, step: HttpSource) -> Tree:
    """Return a tree with the file alone. Some URLs stand for what the client itself has."""
    if step.url.startswith(UPLOADS):
        return await _uploaded(context, client, step)
    key = key_of("url", step.url, step.checksum, step.filename)
    record = context.cache.get(key)
    if record is not None and step.checksum:
        context.cache.use(key)
        return Tree(tuple(record.layers), checksum=record.checksum)
    etag = record.etag if record is not None else ""
    async with _request(context, step.url, etag) as answer:
        if answer.status_code == 304 and record is not None:
            context.cache.use(key)
            return Tree(tuple(record.layers), checksum=record.checksum)
        if not answer.is_success:
            raise errors.NotFound(f"invalid response status {answer.status_code}")
        await _store(context, step, key, answer)
    return _stored(context, key)


async def _uploaded(context: Context, client: Client, step: HttpSource) -> Tree:
    key = key_of("upload", step.url)
    await _write(context, step, key, client.upload(step.url), name=step.filename or _DEFAULT_NAME)
    return _stored(context, key)


def _stored(context: Context, key: str) -> Tree:
    record = context.cache.get(key)
    assert record is not None  # just stored
    return Tree(tuple(record.layers), checksum=record.checksum)


@asynccontextmanager
async def _request(context: Context, url: str, etag: str) -> AsyncIterator[httpx.Response]:
    import httpx  # few builds need it

    headers = {"If-None-Match": etag} if etag else {}
    proxies = context.images.registry.proxies
    proxy = proxies.get(urlsplit(url).scheme)
    try:
        async with (
            httpx.AsyncClient(follow_redirects=True, timeout=_LIMIT_S, proxy=proxy) as client,
            client.stream("GET", url, headers=headers) as answer,
        ):
            yield answer
    except httpx.HTTPError as error:
        raise errors.Unavailable(f"failed to load {url}: {error or type(error).__name__}") from error


async def _store(context: Context, step: HttpSource, key: str, answer: httpx.Response) -> None:
    modified = email.utils.parsedate_tz(answer.headers.get("last-modified", ""))
    time_s = email.utils.mktime_tz(modified) if modified else 0
    name = step.filename or _name(step.url, answer)
    await _write(context, step, key, answer.aiter_bytes(), name=name, time_s=time_s)
    record = context.cache.get(key)
    if record is not None:
        record.etag = answer.headers.get("etag", "")


async def _write(
    context: Context, step: HttpSource, key: str, chunks: AsyncIterator[bytes], *, name: str, time_s: int = 0
) -> None:
    async with draft(context, ()) as made:
        path = made.directory / name
        digest = hashlib.sha256()
        size = 0
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE), "wb") as file:
            async for chunk in chunks:
                digest.update(chunk)
                size += len(chunk)
                await asyncio.to_thread(file.write, chunk)
        checksum = f"sha256:{digest.hexdigest()}"
        if step.checksum and step.checksum != checksum:
            raise errors.InvalidArgument(f"digest mismatch {checksum}: {step.checksum}")
        os.utime(path, (time_s, time_s))
        await made.keep(key, below=(), size=size, description=step.name, checksum=checksum)


def _name(url: str, answer: httpx.Response) -> str:
    """Return the file's name, by the server's word, else the URL's."""
    match = re.search(r'filename="?([^";]+)"?', answer.headers.get("content-disposition", ""))
    name = match[1] if match else unquote(urlsplit(url).path)
    return posixpath.basename(name.rstrip("/")) or _DEFAULT_NAME
