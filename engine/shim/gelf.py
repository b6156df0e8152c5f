"""Records as GELF 1.1: JSON objects, compressed and in chunks over UDP, ended by a null byte over TCP.

`fields`: hostname, `extra` (the additional fields, with their underscores), network, compression, level. Used by
`sender`. https://go2docs.graylog.org/current/getting_in_log_data/gelf.html
"""

from __future__ import annotations

import json
import os
import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .sender import Encode, Partial

CHUNK_BYTES = 1420
HEADER_BYTES = 12
MAX_CHUNKS = 128
ERROR, INFO = 3, 6
_WBITS = {"gzip": 31, "zlib": 15}


def encoder(fields: dict[str, Any]) -> Encode:
    over_tcp, compression, level = fields["network"] == "tcp", fields["compression"], fields["level"]

    def encode(stream: str, line: bytes, time_ns: int, _partial: Partial | None) -> list[bytes]:
        if not line:
            return []
        record = {
            "version": "1.1",
            "host": fields["hostname"],
            "short_message": line.decode("utf-8", "replace"),
            "timestamp": time_ns // 1_000_000 / 1000,
            "level": ERROR if stream == "stderr" else INFO,
            **fields["extra"],
        }
        data = json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        if over_tcp:
            return [data + b"\0"]
        if compression in _WBITS:
            compressor = zlib.compressobj(level, wbits=_WBITS[compression])
            data = compressor.compress(data) + compressor.flush()
        return chunks(data)

    return encode


def chunks(data: bytes) -> list[bytes]:
    """Cut a datagram into GELF's chunks; what does not fit into as many as there may be is dropped."""
    if len(data) <= CHUNK_BYTES:
        return [data]
    size = CHUNK_BYTES - HEADER_BYTES
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    if len(pieces) > MAX_CHUNKS:
        return []
    message_id = os.urandom(8)
    return [b"\x1e\x0f" + message_id + bytes((number, len(pieces))) + piece for number, piece in enumerate(pieces)]
