"""What a build asks of whoever wants it: files, credentials, secrets. Each front door has its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Protocol

from ..images.registry.credentials import Credentials
from .graph import LocalSource
from .progress import Progress

UPLOADS = "http://buildkit-session/"


class Client(Protocol):
    """The other side of a build. All may raise NotFound for what it does not have, Unavailable when it has gone.

    `shared_key` is the same for all builds of one directory by one client; what was brought for one is there for the
    next. Empty: every build is on its own.
    """

    shared_key: str

    async def sync(self, source: LocalSource, directory: Path, progress: Progress) -> None:
        """Bring `directory` in line with the client's, and no more of it than the source's patterns name.

        What is there from an earlier build of the same client may be used.
        """

    async def credentials(self, domain: str) -> Credentials: ...

    async def secret(self, id: str) -> bytes: ...

    async def ssh_agent(self, id: str, socket_path: Path) -> None:
        """Serve the client's agent on a socket made at the path, until cancelled."""

    def upload(self, url: str) -> AsyncIterator[bytes]:
        """Read what the client itself has under a URL of `UPLOADS`: a context from its standard input."""

    async def send_directory(self, directory: Path, attributes: Mapping[str, str]) -> None:
        """Write a directory's files to where the client wants them (`--output type=local`)."""

    async def send_stream(self, stream: AsyncIterator[bytes], attributes: Mapping[str, str]) -> None:
        """Write a file where the client wants it (`--output type=tar|oci|docker`)."""

    def read_blob(self, store: str, digest: str, *, session: str = "") -> AsyncIterator[bytes]:
        """Read from a content store in a directory of the client (a cache, an image layout); it is not verified.

        `session` is given where it may be another one of the client's.
        """

    async def write_blob(self, store: str, digest: str, size: int, pieces: AsyncIterator[bytes]) -> None:
        """Write to such a store (`--cache-to type=local`), unless the blob is there."""
