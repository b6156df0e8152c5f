"""Writing tar streams: ustar headers, PAX records where those do not suffice, data straight from file to stream.

The counterpart of `tar.py`, used by worker processes for `docker cp`, `export` and `commit`. Which members there are
is decided in `pack.py`. Headers are those of Go's archive/tar as dockerd has it write them: whole seconds, no names of
users.
"""

from __future__ import annotations

import errno
import os
import stat

from .tar import BLOCK, DIRECTORY, PAX, REGULAR, XATTR_PREFIX

TYPE_CHECKING = False
if TYPE_CHECKING:
    import hashlib
    import zlib

    from .ids import Ids

_BUFFERED = 1 << 17
_PIECE = 1 << 20
_MAX_OCTAL_ID = 0o7777777
_MAX_OCTAL_SIZE = 0o77777777777
_HEADER_FORMAT = b"%b%07o\0%07o\0%07o\0%011o\0%011o\0        %b%bustar\x0000%b%07o\0%07o\0%b"
_NO_NAMES = bytes(64)
_TAIL = bytes(12)
_WINDOW_BITS = {"gzip": 31, "deflate": -15}


class Output:
    """Where an archive goes: a pipe or file, compressed or digested on the way where that is asked for."""

    def __init__(self, fd: int, *, compression: str = "", digested: bool = False) -> None:
        self._fd = fd
        self._buffer = bytearray()
        self._compressor = _compressor(compression) if compression else None
        self._sha256 = _sha256() if digested else None
        self.size = 0
        self._may_splice = not compression and not digested

    @property
    def digest(self) -> str:
        return f"sha256:{self._sha256.hexdigest()}" if self._sha256 else ""

    def write(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) >= _BUFFERED:
            self._flush()

    def copy(self, source_fd: int, size: int) -> None:
        """Write exactly `size` bytes of a file that may change meanwhile: what it lacks is zeros."""
        left = size
        if self._may_splice and size > _BUFFERED:
            self._flush()
            left -= self._splice(source_fd, size)
        while left and (chunk := os.read(source_fd, min(left, _PIECE))):
            left -= len(chunk)
            self.write(chunk)
        while left:
            missing = min(left, _PIECE)
            left -= missing
            self.write(bytes(missing))

    def close(self) -> None:
        """Write what is left, and the end of the compressed stream."""
        self._flush()
        if self._compressor is not None:
            self._write_all(self._compressor.flush())

    def _splice(self, source_fd: int, size: int) -> int:
        done = 0
        try:
            while done < size and (sent := os.sendfile(self._fd, source_fd, done, min(size - done, _PIECE))):
                done += sent
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOSYS) or done:
                raise
            return 0  # the file system has no such thing
        os.lseek(source_fd, done, os.SEEK_SET)
        return done

    def _flush(self) -> None:
        data = bytes(self._buffer)
        self._buffer.clear()
        if self._sha256 is not None:
            self._sha256.update(data)
        self.size += len(data)
        self._write_all(self._compressor.compress(data) if self._compressor is not None else data)

    def _write_all(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]


class TarWriter:
    """Writes one member after the other; with the ids of a container, files have those that it sees."""

    def __init__(self, output: Output, *, ids: Ids | None = None) -> None:
        self._output = output
        self._ids = ids

    def add(
        self,
        name: bytes,
        status: os.stat_result,
        *,
        kind: bytes,
        link: bytes = b"",
        xattrs: list[tuple[str, bytes]] | None = None,
        source_fd: int = -1,
    ) -> None:
        """Write a member with a file's attributes; `source_fd` has the data of a regular one."""
        size = status.st_size if kind == REGULAR else 0
        if kind == DIRECTORY and not name.endswith(b"/"):
            name += b"/"
        self._header(name, status.st_mode, status, kind=kind, link=link, size=size, xattrs=xattrs or [])
        if size:
            self._output.copy(source_fd, size)
            self._output.write(bytes(-size % BLOCK))

    def add_empty(self, name: bytes, mode: int, status: os.stat_result) -> None:
        """Write an empty file with its owner and times from elsewhere: the marks of layers are such."""
        self._header(name, stat.S_IFREG | mode, status, kind=REGULAR, link=b"", size=0, xattrs=[])

    def close(self) -> None:
        self._output.write(bytes(2 * BLOCK))
        self._output.close()

    def _header(
        self,
        name: bytes,
        mode: int,
        status: os.stat_result,
        *,
        kind: bytes,
        link: bytes,
        size: int,
        xattrs: list[tuple[str, bytes]],
    ) -> None:
        records = [(f"{XATTR_PREFIX}{key}".encode("utf-8", "surrogateescape"), value) for key, value in xattrs]
        uid, gid, mtime = status.st_uid, status.st_gid, int(status.st_mtime)
        if self._ids is not None:
            uid, gid = self._ids.inside(uid, gid)
        if len(name) > 100 or not name.isascii():
            name, prefix = _split(name, records)
        else:
            prefix = b""
        if len(link) > 100 or not link.isascii():
            records.append((b"linkpath", link))
            link = link[:100]
        if uid > _MAX_OCTAL_ID or gid > _MAX_OCTAL_ID or size > _MAX_OCTAL_SIZE or not 0 <= mtime <= _MAX_OCTAL_SIZE:
            numbers = ((b"uid", uid, _MAX_OCTAL_ID), (b"gid", gid, _MAX_OCTAL_ID), (b"size", size, _MAX_OCTAL_SIZE))
            records += [(key, b"%d" % value) for key, value, limit in numbers if value > limit]
            if not 0 <= mtime <= _MAX_OCTAL_SIZE:
                records.append((b"mtime", b"%d" % mtime))
            uid, gid, mtime = min(uid, _MAX_OCTAL_ID), min(gid, _MAX_OCTAL_ID), min(max(mtime, 0), _MAX_OCTAL_SIZE)
        if records:
            self._extension(name, records)
        device = status.st_rdev if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else 0
        head = name.ljust(100, b"\0"), mode & 0o177777, uid, gid, min(size, _MAX_OCTAL_SIZE), mtime
        tail = kind, link.ljust(100, b"\0"), _NO_NAMES, os.major(device), os.minor(device), prefix.ljust(155, b"\0")
        self._output.write(_summed(_HEADER_FORMAT % (*head, *tail) + _TAIL))

    def _extension(self, name: bytes, records: list[tuple[bytes, bytes]]) -> None:
        data = b"".join(_record(key, value) for key, value in sorted(records))
        base = b"PaxHeaders.0/" + name.rstrip(b"/").rpartition(b"/")[2][:80]
        head = base.ljust(100, b"\0"), 0, 0, 0, len(data), 0
        self._output.write(
            _summed(_HEADER_FORMAT % (*head, PAX, bytes(100), _NO_NAMES, 0, 0, bytes(155)) + _TAIL)
            + data
            + bytes(-len(data) % BLOCK)
        )


def _compressor(compression: str) -> zlib._Compress:
    import zlib  # this and hashlib take longer to load than most archives take

    return zlib.compressobj(6, zlib.DEFLATED, _WINDOW_BITS[compression])


def _sha256() -> hashlib._Hash:
    import hashlib

    return hashlib.sha256()


def _summed(header: bytes) -> bytes:
    return header[:148] + b"%06o\0 " % sum(header) + header[156:]


def _split(name: bytes, records: list[tuple[bytes, bytes]]) -> tuple[bytes, bytes]:
    """Return name and prefix as ustar has them; where those do not hold it, a record does."""
    if name.isascii() and len(name) <= 256:
        start = name.rfind(b"/", 0, min(156, len(name) - 1))
        if start > 0 and len(name) - start - 1 <= 100:
            return name[start + 1 :], name[:start]
    records.append((b"path", name))
    return name[:100], b""


def _record(key: bytes, value: bytes) -> bytes:
    """Return `<length> <key>=<value>\\n`, whose length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    if len(str(length)) != len(str(rest)):
        length = rest + len(str(length))
    return b"%d %b=%b\n" % (length, key, value)
