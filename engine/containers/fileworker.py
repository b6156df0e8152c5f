"""A process that reads and writes containers' files for the daemon: one job at a time, told and answered in JSON lines.

Started by `fileworkers.py` as `python -m`, so it imports little. Archives come and go by pipes of the daemon, opened
below its /proc. It ends when its standard input does, and with the daemon when that is killed.
"""

from __future__ import annotations

import base64
import json
import os
import posixpath
import resource
import signal
import socket
import stat
import sys
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial

from ..runtime import inroot
from ..runtime.constants import O_PATH, PR_SET_PDEATHSIG, RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS
from ..runtime.errors import RuntimeFailure
from ..runtime.linux import openat2, prctl
from ..runtime.overlay import acting_as
from ..runtime.users import lookup_user
from ..snapshots import tar
from ..snapshots.extract import Extractor
from ..snapshots.ids import Ids
from ..snapshots.pack import Packer
from ..snapshots.tar import TarError, TarReader
from ..snapshots.tarwriter import Output, TarWriter
from . import changes, view
from .chunkedbody import ChunkedBody

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from ..snapshots.difference import Change

_MAX_DEPTH = 10_000
_INSIDE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
# Go's os.FileMode, which has bits of its own for what is not a permission.
_GO_TYPES = {
    stat.S_IFDIR: 1 << 31, stat.S_IFLNK: 1 << 27, stat.S_IFIFO: 1 << 25, stat.S_IFSOCK: 1 << 24, stat.S_IFBLK: 1 << 26,
    stat.S_IFCHR: 1 << 26 | 1 << 21, stat.S_IFREG: 0,
}  # fmt: skip
_GO_BITS = ((stat.S_ISUID, 1 << 23), (stat.S_ISGID, 1 << 22), (stat.S_ISVTX, 1 << 20))


class Refused(Exception):
    """What the client asked for cannot be done; `kind` names a class of the engine's errors."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def serve(jobs: Mapping[str, Callable[..., Any]]) -> None:
    """Do jobs until there are no more; the process's whole life."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(sys.argv[1]):
        return  # the daemon died before the line above
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
    os.umask(0)
    sys.setrecursionlimit(_MAX_DEPTH)
    view.isolate()
    for line in sys.stdin.buffer:
        job: dict[str, Any] = json.loads(line)
        run = jobs[job.pop("op")]
        try:
            answer: dict[str, Any] = {"result": run(**job)}
        except Refused as error:
            answer = {"error": {"kind": error.kind, "message": str(error)}}
        except (TarError, RuntimeFailure, OverflowError) as error:
            answer = {"error": {"kind": "internal", "message": str(error)}}
        except OSError as error:
            answer = {"error": {"kind": "internal", "message": _described(error)}}
        _tell(answer)


def _stat(root: dict[str, Any], path: str) -> dict[str, Any]:
    with _opened(root) as root_fd:
        return _path_stat(root_fd, path)


def _pack(root: dict[str, Any], path: str, output: str, compression: str) -> None:
    """Write what is at a path; its attributes are told first."""
    absolute = _kept_tail(posixpath.normpath("/" + path.lstrip("/")), path)
    with _opened(root) as root_fd:
        found = _path_stat(root_fd, absolute)
        is_directory = bool(found["mode"] & _GO_TYPES[stat.S_IFDIR])
        directory, base = (absolute, ".") if is_directory else posixpath.split(absolute)
        directory_fd = openat2(root_fd, directory, flags=os.O_RDONLY | os.O_DIRECTORY, resolve=_INSIDE)
        try:
            with _open_output(output) as output_fd:
                _tell({"ready": found})
                writer = TarWriter(Output(output_fd, compression=compression), ids=_ids(root))
                packer = Packer(writer)
                name = os.fsencode(found["name"])
                if is_directory:
                    packer.add_tree(directory_fd, name, with_root=True)
                else:
                    packer.add(directory_fd, os.fsencode(base), name)
                writer.close()
        finally:
            os.close(directory_fd)


def export(root: dict[str, Any], output: str) -> None:
    """Write the whole root, without volumes and the like."""
    with _opened(root) as root_fd, _open_output(output) as output_fd:
        _tell({"ready": {}})
        writer = TarWriter(Output(output_fd))
        Packer(writer).add_tree(root_fd, b"", with_root=False)
        writer.close()


def diff(directory: str, output: str) -> dict[str, Any]:
    """Write a snapshot's own directory as an image layer into a new file; return its digest and size."""
    directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    output_fd = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        archive = Output(output_fd, digested=True)
        writer = TarWriter(archive)
        Packer(writer, is_layer=True).add_tree(directory_fd, b"", with_root=False)
        writer.close()
        return {"digest": archive.digest, "size": archive.size}
    finally:
        os.close(output_fd)
        os.close(directory_fd)


def _changes(directory: str, lower: list[str]) -> list[Change]:
    """Compare a snapshot's own directory with those below it, the uppermost first."""
    upper_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    lower_fd = view.merged(lower)
    try:
        return changes.compare(upper_fd, lower_fd)
    finally:
        os.close(lower_fd)
        os.close(upper_fd)


def _extract(
    root: dict[str, Any],
    path: str,
    keeps_kinds: bool,
    user: str,
    mounts: list[tuple[str, bool]],
    read_only: bool,
    archive: str = "",
    lent: str | None = None,
) -> None:
    """Extract an archive, which may be compressed, into a directory; that it is ready to be read is told first.

    It is behind a path, or it is the body of a request whose connection comes by the socket, `lent` its first bytes.
    """
    from ..snapshots.compression import CompressionError, decompressed  # the other jobs start sooner without

    # Taken before anything can be refused, or the next job would find it.
    archive_fd = os.open(archive, os.O_RDONLY | os.O_CLOEXEC) if lent is None else _receive_fd()
    body = partial(os.read, archive_fd) if lent is None else ChunkedBody(archive_fd, base64.b64decode(lent)).read
    with ExitStack() as opened:
        opened.callback(os.close, archive_fd)
        root_fd = opened.enter_context(_opened(root))
        target_fd = _open_target(root_fd, path)
        try:
            inside = inroot.path_of(target_fd)[len(inroot.path_of(root_fd)) :] or "/"
        finally:
            os.close(target_fd)
        _check_writable(inside, mounts, read_only=read_only)
        owner = _owner(root_fd, user) if user else None
        _tell({"ready": {}})
        try:
            _, read = decompressed(body)
            reader = TarReader(read)
            ids = _ids(root)
            extractor = Extractor(reader, root_fd, os.fsencode(inside), keeps_kinds=keeps_kinds, owner=owner, ids=ids)
            # Files have to be made by someone whom the container has
            with extractor, acting_as(*ids.outside(0, 0)) if ids else nullcontext():
                while (entry := reader.next()) is not None:
                    extractor.add(entry)
                extractor.finish()
            while body(tar.BUFFER):
                pass  # what follows the archive's end
        except CompressionError as error:
            raise Refused("internal", str(error)) from error


def _user(root: dict[str, Any], user: str) -> tuple[int, int]:
    """Look up whom a container's files know by this name."""
    with _opened(root) as root_fd:
        return _owner(root_fd, user)


_JOBS: dict[str, Callable[..., Any]] = {
    "stat": _stat,
    "pack": _pack,
    "export": export,
    "diff": diff,
    "changes": _changes,
    "extract": _extract,
    "user": _user,
}


@contextmanager
def _opened(root: dict[str, Any]) -> Iterator[int]:
    if "bare" in root:
        fd = view.bare(root["bare"])
        try:
            yield fd
        finally:
            os.close(fd)
    else:
        make: Callable[..., AbstractContextManager[int]] = view.running if "namespace" in root else view.stopped
        with make(**{name: value for name, value in root.items() if name != "ids"}) as fd:
            yield fd


def _ids(root: dict[str, Any]) -> Ids | None:
    return Ids(**root["ids"]) if root.get("ids") else None


def _path_stat(root_fd: int, path: str) -> dict[str, Any]:
    """Describe a file as Docker's container path stat has it; links are described, not followed."""
    try:
        fd = openat2(root_fd, path, flags=O_PATH | os.O_NOFOLLOW, resolve=_INSIDE)
    except FileNotFoundError:
        raise Refused("not_found", path) from None
    except OSError as error:
        raise Refused("internal", f"lstat {path}: {os.strerror(error.errno or 0).lower()}") from None
    try:
        status = os.fstat(fd)
        return {
            "name": posixpath.basename(path.rstrip("/")) or "/",
            "size": status.st_size,
            "mode": go_mode(status.st_mode),
            "mtime": status.st_mtime_ns,
            "link": "/" + inroot.followed(root_fd, path) if stat.S_ISLNK(status.st_mode) else "",
        }
    finally:
        os.close(fd)


def go_mode(mode: int) -> int:
    """Return a file's mode as Go's os.FileMode."""
    return mode & 0o777 | _GO_TYPES[stat.S_IFMT(mode)] | sum(bit for own, bit in _GO_BITS if mode & own)


def _open_target(root_fd: int, path: str) -> int:
    try:
        fd = openat2(root_fd, posixpath.normpath("/" + path.lstrip("/")), flags=O_PATH, resolve=_INSIDE)
    except FileNotFoundError:
        raise Refused("not_found", path) from None
    if not stat.S_ISDIR(os.fstat(fd).st_mode):
        os.close(fd)
        raise Refused("invalid_argument", "extraction point is not a directory")
    return fd


def _check_writable(path: str, mounts: list[tuple[str, bool]], *, read_only: bool) -> None:
    """Refuse what the container itself could not write to; the innermost mount decides."""
    around = [(len(at), rw) for at, rw in mounts if path == at or path.startswith(at.rstrip("/") + "/")]
    if around:
        if not max(around)[1]:
            raise Refused("invalid_argument", "mounted volume is marked read-only")
    elif read_only:
        raise Refused("invalid_argument", "container rootfs is marked read-only")


def _owner(root_fd: int, user: str) -> tuple[int, int]:
    try:
        found = lookup_user(root_fd, user)
    except RuntimeFailure as failure:
        kind, _, rest = failure.message.removeprefix("unable to find ").partition(" ")
        name, separator, reason = rest.partition(": ")
        text = f'failed to look up {kind} "{name}" in container: {reason}' if separator else failure.message
        raise Refused("invalid_argument", text) from failure
    return found.uid, found.gid


def _kept_tail(cleaned: str, path: str) -> str:
    """Keep what a path's end says beyond its name: `/` that it is a directory, `/.` that its content is meant."""
    if posixpath.basename(path) == ".":
        return f"{cleaned.rstrip('/')}/."
    return cleaned + "/" if path.endswith("/") and not cleaned.endswith("/") else cleaned


@contextmanager
def _open_output(path: str) -> Iterator[int]:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _described(error: OSError) -> str:
    """Word an error as Go does, by the name inside the container."""
    name = error.filename2 or error.filename
    shown = os.fsdecode(name) + ": " if isinstance(name, str | bytes) else ""
    return shown + os.strerror(error.errno or 0).lower()


def _receive_fd() -> int:
    with socket.socket(fileno=os.dup(int(sys.argv[2]))) as sock:
        _, fds, _, _ = socket.recv_fds(sock, 1, 1)
        return fds[0]


def _tell(message: dict[str, Any]) -> None:
    sys.stdout.buffer.write(json.dumps(message).encode() + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    serve(_JOBS)
