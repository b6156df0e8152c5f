"""A process that unpacks layers for the daemon: one job at a time, told and answered in JSON lines.

Started by `workers.py` as `python -m`, so it imports little. It ends when its standard input does, and with the daemon
when that is killed in the middle of a job; what it leaves half-made is removed by the snapshotter's `reconcile`.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
from typing import BinaryIO

from ..runtime.constants import PR_SET_PDEATHSIG
from ..runtime.linux import prctl
from .compression import BZIP2, XZ, CompressionError, Read, decompressed
from .layer import apply
from .tar import TarError, TarReader

_PROGRESS_INTERVAL_S = 0.1
_NICE = 5


def main() -> None:
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(sys.argv[1]):
        # The daemon died before the line above.
        return
    os.umask(0)
    # The daemon answers first.
    os.nice(_NICE)
    for line in sys.stdin.buffer:
        job = json.loads(line)
        try:
            answer: dict[str, object] = {"result": _unpack(**job)}
        except (TarError, CompressionError) as error:
            answer = {"error": {"kind": "internal", "message": str(error)}}
        except OSError as error:
            answer = {"error": {"kind": "internal", "message": _described(error), "errno": error.errno}}
        _tell(answer)


def _unpack(blob: str, directory: str, diff_id: str | None, plain: str, arriving: bool) -> dict[str, object]:
    """Unpack the layer in the file `blob` into `directory`; one that is `arriving` is followed until it is whole.

    `diff_id` is the digest of the blob where that is known; it is the layer's own where nothing is compressed. What is
    compressed in a way that no media type names is also written to `plain`, decompressed.
    """
    with open(blob, "rb", buffering=0) as source:
        arrival = _Arrival(source) if arriving else None
        compression, read = decompressed(_with_progress(arrival.read if arrival else source.read))
        digest = None
        if compression or diff_id is None:
            digest = hashlib.sha256()
            read = _hashed(read, digest)
        copy = open(plain, "xb") if compression in (BZIP2, XZ) else None
        if copy is not None:
            read = _copied(read, copy)
        archive = TarReader(read)
        size = apply(archive, directory)
        archive.drain()
        if copy is not None:
            copy.close()
        if arrival is not None:
            arrival.finish()
    return {
        "diff_id": diff_id if digest is None else f"sha256:{digest.hexdigest()}",
        "size": size,
        "compression": compression,
    }


class _Arrival:
    """Reads a file as far as the daemon says that it is there, and waits for more."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._position = self._arrived = 0
        self._is_whole = False

    def read(self, limit: int) -> bytes:
        while self._position >= self._arrived and not self._is_whole:
            self._wait()
        chunk = self._source.read(max(0, min(limit, self._arrived - self._position)))
        self._position += len(chunk)
        return chunk

    def finish(self) -> None:
        """Read what the daemon says up to its last word on this file."""
        while not self._is_whole:
            self._wait()

    def _wait(self) -> None:
        line = sys.stdin.buffer.readline()
        if not line:
            raise TarError("the layer did not arrive")
        word = json.loads(line)
        self._arrived, self._is_whole = word["arrived"], word["whole"]


def _with_progress(source: Read) -> Read:
    done = 0
    told = time.monotonic()

    def read(limit: int) -> bytes:
        nonlocal done, told
        chunk = source(limit)
        done += len(chunk)
        if (now := time.monotonic()) - told > _PROGRESS_INTERVAL_S:
            told = now
            _tell({"progress": done})
        return chunk

    return read


def _hashed(read: Read, digest: hashlib._Hash) -> Read:
    def read_hashed(limit: int) -> bytes:
        chunk = read(limit)
        digest.update(chunk)
        return chunk

    return read_hashed


def _copied(read: Read, copy: BinaryIO) -> Read:
    def read_copied(limit: int) -> bytes:
        chunk = read(limit)
        copy.write(chunk)
        return chunk

    return read_copied


def _described(error: OSError) -> str:
    """Word an error as Go does, by the name inside the layer."""
    name = error.filename2 or error.filename
    shown = os.fsdecode(name) + ": " if isinstance(name, str | bytes) else ""
    return shown + (error.strerror or str(error)).lower()


def _tell(message: dict[str, object]) -> None:
    sys.stdout.buffer.write(json.dumps(message).encode() + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
