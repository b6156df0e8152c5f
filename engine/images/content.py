"""The content store: blobs by their digest, as an OCI image layout keeps them.

    content/blobs/sha256/<hex>    whole, verified
    content/ingest/<name>         being written

A blob gets its name by a rename, after its digest and size were compared. When it is on disk is the business of
`durability.py`: one sync for all that an operation stored. The store does not know what refers to a blob either; the
images service deletes what nothing reaches.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ..errors import Internal, InvalidArgument, NotFound
from ..runtime.linux import syncfs
from .references import check_digest


class Ingest:
    """A blob that is being written, and digested as it goes. Usable in any one thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._file = open(path, "xb", buffering=0)
        self._sha256 = hashlib.sha256()

    def write(self, chunk: bytes) -> None:
        """Append a piece; raise Internal where the disk is full."""
        self._sha256.update(chunk)
        self.size += len(chunk)
        try:
            while (written := self._file.write(chunk)) < len(chunk):
                chunk = chunk[written:]
        except OSError as error:
            raise Internal(f"write {self.path}: {os.strerror(error.errno or 0).lower()}") from error

    @property
    def digest(self) -> str:
        return f"sha256:{self._sha256.hexdigest()}"

    def close(self) -> None:
        self._file.close()

    def abort(self) -> None:
        """Remove what was written; harmless after a commit."""
        self.close()
        self.path.unlink(missing_ok=True)


class ContentStore:
    def __init__(self, root: Path) -> None:
        self._blobs = root / "blobs" / "sha256"
        self._ingest = root / "ingest"
        self._blobs.mkdir(parents=True, exist_ok=True)
        self._ingest.mkdir(exist_ok=True)
        self._count = 0

    def path(self, digest: str) -> Path:
        check_digest(digest)
        return self._blobs / digest.removeprefix("sha256:")

    def has(self, digest: str) -> bool:
        return self.path(digest).exists()

    def open(self, digest: str) -> BinaryIO:
        try:
            return open(self.path(digest), "rb", buffering=0)
        except FileNotFoundError:
            raise NotFound(f"content {digest}: not found") from None

    def read(self, digest: str) -> bytes:
        """Return a small blob, verified against its name."""
        with self.open(digest) as blob:
            data = blob.read()
        if digest_of(data) != digest:
            raise InvalidArgument(f"content {digest}: the data does not have this digest")
        return data

    def size(self, digest: str) -> int:
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            raise NotFound(f"content {digest}: not found") from None

    def digests(self) -> Iterator[str]:
        for name in os.listdir(self._blobs):
            yield f"sha256:{name}"

    def new_path(self) -> Path:
        """Return a free name in the ingest directory."""
        self._count += 1
        return self._ingest / f"{os.getpid()}-{self._count}"

    def ingest(self) -> Ingest:
        return Ingest(self.new_path())

    def commit(self, ingest: Ingest, *, digest: str | None = None, size: int | None = None) -> str:
        """Make the ingest a blob and return its digest; where `digest` or `size` differ it is removed and refused."""
        try:
            if digest is not None and ingest.digest != digest:
                raise InvalidArgument(f"unexpected digest {ingest.digest}, expected {digest}")
            if size is not None and ingest.size != size:
                raise InvalidArgument(f"unexpected size {ingest.size}, expected {size}")
            ingest.close()
            self.adopt(ingest.path, ingest.digest)
        except BaseException:
            ingest.abort()
            raise
        return ingest.digest

    def adopt(self, path: Path, digest: str) -> None:
        """Make a file of the ingest directory a blob. The caller has verified it."""
        path.rename(self.path(digest))

    def add(self, data: bytes) -> str:
        """Store a small blob; one that is there already stays as it is."""
        digest = digest_of(data)
        if not self.has(digest):
            ingest = self.ingest()
            ingest.write(data)
            self.commit(ingest)
        return digest

    def sync(self) -> None:
        """Wait until all that was written to this file system, by whomever, is on disk."""
        fd = os.open(self._blobs, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            syncfs(fd)
        finally:
            os.close(fd)

    def delete(self, digest: str) -> None:
        self.path(digest).unlink(missing_ok=True)

    def reconcile(self) -> None:
        """Remove what a daemon that was killed had not finished writing."""
        for path in self._ingest.iterdir():
            path.unlink()


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
