"""Checking what is stored, bit by bit, and unpacking anew what is damaged: `lightship doctor`, while no daemon runs.

Every blob is compared with its digest, every unpacked layer with what its blob unpacks to. What cannot be made good
from here is told, with what to do; nothing that is whole is touched.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ..errors import Error
from ..snapshots import room
from ..snapshots.marks import is_whiteout
from ..snapshots.snapshotter import Snapshotter
from ..snapshots.workers import Workers
from ..store import Store
from .catalog import ImageRecord, ReferenceRecord
from .config import Descriptor, Manifest, decode_config
from .content import ContentStore
from .indexes import is_attestation, read_index

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be."""

    text: str
    is_repaired: bool = False


async def examine(root: Path, *, repair: bool) -> AsyncIterator[Finding]:
    """Check the images of a data root whose lock the caller holds; make good what can be, where `repair` says so."""
    room.enter(root / "snapshots")
    store = Store(root / "lightship.db")
    content = ContentStore(root / "content")
    examination = _Examination(content, Snapshotter(root / "snapshots", store), repair)
    try:
        for image_id, record in list(store.table("images", ImageRecord).all()):
            async for finding in examination.image(image_id, record):
                yield finding
        names: dict[str, list[str]] = {}
        for name, pointer in store.table("references_to_images", ReferenceRecord).all():
            names.setdefault(pointer.index, []).append(name)
        for digest in filter(None, names):
            for text in examination.index(digest):
                yield Finding(f"{', '.join(names[digest])}: {text}; pull or load it again")
    finally:
        await examination.workers.close()
        store.close()
        room.leave(root / "snapshots")


class _Examination:
    def __init__(self, content: ContentStore, snapshotter: Snapshotter, repair: bool) -> None:
        self.workers = Workers()
        self._content, self._snapshotter, self._repair = content, snapshotter, repair
        self._seen: set[str] = set()

    async def image(self, image_id: str, record: ImageRecord) -> AsyncIterator[Finding]:
        try:
            config = decode_config(self._content.read(image_id))
            manifest = msgspec.json.decode(self._content.read(record.manifest), type=Manifest)
        except (Error, msgspec.DecodeError) as error:
            yield Finding(f"{image_id}: the image cannot be read: {error}; remove it, and pull or load it again")
            return
        for diff_id, layer in zip(config.diff_ids, manifest.layers, strict=True):
            if diff_id not in self._seen:
                self._seen.add(diff_id)
                finding = await self._layer(image_id, diff_id, layer)
                if finding is not None:
                    yield finding

    def index(self, digest: str) -> Iterator[str]:
        """Tell what is damaged of an index: itself, or an attestation that is here."""
        try:
            index = read_index(self._content, digest)
        except Error as error:
            yield f"the index cannot be read: {error}"
            return
        for entry in index.entries:
            if is_attestation(entry.descriptor):
                for blob in entry.blobs:
                    if _digest_of_file(self._content.path(blob)) != blob:
                        yield f"blob {blob} of an attestation is damaged"

    async def _layer(self, image_id: str, diff_id: str, layer: Descriptor) -> Finding | None:
        path = self._content.path(layer.digest)
        if await asyncio.to_thread(_digest_of_file, path) != layer.digest:
            what = "damaged" if path.exists() else "missing"
            return Finding(f"{image_id}: blob {layer.digest} is {what}; remove the image, and pull or load it again")
        number, plain = self._snapshotter.new_layer(), self._content.new_path()
        fresh = self._snapshotter.unpack_path(number)
        is_kept = False
        try:
            unpacked = await self.workers.unpack(path, fresh, diff_id=layer.digest, plain=plain)
            if unpacked.diff_id != diff_id:
                return Finding(f"{image_id}: blob {layer.digest} is not the layer {diff_id}; pull the image again")
            known = self._snapshotter.layer(diff_id)
            if known is not None:
                present = self._snapshotter.layer_path(diff_id)
                if await asyncio.to_thread(_fingerprint, present) == await asyncio.to_thread(_fingerprint, fresh):
                    return None
            text = f"{image_id}: layer {diff_id} is {'damaged' if known is not None else 'not unpacked'}"
            if self._repair:
                await self._snapshotter.replace(number, diff_id=diff_id, size=unpacked.size)
                is_kept = True
            return Finding(text, is_repaired=is_kept)
        finally:
            plain.unlink(missing_ok=True)
            if not is_kept:
                await self._snapshotter.discard(number)


def _digest_of_file(path: Path) -> str:
    sha256 = hashlib.sha256()
    try:
        with open(path, "rb", buffering=0) as file:
            while chunk := file.read(_CHUNK):
                sha256.update(chunk)
    except FileNotFoundError:
        return ""
    return f"sha256:{sha256.hexdigest()}"


def _fingerprint(directory: Path) -> str:
    """Return a digest over all that a tree holds: names, attributes, contents."""
    sha256 = hashlib.sha256()
    for path in _paths(os.fsencode(directory)):
        status = os.lstat(path)
        name = path[len(os.fsencode(directory)) :]
        attributes = (status.st_mode, status.st_uid, status.st_gid, status.st_rdev)
        # Directories that the archive does not name are as old as the unpacking, and so are whiteouts.
        has_time = not (stat.S_ISDIR(status.st_mode) or is_whiteout(status))
        grown = (status.st_size, status.st_mtime_ns // 10**9) if has_time else ()
        sha256.update(repr((name, attributes, grown)).encode())
        if os.path.islink(path):
            sha256.update(os.readlink(path))
        elif os.path.isfile(path):
            sha256.update(_digest_of_file(Path(os.fsdecode(path))).encode())
        for key in sorted(os.listxattr(path, follow_symlinks=False)):
            sha256.update(repr((key, os.getxattr(path, key, follow_symlinks=False))).encode())
    return sha256.hexdigest()


def _paths(directory: bytes) -> Iterator[bytes]:
    yield directory
    for folder, folders, files in os.walk(directory):
        folders.sort()
        for name in sorted([*folders, *files]):
            yield os.path.join(folder, name)
