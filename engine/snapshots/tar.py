"""Reading tar streams: ustar, PAX and GNU headers, long names, sparse files, extended attributes.

A lean reader for layers and image archives: names stay bytes, one `Entry` a member, data is handed on from a buffer of
a mebibyte. The standard library's `tarfile` takes five times as long a member. It reads; it never touches the file
system (that is `layer.py`) and knows no compression (that is `compression.py`).
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

BLOCK = 512
BUFFER = 1 << 20
MAX_EXTENSION = 1 << 20
"""The most that a long name or a PAX header may take, as in Go's archive/tar."""

REGULAR, HARD_LINK, SYMLINK, CHAR, BLOCK_DEVICE, DIRECTORY, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
PAX, PAX_GLOBAL, GNU_LONG_NAME, GNU_LONG_LINK, GNU_SPARSE = b"x", b"g", b"L", b"K", b"S"
XATTR_PREFIX = "SCHILY.xattr."
ZEROES = bytes(BLOCK)


class TarError(Exception):
    """The stream is not a tar archive, or ends in the middle. Messages are those of Go's archive/tar."""


class Entry:
    """One member of an archive."""

    __slots__ = (
        "atime_ns", "gid", "kind", "link", "major", "minor", "mode", "mtime_ns", "name", "size", "sparse", "uid",
        "xattrs",
    )  # fmt: skip

    def __init__(self, header: bytes) -> None:
        self.kind = header[156:157]
        self.mode = _number(header[100:108]) & 0o7777
        self.uid = _number(header[108:116])
        self.gid = _number(header[116:124])
        self.size = _number(header[124:136])
        self.mtime_ns = _number(header[136:148]) * 1_000_000_000
        self.atime_ns = 0
        self.name = _text(header[0:100])
        self.link = _text(header[157:257])
        self.major = self.minor = 0
        self.xattrs: list[tuple[str, bytes]] = []
        self.sparse: list[tuple[int, int]] | None = None
        magic = header[257:263]
        if magic[:5] == b"ustar":
            if self.kind in (CHAR, BLOCK_DEVICE):
                self.major, self.minor = _number(header[329:337]), _number(header[337:345])
            if magic == b"ustar\0" and header[345]:
                self.name = _text(header[345:500]) + b"/" + self.name


class TarReader:
    """Members one after the other; the data of the present one by `copy_to` or `read`."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        """Read from `read(n)`, which returns at most n bytes, and none at the end."""
        self._source = read
        self._buffer = b""
        self._position = 0
        self._remaining = 0
        self._padding = 0

    def next(self) -> Entry | None:
        """Return the next member, None at the end of the archive. Data of the last one that was not read is skipped."""
        self._skip(self._remaining)
        padding, self._remaining, self._padding = self._padding, 0, 0
        try:
            self._skip(padding)
        except TarError:
            return None  # Go's reader takes this for an end, and the CLI ends archives so that it adds a Dockerfile to
        records: dict[str, bytes] = {}
        long_name = long_link = b""
        while True:
            header = self._header()
            if header is None:
                return None
            entry = Entry(header)
            if entry.kind == PAX:
                records = _pax_records(self._extension(entry.size))
            elif entry.kind == GNU_LONG_NAME:
                long_name = _text(self._extension(entry.size))
            elif entry.kind == GNU_LONG_LINK:
                long_link = _text(self._extension(entry.size))
            else:
                break
        entry.name = long_name or entry.name
        entry.link = long_link or entry.link
        if records and entry.kind != PAX_GLOBAL:
            _apply_pax(entry, records)
        self._start(entry, header, records)
        return entry

    def _start(self, entry: Entry, header: bytes, records: dict[str, bytes]) -> None:
        """Set the reader to the entry's data, and the entry to what it stands for."""
        if entry.kind in (b"\0", REGULAR):
            entry.kind = DIRECTORY if entry.name.endswith(b"/") else REGULAR
        if entry.kind in (HARD_LINK, SYMLINK, CHAR, BLOCK_DEVICE, DIRECTORY, FIFO):
            entry.size = 0
        if entry.size < 0:
            raise TarError("archive/tar: invalid tar header")
        self._remaining = entry.size
        self._padding = -entry.size % BLOCK
        if entry.kind == GNU_SPARSE:
            entry.kind = REGULAR
            entry.sparse = self._old_sparse_map(header)
            entry.size = _number(header[483:495])
        elif "GNU.sparse.major" in records or "GNU.sparse.map" in records:
            entry.sparse = self._pax_sparse_map(records)
            entry.name = records.get("GNU.sparse.name", entry.name)
            entry.size = _decimal(records.get("GNU.sparse.realsize") or records.get("GNU.sparse.size") or b"0")
        if entry.sparse is not None and not _is_valid_sparse(entry.sparse, entry.size, self._remaining):
            raise TarError("archive/tar: invalid tar header")

    def copy_to(self, fd: int, entry: Entry) -> None:
        """Write the present member's data into the empty file `fd`."""
        if entry.sparse is None:
            self._write(fd, self._remaining)
            return
        for offset, length in entry.sparse:
            os.lseek(fd, offset, os.SEEK_SET)
            self._write(fd, length)
        os.ftruncate(fd, entry.size)

    def read(self, limit: int = BUFFER) -> bytes:
        """Return some of the present member's data, none at its end."""
        if not self._remaining:
            return b""
        chunk = self._some(min(self._remaining, limit))
        self._remaining -= len(chunk)
        return chunk

    def drain(self) -> None:
        """Read what follows the archive, so that a digest of the stream covers it."""
        while self._source(BUFFER):
            pass

    def _write(self, fd: int, length: int) -> None:
        self._remaining -= length
        while length:
            chunk = self._some(min(length, BUFFER))
            length -= len(chunk)
            while (written := os.write(fd, chunk)) < len(chunk):
                chunk = chunk[written:]

    def _some(self, limit: int) -> bytes:
        """Return between one and `limit` bytes; the end of the stream is an error here."""
        if self._position == len(self._buffer):
            self._buffer = self._source(BUFFER)
            self._position = 0
            if not self._buffer:
                raise TarError("unexpected EOF")
        chunk = self._buffer[self._position : self._position + limit]
        self._position += len(chunk)
        return chunk

    def _exactly(self, length: int) -> bytes:
        if len(self._buffer) - self._position >= length:
            self._position += length
            return self._buffer[self._position - length : self._position]
        parts = []
        while length:
            parts.append(self._some(length))
            length -= len(parts[-1])
        return b"".join(parts)

    def _skip(self, length: int) -> None:
        while length:
            length -= len(self._some(min(length, BUFFER)))

    def _extension(self, size: int) -> bytes:
        if not 0 <= size <= MAX_EXTENSION:
            raise TarError("archive/tar: header field too long")
        data = self._exactly(size)
        self._skip(-size % BLOCK)
        return data

    def _header(self) -> bytes | None:
        """Return the next header block, None at the end: two zero blocks, or nothing more."""
        if self._position == len(self._buffer):
            self._buffer, self._position = self._source(BUFFER), 0
            if not self._buffer:
                return None
        header = self._exactly(BLOCK)
        if header != ZEROES:
            _check_sum(header)
            return header
        if self._position == len(self._buffer):
            self._buffer, self._position = self._source(BUFFER), 0
            if not self._buffer:
                return None
        if self._exactly(BLOCK) != ZEROES:
            raise TarError("archive/tar: invalid tar header")
        return None

    def _old_sparse_map(self, header: bytes) -> list[tuple[int, int]]:
        found = _sparse_pairs(header[386:482])
        is_extended = header[482]
        while is_extended:
            block = self._exactly(BLOCK)
            found += _sparse_pairs(block[:504])
            is_extended = block[504]
        return found

    def _pax_sparse_map(self, records: dict[str, bytes]) -> list[tuple[int, int]]:
        """Return the map of PAX 0.0, 0.1 (in the records) or 1.0 (decimal lines in front of the data)."""
        if "GNU.sparse.map" in records:
            numbers = [_decimal(part) for part in records["GNU.sparse.map"].split(b",") if part]
            return list(zip(numbers[::2], numbers[1::2], strict=True)) if len(numbers) % 2 == 0 else [(-1, 0)]
        lines: list[bytes] = []
        tail = b""
        wanted = 1
        while len(lines) < wanted:
            if len(lines) > MAX_EXTENSION:
                raise TarError("archive/tar: header field too long")
            tail += self._exactly(BLOCK)
            self._remaining -= BLOCK
            *complete, tail = tail.split(b"\n")
            lines += complete
            if lines:
                wanted = 1 + 2 * _decimal(lines[0])
        numbers = [_decimal(line) for line in lines[1:wanted]]
        return list(zip(numbers[::2], numbers[1::2], strict=True))


def _text(field: bytes) -> bytes:
    end = field.find(b"\0")
    return field if end < 0 else field[:end]


def _number(field: bytes) -> int:
    """Decode an octal or a base-256 number."""
    try:
        return int(field[:-1], 8) if field[-1] in b"\0 " else int(field, 8)
    except ValueError:
        pass
    if field[0] & 0x80:
        value = int.from_bytes(field, "big", signed=False)
        bits = 8 * len(field)
        return value - (1 << bits) if field[0] & 0x40 else value - (1 << bits - 1)
    digits = field.strip(b" \0")
    try:
        return int(_text(digits), 8) if digits else 0
    except ValueError:
        raise TarError("archive/tar: invalid tar header") from None


def _decimal(text: bytes) -> int:
    if not text.isdigit():
        raise TarError("archive/tar: invalid tar header")
    return int(text)


def _check_sum(header: bytes) -> None:
    expected = _number(header[148:156])
    field = header[148:156]
    if sum(header) - sum(field) + 256 == expected:
        return
    # Old tars added up signed characters.
    signed = sum(byte - 256 if byte > 127 else byte for byte in header)
    if signed - sum(byte - 256 if byte > 127 else byte for byte in field) + 256 != expected:
        raise TarError("archive/tar: invalid tar header")


def _sparse_pairs(table: bytes) -> list[tuple[int, int]]:
    found = []
    for start in range(0, len(table), 24):
        if not table[start]:
            break
        found.append((_number(table[start : start + 12]), _number(table[start + 12 : start + 24])))
    return found


def _is_valid_sparse(fragments: list[tuple[int, int]], size: int, stored: int) -> bool:
    end = 0
    for offset, length in fragments:
        if offset < end or length < 0 or offset + length > size:
            return False
        end = offset + length
    return sum(length for _, length in fragments) == stored


def _pax_records(data: bytes) -> dict[str, bytes]:
    """Split the records `<length> <key>=<value>\\n`."""
    records: dict[str, bytes] = {}
    sparse: list[bytes] = []
    while data:
        digits, _, _ = data.partition(b" ")
        if not digits.isdigit() or not len(digits) + 3 <= int(digits[:10]) <= len(data):
            raise TarError("archive/tar: invalid tar header")
        length = int(digits)
        key, separator, value = data[len(digits) + 1 : length - 1].partition(b"=")
        if not separator or data[length - 1 : length] != b"\n" or (b"\0" in value and not _may_hold_zero(key)):
            raise TarError("archive/tar: invalid tar header")
        name = key.decode("utf-8", "surrogateescape")
        if name in ("GNU.sparse.offset", "GNU.sparse.numbytes"):
            sparse.append(value)
        records[name] = value
        data = data[length:]
    if sparse:
        records["GNU.sparse.map"] = b",".join(sparse)
    return records


def _may_hold_zero(key: bytes) -> bool:
    return key.startswith(b"SCHILY.xattr.")


def _apply_pax(entry: Entry, records: dict[str, bytes]) -> None:
    for key, value in records.items():
        if key.startswith(XATTR_PREFIX):
            entry.xattrs.append((key[len(XATTR_PREFIX) :], value))
        elif not value:
            continue
        elif key == "path":
            entry.name = value
        elif key == "linkpath":
            entry.link = value
        elif key == "size":
            entry.size = _decimal(value)
        elif key == "uid":
            entry.uid = _decimal(value)
        elif key == "gid":
            entry.gid = _decimal(value)
        elif key == "mtime":
            entry.mtime_ns = _nanoseconds(value)
        elif key == "atime":
            entry.atime_ns = _nanoseconds(value)


def _nanoseconds(value: bytes) -> int:
    seconds, _, fraction = value.partition(b".")
    is_negative = seconds.startswith(b"-")
    if not seconds.lstrip(b"-").isdigit() or (fraction and not fraction.isdigit()):
        raise TarError("archive/tar: invalid tar header")
    nanoseconds = int(fraction[:9].ljust(9, b"0"))
    return int(seconds) * 1_000_000_000 + (-nanoseconds if is_negative else nanoseconds)
