"""From json-file records to what `docker logs` sends: selection, prefixes and stdcopy frames, a block at a time.

Pure bytes in, bytes out; `logfiles` finds the blocks, `logs` sends the result. One frame is made for each record, since
clients such as docker-py hand frames on as lines.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote_plus

import msgspec

from ..numbers import natural
from ..times import rfc3339

STREAMS = {"stdout": b"\x01\0\0\0", "stderr": b"\x02\0\0\0"}
"""The first half of each stream's stdcopy header."""


class Record(msgspec.Struct, gc=False):
    """One line of a json-file log."""

    log: str = ""
    stream: str = ""
    attrs: dict[str, str] | None = None
    time: str = ""


_DECODER = msgspec.json.Decoder(Record)


@dataclass(frozen=True, slots=True)
class LogsOptions:
    """What `GET /containers/{id}/logs` may ask for.

    Times are Unix nanoseconds, 0 for none; a tail that is no number means all.
    """

    stdout: bool = False
    stderr: bool = False
    since: int = 0
    until: int = 0
    timestamps: bool = False
    tail: str = "all"
    follow: bool = False
    details: bool = False

    @property
    def last_lines(self) -> int:
        """How many records from the end on, -1 for all."""
        return -1 if (number := natural(self.tail)) is None else number


class Formatter:
    """Turns whole records into output; `finished` once a record after `until` was seen."""

    def __init__(self, options: LogsOptions, *, framed: bool) -> None:
        self.finished = False
        self._options, self._framed = options, framed
        self._wanted = {name for name in STREAMS if getattr(options, name)}
        self._since, self._until = _comparable(options.since), _comparable(options.until)
        self._is_plain = len(self._wanted) == 2 and not (self._since or self._until or _has_prefix(options))
        self._headers: dict[tuple[str, int], bytes] = {}

    def format(self, block: bytes) -> bytes:
        """Format records that end in a newline each; a damaged one is left out."""
        if self.finished:
            return b""
        try:
            records = _DECODER.decode_lines(block)
        except (msgspec.DecodeError, UnicodeDecodeError):
            records = _decode_singly(block)
        pieces: list[bytes] = []
        for record in records if self._is_plain else self._select(records):
            data = record.log.encode(errors="replace")
            if self._framed:
                pieces.append(self._header(record.stream, len(data)))
            pieces.append(data)
        return b"".join(pieces)

    def _select(self, records: list[Record]) -> list[Record]:
        selected: list[Record] = []
        for record in records:
            moment = record.time.removesuffix("Z")
            if self._until and moment > self._until:
                self.finished = True
                break
            if record.stream in self._wanted and moment >= self._since:
                self._add_prefix(record, moment)
                selected.append(record)
        return selected

    def _add_prefix(self, record: Record, moment: str) -> None:
        if self._options.details:
            attributes = sorted((record.attrs or {}).items())
            shown = ",".join(f"{quote_plus(key)}={quote_plus(value)}" for key, value in attributes)
            record.log = f"{shown} {record.log}"
        if self._options.timestamps:
            whole, _, fraction = moment.partition(".")
            record.log = f"{whole}.{fraction:0<9}Z {record.log}"

    def _header(self, stream: str, length: int) -> bytes:
        header = self._headers.get((stream, length))
        if header is None:
            header = STREAMS.get(stream, STREAMS["stdout"]) + length.to_bytes(4, "big")
            self._headers[stream, length] = header
        return header


def _has_prefix(options: LogsOptions) -> bool:
    return options.timestamps or options.details


def _comparable(time_ns: int) -> str:
    """Return a time as text that sorts as times do: a `Z` would sort after the fraction's dot."""
    return rfc3339(time_ns).removesuffix("Z") if time_ns else ""


def _decode_singly(block: bytes) -> list[Record]:
    records: list[Record] = []
    for line in block.split(b"\n"):
        try:
            records.append(_DECODER.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
    return records
