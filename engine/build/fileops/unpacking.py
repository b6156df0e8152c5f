"""ADD of local archives: what is a tar stream, in whichever compression, is unpacked instead of copied."""

from __future__ import annotations

import os
import stat

from ...snapshots.compression import CompressionError, decompressed
from ...snapshots.extract import Extractor
from ...snapshots.tar import TarError, TarReader
from . import trees

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .copying import Change
    from .selection import Selected


def unpack(source_fd: int, selected: Selected, target_fd: int, destination: str, change: Change) -> bool:
    """Unpack a file into the destination, a directory then; return False for what is no archive."""
    if not stat.S_ISREG(selected.status.st_mode):
        return False
    parent, _, base = selected.where.rpartition("/")
    directory_fd = trees.open_directory(source_fd, parent)
    try:
        fd = os.open(base, trees.FILE, dir_fd=directory_fd)
    finally:
        os.close(directory_fd)
    try:
        if not _is_archive(fd):
            return False
        os.lseek(fd, 0, os.SEEK_SET)
        _, read = decompressed(lambda limit: os.read(fd, limit))
        os.close(change.make_directory(target_fd, destination))
        reader = TarReader(read)
        with Extractor(reader, target_fd, os.fsencode(destination), keeps_kinds=False, owner=change.ids) as extractor:
            while (entry := reader.next()) is not None:
                extractor.add(entry)
            extractor.finish()
        return True
    finally:
        os.close(fd)


def _is_archive(fd: int) -> bool:
    try:
        _, read = decompressed(lambda limit: os.read(fd, limit))
        return TarReader(read).next() is not None
    except (TarError, CompressionError):
        return False
