"""Records in journald's native protocol: one datagram a record, `NAME=value` lines. `fields` are those of each record.

https://systemd.io/JOURNAL_NATIVE_PROTOCOL; names and values as dockerd's driver has them. Used by `sender`.
"""

from __future__ import annotations

import struct

from .log import timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .sender import Encode, Partial

ERROR, INFO = b"3", b"6"


def encoder(fields: dict[str, Any]) -> Encode:
    constant = b"".join(_field(name, value.encode()) for name, value in fields.items())
    ordinal = 0

    def encode(stream: str, line: bytes, time_ns: int, partial: Partial | None) -> list[bytes]:
        nonlocal ordinal
        ordinal += 1
        pieces = [
            _field("MESSAGE", line),
            _field("PRIORITY", ERROR if stream == "stderr" else INFO),
            constant,
            _field("SYSLOG_TIMESTAMP", timestamp(time_ns).encode()),
            _field("CONTAINER_LOG_ORDINAL", str(ordinal).encode()),
        ]
        if partial is not None:
            line_id, number, is_last = partial
            pieces.append(_field("CONTAINER_PARTIAL_ID", line_id.encode()))
            pieces.append(_field("CONTAINER_PARTIAL_ORDINAL", str(number).encode()))
            pieces.append(_field("CONTAINER_PARTIAL_LAST", b"true" if is_last else b"false"))
            if not is_last:
                pieces.append(_field("CONTAINER_PARTIAL_MESSAGE", b"true"))
        return [b"".join(pieces)]

    return encode


def _field(name: str, value: bytes) -> bytes:
    if b"\n" in value:
        return b"%s\n%s%s\n" % (name.encode(), struct.pack("<Q", len(value)), value)
    return b"%s=%s\n" % (name.encode(), value)
