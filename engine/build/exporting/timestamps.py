"""Tar streams whose files are no newer than a moment (`rewrite-timestamp`): headers are patched, all else passes.

As BuildKit does, times that are earlier stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ...errors import InvalidArgument, NotImplemented

_BLOCK, _CHUNK = 512, 1 << 20
_ZEROES = bytes(_BLOCK)
_PAX, _SPARSE = b"x", b"S"
_TIMES = (b"mtime", b"atime", b"ctime")
_MTIME, _SIZE, _SUM = slice(136, 148), slice(124, 136), slice(148, 156)


def clamped(read: Callable[[int], bytes], latest_s: int) -> Iterator[bytes]:
    """Yield a tar stream anew. Raises InvalidArgument for what is none."""
    latest_s = max(latest_s, 0)
    size_of_next: int | None = None
    while (header := _exactly(read, _BLOCK)) != _ZEROES:
        kind, size = header[156:157], _number(header[_SIZE])
        if kind == _SPARSE:
            raise NotImplemented("timestamps of sparse archives cannot be rewritten")
        if kind == _PAX:
            data = _exactly(read, _padded(size))[:size]
            data, size_of_next = _records(data, latest_s)
            yield _patched(header, latest_s, size=len(data))
            yield data.ljust(_padded(len(data)), b"\0")
            continue
        yield _patched(header, latest_s)
        left = _padded(size if size_of_next is None else size_of_next)
        size_of_next = None
        while left:
            piece = _exactly(read, min(left, _CHUNK))
            left -= len(piece)
            yield piece
    yield header
    while piece := read(_CHUNK):
        yield piece


def _number(field: bytes) -> int:
    """Read an octal number, or one of GNU's binary ones. Raises InvalidArgument."""
    if field[0] & 0x80:
        return int.from_bytes(field, "big", signed=True) if field[0] == 0xFF else int.from_bytes(field[1:], "big")
    try:
        return int(field.strip(b" \0") or b"0", 8)
    except ValueError as error:
        raise InvalidArgument("a layer is no tar archive") from error


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _exactly(read: Callable[[int], bytes], size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = read(size - len(data))
        if not piece:
            raise InvalidArgument("a layer ends in the middle of a file")
        data = data + piece if data else piece
    return data


def _patched(header: bytes, latest_s: int, *, size: int | None = None) -> bytes:
    """Return a header with the earlier of two times; its checksum is counted as if it were spaces."""
    fields = bytearray(header)
    if _number(header[_MTIME]) > latest_s:
        fields[_MTIME] = b"%011o\0" % latest_s
    if size is not None:
        fields[_SIZE] = b"%011o\0" % size
    fields[_SUM] = b" " * 8
    fields[_SUM] = b"%06o\0 " % sum(fields)
    return bytes(fields)


def _records(data: bytes, latest_s: int) -> tuple[bytes, int | None]:
    """Return the records of a PAX header with the earlier times, and the size that they give the file."""
    made, size = b"", None
    while data:
        digits, _, _ = data.partition(b" ")
        if not digits.isdigit() or not len(digits) + 3 <= int(digits) <= len(data):
            raise InvalidArgument("a layer has a PAX header that cannot be read")
        record, data = data[: int(digits)], data[int(digits) :]
        key, _, value = record[len(digits) + 1 : -1].partition(b"=")
        if key == b"size":
            size = int(value)
        made += _record(key, b"%d" % latest_s) if key in _TIMES and float(value) > latest_s else record
    return made, size


def _record(key: bytes, value: bytes) -> bytes:
    """Return a record, whose length in front counts its own digits, which are two here."""
    return b"%d %b=%b\n" % (len(key) + len(value) + 5, key, value)
