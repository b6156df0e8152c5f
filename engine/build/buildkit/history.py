"""The records of builds that have ended, what was told of them and their provenance, in files: `buildx history`.

As many are kept, and for as long, as dockerd does by default; pinned ones for good.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from google.protobuf.message import DecodeError

from ...errors import NotFound
from ...images.content import digest_of
from ...images.references import check_digest
from ..exporting.attestations import STATEMENT
from ..exporting.provenance import PREDICATE_TYPE
from .protocol.control_pb2 import (
    COMPLETE,
    DELETED,
    STARTED,
    BuildHistoryEvent,
    BuildHistoryRecord,
    StatusResponse,
)

_KEPT = 50
_KEPT_S = 48 * 60 * 60


class History:
    """Records by the name of their build: those that run, and those on disk."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._active: dict[str, BuildHistoryRecord] = {}
        self._ended: dict[str, BuildHistoryRecord] = {}
        self._listeners: set[asyncio.Queue[BuildHistoryEvent]] = set()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in directory.glob("*.record"):
            try:
                record = BuildHistoryRecord.FromString(path.read_bytes())
                self._ended[record.ref] = record
            except DecodeError:
                path.unlink()

    def begin(self, record: BuildHistoryRecord) -> None:
        self._active[record.ref] = record
        self._tell(BuildHistoryEvent(type=STARTED, record=record))

    def end(self, record: BuildHistoryRecord, logs: StatusResponse, provenance: Mapping[str, bytes]) -> None:
        """Keep what has ended, with a document for each platform. Forget the oldest where there are too many."""
        self._active.pop(record.ref, None)
        for platform, data in provenance.items():
            digest = digest_of(data)
            self._blob(digest).write_bytes(data)
            result = record.result if len(provenance) == 1 else record.results[platform]
            predicate = {"in-toto.io/predicate-type": PREDICATE_TYPE}
            result.attestations.add(media_type=STATEMENT, digest=digest, size=len(data), annotations=predicate)
        record.generation += 1
        self._ended[record.ref] = record
        self._path(record.ref, "logs").write_bytes(logs.SerializeToString())
        self._write(record)
        self._tell(BuildHistoryEvent(type=COMPLETE, record=record))
        self._collect()

    def _collect(self) -> None:
        loose = [record for record in self._ended.values() if not record.is_pinned]
        loose.sort(key=lambda record: record.created_at.ToNanoseconds(), reverse=True)
        oldest_s = time.time() - _KEPT_S
        for position, record in enumerate(loose):
            if position >= _KEPT or record.completed_at.seconds < oldest_s:
                self.remove(record.ref)

    def remove(self, ref: str) -> None:
        record = self._find(ref)
        del self._ended[ref]
        self._path(ref, "record").unlink(missing_ok=True)
        self._path(ref, "logs").unlink(missing_ok=True)
        for result in (record.result, *record.results.values()):
            for attestation in result.attestations:
                self._blob(attestation.digest).unlink(missing_ok=True)
        self._tell(BuildHistoryEvent(type=DELETED, record=record))

    def pin(self, ref: str, *, is_pinned: bool) -> None:
        record = self._find(ref)
        record.is_pinned = is_pinned
        record.generation += 1
        self._write(record)
        self._tell(BuildHistoryEvent(type=COMPLETE, record=record))

    def logs(self, ref: str) -> StatusResponse | None:
        """Return what was told of an ended build."""
        if ref not in self._ended:
            return None
        return StatusResponse.FromString(self._path(ref, "logs").read_bytes())

    def read(self, digest: str) -> bytes:
        """Return what a record refers to. Raises NotFound."""
        check_digest(digest)
        try:
            return self._blob(digest).read_bytes()
        except FileNotFoundError:
            raise NotFound(f"content digest {digest}: not found") from None

    async def listen(self, *, ref: str, active_only: bool, early_exit: bool) -> AsyncIterator[BuildHistoryEvent]:
        """Yield what there is, and then what happens, unless `early_exit`."""
        news: asyncio.Queue[BuildHistoryEvent] = asyncio.Queue()
        self._listeners.add(news)
        try:
            for record in list(self._active.values()):
                if ref in ("", record.ref):
                    yield BuildHistoryEvent(type=STARTED, record=record)
            for record in [] if active_only else list(self._ended.values()):
                if ref in ("", record.ref):
                    yield BuildHistoryEvent(type=COMPLETE, record=record)
            while not early_exit:
                event = await news.get()
                if ref in ("", event.record.ref):
                    yield event
        finally:
            self._listeners.discard(news)

    def _find(self, ref: str) -> BuildHistoryRecord:
        if ref not in self._ended:
            raise NotFound(f"no record found for ref {ref}")
        return self._ended[ref]

    def _tell(self, event: BuildHistoryEvent) -> None:
        for listener in self._listeners:
            listener.put_nowait(event)

    def _write(self, record: BuildHistoryRecord) -> None:
        path = self._path(record.ref, "record")
        temporary = path.with_suffix(".new")
        temporary.write_bytes(record.SerializeToString())
        temporary.replace(path)

    def _blob(self, digest: str) -> Path:
        return self._directory / f"{digest.removeprefix('sha256:')}.attestation"

    def _path(self, ref: str, kind: str) -> Path:
        # The name is the client's own: not one for a file.
        return self._directory / f"{hashlib.sha256(ref.encode()).hexdigest()}.{kind}"
