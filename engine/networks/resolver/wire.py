"""DNS messages as bytes (RFC 1035, 6891): what the resolver reads of a query, and its own answers.

Nearly every query is one question with at most an OPT record behind it, and is taken apart by hand here: a full parse
costs ten times as much. What is rare is made by dnslib, which is imported when it is first needed.
"""

from __future__ import annotations

import socket
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

A, PTR, MX, AAAA, OPT = 1, 12, 15, 28, 41
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, REFUSED = 0, 1, 2, 3, 5
IN = 1
TTL_S = 600
MIN_UDP_BYTES = 512
MAX_BYTES = 65535
HEADER = struct.Struct("!HHHHHH")
_RECORD = struct.Struct("!HHIH")
_QR, _AA, _TC, _RD, _RA = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080
_OPCODE = 0x7800
_RCODE = 0x000F
_NAME_OF_QUESTION = b"\xc0\x0c"
_OUR_OPT = b"\x00" + struct.pack("!HHIH", OPT, 4096, 0, 0)


class Query:
    """A question, and how long its answer may be. `name` is in lower case, without the last dot."""

    __slots__ = ("has_opt", "id", "limit", "name", "question", "rd", "type")

    def __init__(self, data: bytes) -> None:
        """Read a query; raise ValueError where it is none that can be answered."""
        if len(data) < HEADER.size:
            raise ValueError("too short")
        self.id, flags, questions, _, _, additional = HEADER.unpack_from(data)
        if flags & (_QR | _OPCODE) or questions != 1:
            raise ValueError("not a query")
        labels, end = _name(data, HEADER.size)
        if end + 4 > len(data):
            raise ValueError("no type")
        self.type, kind = struct.unpack_from("!HH", data, end)
        if kind != IN:
            self.type = 0
        self.name = b".".join(labels).decode("ascii", "replace").lower()
        self.question = data[HEADER.size : end + 4]
        self.rd = flags & _RD
        self.has_opt, self.limit = False, MIN_UDP_BYTES
        if additional and data[end + 4 : end + 7] == b"\x00\x00\x29" and len(data) >= end + 9:
            self.has_opt = True
            self.limit = max(MIN_UDP_BYTES, int.from_bytes(data[end + 7 : end + 9], "big"))


def _name(data: bytes, offset: int) -> tuple[list[bytes], int]:
    labels: list[bytes] = []
    while True:
        if offset >= len(data):
            raise ValueError("a name without end")
        size = data[offset]
        if size == 0:
            return labels, offset + 1
        if size > 63 or offset + 1 + size > len(data):
            raise ValueError("not a label")
        labels.append(data[offset + 1 : offset + 1 + size])
        offset += 1 + size


def addresses(query: Query, packed: Sequence[bytes], *, limit: int) -> bytes:
    """Return the answer with these addresses; those that do not fit are left out, and the client told so."""
    records = [_NAME_OF_QUESTION + _RECORD.pack(query.type, IN, TTL_S, len(address)) + address for address in packed]
    return _answer(query, records, limit=limit)


def pointer(query: Query, name: str, *, limit: int) -> bytes:
    """Return the answer that an address has this name."""
    from dnslib.dns import DNSBuffer

    buffer = DNSBuffer()
    buffer.encode_name_nocompress(name)
    data = bytes(buffer.data)
    return _answer(query, [_NAME_OF_QUESTION + _RECORD.pack(PTR, IN, TTL_S, len(data)) + data], limit=limit)


def empty(query: Query, code: int = NOERROR) -> bytes:
    """Return an answer without records: there are none of this type, or an error."""
    return _answer(query, [], limit=MAX_BYTES, code=code)


def format_error(data: bytes) -> bytes | None:
    """Return the answer to what is no query, nothing where even that makes no sense."""
    if len(data) < HEADER.size or data[2] & 0x80:
        return None
    return HEADER.pack(int.from_bytes(data[:2], "big"), _QR | _RA | FORMERR, 0, 0, 0, 0)


def code_of(answer: bytes) -> int:
    return answer[3] & _RCODE


def answers_to(answer: bytes, query: bytes) -> bool:
    """Whether an upstream's answer is one to this query: the same id and the same question."""
    if len(answer) < HEADER.size or answer[:2] != query[:2] or not answer[2] & 0x80:
        return False
    if answer[4:6] == b"\x00\x00":
        return True  # servers that refuse may leave the question out
    end = len(Query(query).question)
    asked, repeated = query[HEADER.size : HEADER.size + end], answer[HEADER.size : HEADER.size + end]
    return asked.lower() == repeated.lower()


def shortened(answer: bytes, limit: int) -> bytes:
    """Return an upstream's answer as far as the client takes it."""
    if len(answer) <= limit:
        return answer
    from dnslib import DNSRecord

    record = DNSRecord.parse(answer)
    shorter = record.truncate()
    return bytes(shorter.pack())


def _answer(query: Query, records: Sequence[bytes], *, limit: int, code: int = NOERROR) -> bytes:
    opt = _OUR_OPT if query.has_opt else b""
    flags = _QR | _RA | query.rd | code
    room = limit - HEADER.size - len(query.question) - len(opt)
    kept: list[bytes] = []
    for record in records:
        if len(record) > room:
            flags |= _TC
            break
        room -= len(record)
        kept.append(record)
    header = HEADER.pack(query.id, flags, 1, len(kept), 0, 1 if opt else 0)
    return header + query.question + b"".join(kept) + opt


def pack_address(text: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)
