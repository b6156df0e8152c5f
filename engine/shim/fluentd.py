"""Records in fluentd's forward protocol: `[tag, time, record]` in msgpack, one after another (mode "Message").

`fields`: tag, record (what each has), `sub_second` for EventTime, and `acknowledged` for messages that end with a word
by which the server says that it has them. Used by `sender`.
https://github.com/fluent/fluentd/wiki/Forward-Protocol-Specification-v1
"""

from __future__ import annotations

import base64
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .sender import Encode, Partial


def encoder(fields: dict[str, Any]) -> Encode:
    acknowledged = fields["acknowledged"]
    tag, constant, sub_second = text(fields["tag"].encode()), fields["record"], fields["sub_second"]

    def encode(stream: str, line: bytes, time_ns: int, partial: Partial | None) -> list[bytes]:
        record: dict[str, bytes] = {name: value.encode() for name, value in constant.items()}
        record |= {"source": stream.encode(), "log": line}
        if partial is not None:
            line_id, number, is_last = partial
            record["partial_message"] = b"true"
            record["partial_id"] = line_id.encode()
            record["partial_ordinal"] = str(number).encode()
            record["partial_last"] = b"true" if is_last else b"false"
        pairs = b"".join(text(name.encode()) + text(value) for name, value in record.items())
        body = tag + _time(time_ns, sub_second=sub_second) + _map_header(len(record)) + pairs
        if not acknowledged:
            return [b"\x93" + body]
        chunk = base64.b64encode(os.urandom(16))
        return [b"\x94" + body + _map_header(1) + text(b"chunk") + text(chunk)]

    return encode


def text(value: bytes) -> bytes:
    """Encode a string."""
    size = len(value)
    if size < 32:
        return bytes((0xA0 | size,)) + value
    if size < 256:
        return b"\xd9" + struct.pack(">B", size) + value
    if size < 65536:
        return b"\xda" + struct.pack(">H", size) + value
    return b"\xdb" + struct.pack(">I", size) + value


def _map_header(size: int) -> bytes:
    return bytes((0x80 | size,)) if size < 16 else b"\xde" + struct.pack(">H", size)


def _time(time_ns: int, *, sub_second: bool) -> bytes:
    seconds, nanoseconds = divmod(time_ns, 1_000_000_000)
    if sub_second:
        return b"\xd7\x00" + struct.pack(">II", seconds, nanoseconds)
    return b"\xce" + struct.pack(">I", seconds)
