"""The container's log in dockerd's json-file format, written by the shim.

One record a line: `{"log":"text\\n","stream":"stdout","attrs":{…},"time":"2024-01-01T00:00:00.000000001Z"}`; `attrs`
only where there are some. A line longer than 16 KiB is cut into records of which only the last text ends in a newline;
so does a last line without one. The text is escaped as dockerd does it; a byte that is not UTF-8 becomes \\ufffd.

The files, for those who read them: `<path>` (`<id>-json.log`) is written to. Where it has reached max_size before a
record, the record goes into a new file: with max_file 1 the old one is unlinked, otherwise renamed to `<path>.1` after
`<path>.1` became `<path>.2` and so on, up to `<path>.<max_file - 1>`. With compress the rotated files end in ".gz"
instead; the newest is `<path>.1` until its compression is complete. Records are never split between files.

Works on chunks, never line by line: all lines of a read share its time. Reading logs is the daemon's.
"""

from __future__ import annotations

import json
import os
import re
import time

from ..runtime import linux

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

MAX_RECORD_BYTES = 16 * 1024
_ESCAPES = {code: b"\\u00%02x" % code for code in (*range(0x20), *b"<>&")}
_ESCAPES |= {ord('"'): b'\\"', ord("\\"): b"\\\\", ord("\r"): b"\\r"}
del _ESCAPES[ord("\n")]
_PLAIN = bytes(code for code in range(0x100) if code not in _ESCAPES)


_INVALID = re.compile("[\udc80-\udcff]")


def escape(text: bytes) -> bytes:
    """Return `text` as inside a JSON string of dockerd's, its newlines left as they are."""
    special = text.translate(None, _PLAIN)
    if b"\\" in special:
        text = text.replace(b"\\", b"\\\\")
        special = special.replace(b"\\", b"")
    while special:
        character = special[:1]
        text = text.replace(character, _ESCAPES[special[0]])
        special = special.replace(character, b"")
    if text.isascii():
        return text
    text = _INVALID.sub(r"\\ufffd", text.decode("utf-8", "surrogateescape")).encode()
    return text.replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")


def timestamp(time_ns: int) -> str:
    """Format a time as Go's RFC3339Nano: UTC, no trailing zeros in the fraction."""
    seconds, nanoseconds = divmod(time_ns, 1_000_000_000)
    fraction = f".{nanoseconds:09}".rstrip("0").rstrip(".")
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + fraction + "Z"


def split_records(chunk: bytes) -> tuple[list[bytes], bytes]:
    """Cut a chunk that begins where a record does: (runs of whole records, an unfinished rest).

    A run ends in a newline and has only lines below 16 KiB in it, or it is one record cut off a longer line.
    """
    runs: list[bytes] = []
    start = position = 0
    while True:
        newline = chunk.rfind(b"\n", position, position + MAX_RECORD_BYTES)
        if newline >= 0:
            position = newline + 1
            continue
        if position > start:
            runs.append(chunk[start:position])
        if len(chunk) - position < MAX_RECORD_BYTES:
            return runs, chunk[position:]
        start, position = position, _character_start(chunk, position + MAX_RECORD_BYTES)
        runs.append(chunk[start:position])
        start = position


def _character_start(chunk: bytes, index: int) -> int:
    """Return `index`, or where the UTF-8 character begins that a cut there would split (dockerd splits it)."""
    for back in (1, 2, 3):
        byte = chunk[index - back]
        if byte < 0x80:
            break
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return index - back if length > back else index
    return index


class JsonFile:
    """The log's writer: text goes in as it is read, whole records come out."""

    def __init__(
        self,
        path: str,
        *,
        max_size: int = -1,
        max_file: int = 1,
        compress: bool = False,
        attrs: Mapping[str, str] | None = None,
    ) -> None:
        self._file = RotatedFile(path, max_size=max_size, max_file=max_file, compress=compress)
        self._attrs = b'"attrs":%s,' % _attrs(attrs) if attrs else b""
        self._rests: dict[str, bytes] = {}
        self._line_times: dict[str, str] = {}

    def write(self, stream: str, data: bytes) -> None:
        """Take what was read from `stream`; a line's beginning is kept until its end comes."""
        runs, rest = split_records(self._rests.get(stream, b"") + data)
        self._rests[stream] = rest
        if runs:
            now = timestamp(time.time_ns())
            self._file.append(b"".join([self._encode(stream, run, now) for run in runs]))

    def finish(self, stream: str) -> None:
        """Write a last line that has no newline."""
        rest = self._rests.pop(stream, b"")
        if rest:
            self._file.append(self._encode(stream, rest, timestamp(time.time_ns())))

    def rest(self, stream: str) -> bytes:
        """Return what was read and is not yet in the file: the beginning of a line."""
        return self._rests.get(stream, b"")

    def position(self) -> dict[str, Any]:
        return {"path": self._file.path, "offset": self._file.size}

    def close(self) -> None:
        for stream in list(self._rests):
            self.finish(stream)
        self._file.close()

    def _encode(self, stream: str, run: bytes, now: str) -> bytes:
        """All records of one line have the time of the first, as in dockerd's log."""
        if not run.endswith(b"\n"):
            line_time = self._line_times.setdefault(stream, now)
            return b'{"log":"' + escape(run) + self._record_end(stream, line_time)
        line_time = self._line_times.pop(stream, now)
        if line_time != now:
            first_end = run.index(b"\n") + 1
            return self._lines(stream, run[:first_end], line_time) + self._lines(stream, run[first_end:], now)
        return self._lines(stream, run, now)

    def _lines(self, stream: str, run: bytes, now: str) -> bytes:
        if not run:
            return b""
        end = b"\\n" + self._record_end(stream, now)
        return b'{"log":"' + escape(run)[:-1].replace(b"\n", end + b'{"log":"') + end

    def _record_end(self, stream: str, now: str) -> bytes:
        return b'","stream":"%s",%s"time":"%s"}\n' % (stream.encode(), self._attrs, now.encode())


def _attrs(attrs: Mapping[str, str]) -> bytes:
    text = json.dumps(attrs, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode("utf-8", "replace")


class RotatedFile:
    """The file that records are appended to, and its older ones. A full disk loses records, never the container."""

    def __init__(self, path: str, *, max_size: int, max_file: int, compress: bool) -> None:
        self.path = path
        self._max_size = max_size
        self._max_file = max_file
        self._compress = compress
        self._compressor_pid = 0
        self._fd = self._open(0)
        self.size = os.fstat(self._fd).st_size

    def append(self, records: bytes) -> None:
        while self._max_size > 0 and records:
            if self.size >= self._max_size:
                self._rotate()
            end = records.find(b"\n", max(self._max_size - self.size - 1, 0)) + 1
            self._write(records[: end or len(records)])
            records = records[end:] if end else b""
        if records:
            self._write(records)

    def close(self) -> None:
        self._wait_for_compressor()
        os.close(self._fd)

    def _open(self, flags: int) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | flags, 0o640)

    def _write(self, records: bytes) -> None:
        view = memoryview(records)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError:
            # Half a record would make the file unreadable from there on
            os.ftruncate(self._fd, self.size)
        else:
            self.size += len(records)

    def _rotate(self) -> None:
        self._wait_for_compressor()
        os.close(self._fd)
        if self._max_file < 2:
            _try(os.unlink, self.path)
        else:
            suffix = ".gz" if self._compress else ""
            for number in range(self._max_file - 1, 1, -1):
                _try(os.rename, f"{self.path}.{number - 1}{suffix}", f"{self.path}.{number}{suffix}")
            _try(os.rename, self.path, f"{self.path}.1")
        self._fd = self._open(os.O_TRUNC)
        self.size = 0
        if self._compress and self._max_file > 1:
            self._compressor_pid = _fork_compressor(f"{self.path}.1")

    def _wait_for_compressor(self) -> None:
        if self._compressor_pid:
            try:
                os.waitpid(self._compressor_pid, 0)
            except ChildProcessError:
                pass  # the shim's loop has reaped it
            self._compressor_pid = 0


def _try(call: Callable[..., None], *paths: str) -> None:
    try:
        call(*paths)
    except OSError:
        pass  # dockerd goes on too: older logs may be missing, the new file is what matters


def _fork_compressor(path: str) -> int:
    """Compress `path` to `path.gz` in a child, so that the container's output does not wait for it."""
    pid = os.fork()
    if pid:
        return pid
    try:
        linux.close_range(0, 0xFFFFFFFF)
        import zlib

        compressor = zlib.compressobj(wbits=31)
        with open(path, "rb") as source, open(os.open(f"{path}.gz", _GZ_FLAGS, 0o640), "wb") as target:
            while chunk := source.read(1 << 20):
                target.write(compressor.compress(chunk))
            target.write(compressor.flush())
        os.unlink(path)
    finally:
        os._exit(0)


_GZ_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
