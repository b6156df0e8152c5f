"""What a build asks of a client of `POST /build`: the files of the tar that it sent, and its credentials."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from ...errors import NotFound, NotImplemented
from ...images.registry.credentials import Credentials, for_domain
from ..graph import LocalSource
from ..progress import Progress
from .linking import link


class TarClient:
    """`directory` has what the tar had, for as long as the build lasts."""

    shared_key = ""

    def __init__(self, directory: Path, credentials: Mapping[str, Credentials]) -> None:
        self._directory, self._credentials = directory, credentials

    async def sync(self, source: LocalSource, directory: Path, progress: Progress) -> None:
        await asyncio.to_thread(
            link, self._directory, directory, follow=source.follow, include=source.include, exclude=source.exclude
        )

    async def credentials(self, domain: str) -> Credentials:
        return for_domain(self._credentials, domain)

    async def secret(self, id: str) -> bytes:
        raise NotFound(f"secret {id}: not found")

    async def ssh_agent(self, id: str, socket_path: Path) -> None:
        raise NotFound(f"unset ssh forward key {id}")

    async def upload(self, url: str) -> AsyncIterator[bytes]:
        raise NotFound(f"{url}: the classic builder has no session to ask for it")
        yield b""

    async def send_directory(self, directory: Path, attributes: Mapping[str, str]) -> None:
        raise NotImplemented("outputs need a session, which the classic builder does not have")

    async def send_stream(self, stream: AsyncIterator[bytes], attributes: Mapping[str, str]) -> None:
        raise NotImplemented("outputs need a session, which the classic builder does not have")

    async def read_blob(self, store: str, digest: str, *, session: str = "") -> AsyncIterator[bytes]:
        raise NotFound(f"{store}: the classic builder has no session to ask for it")
        yield b""

    async def write_blob(self, store: str, digest: str, size: int, pieces: AsyncIterator[bytes]) -> None:
        raise NotImplemented("caches in directories need a session, which the classic builder does not have")
