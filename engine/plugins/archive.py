"""The archive of `docker plugin create`: `config.json`, and below `rootfs/` what becomes the plugin's only layer."""

from __future__ import annotations

import hashlib
import tarfile
import zlib
from pathlib import PurePosixPath
from typing import IO, cast

from ..errors import InvalidArgument
from ..images.content import Ingest
from ..snapshots.compression import Read

_CONFIG, _ROOTFS = "config.json", "rootfs"
_MAX_CONFIG = 4 << 20


class _Source:
    """The file that tarfile reads."""

    def __init__(self, read: Read) -> None:
        self.read = read


class Layer:
    """A layer that is being written, compressed, into an ingest; its diff id is that of what goes in."""

    def __init__(self, ingest: Ingest) -> None:
        self._ingest = ingest
        self._sha256 = hashlib.sha256()
        self._packer = zlib.compressobj(4, zlib.DEFLATED, 31)

    def write(self, data: bytes) -> int:
        self._sha256.update(data)
        self._ingest.write(self._packer.compress(data))
        return len(data)

    def finish(self) -> str:
        """Return the diff id."""
        self._ingest.write(self._packer.flush())
        return f"sha256:{self._sha256.hexdigest()}"


def split(read: Read, layer: Layer) -> bytes:
    """Write the root file system into `layer`; return the config. For a thread. Raises InvalidArgument."""
    config: bytes | None = None
    has_rootfs = False
    try:
        with (
            tarfile.open(fileobj=cast(IO[bytes], _Source(read)), mode="r|*") as archive,
            tarfile.open(fileobj=cast(IO[bytes], layer), mode="w|", format=tarfile.PAX_FORMAT) as rootfs,
        ):
            for member in archive:
                parts = PurePosixPath(member.name.lstrip("/")).parts
                if parts == (_CONFIG,):
                    config = _content(archive, member)
                elif parts[:1] == (_ROOTFS,):
                    has_rootfs = True
                    rootfs.addfile(_moved(member, parts), archive.extractfile(member) if member.isreg() else None)
    except (tarfile.TarError, zlib.error, EOFError) as error:
        raise InvalidArgument(f"failed to read from tar: {error}") from error
    if not has_rootfs:
        raise InvalidArgument("no rootfs found: EOF")
    if config is None:
        raise InvalidArgument("config.json not found")
    return config


def _moved(member: tarfile.TarInfo, parts: tuple[str, ...]) -> tarfile.TarInfo:
    # The header's own name and link go before those that the archive had
    member.pax_headers = {key: value for key, value in member.pax_headers.items() if key not in ("path", "linkpath")}
    member.name = "/".join(parts[1:]) or "."
    if member.islnk():
        member.linkname = member.linkname.lstrip("/").removeprefix(f"{_ROOTFS}/")
    return member


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    if file is None or member.size > _MAX_CONFIG:
        raise InvalidArgument("config.json is no file that could be read")
    return file.read()
