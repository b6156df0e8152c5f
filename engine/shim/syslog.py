"""Records as syslog messages, in the formats that dockerd's driver has: its own, RFC 3164, and RFC 5424.

`fields`: facility (the number, shifted), format, tag, hostname, is_tls. Used by `sender`.
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .sender import Encode, Partial

ERROR, INFO = 3, 6
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def encoder(fields: dict[str, Any]) -> Encode:
    facility, tag, hostname, pid = fields["facility"], fields["tag"], fields["hostname"], os.getpid()
    style = fields["format"]
    # RFC 5425: in TLS the new format's messages have their length in front.
    is_framed = fields["is_tls"] and style.startswith("rfc5424")

    def encode(stream: str, line: bytes, _time_ns: int, _partial: Partial | None) -> list[bytes]:
        if not line:
            return []
        priority = facility | (ERROR if stream == "stderr" else INFO)
        now_ns = time.time_ns()
        if style == "rfc3164":
            head = f"<{priority}>{_stamp(now_ns)} {hostname} {tag}[{pid}]: "
        elif style:
            digits = 6 if style == "rfc5424micro" else 0
            head = f"<{priority}>1 {_rfc3339(now_ns, digits)} {hostname} {tag} {pid} {tag} - "
        else:
            head = f"<{priority}>{_stamp(now_ns)} {tag}[{pid}]: "
        message = head.encode() + line + b"\n"
        return [b"%d %b" % (len(message), message) if is_framed else message]

    return encode


def _stamp(time_ns: int) -> str:
    moment = time.localtime(time_ns // 1_000_000_000)
    clock = f"{moment.tm_hour:02}:{moment.tm_min:02}:{moment.tm_sec:02}"
    return f"{_MONTHS[moment.tm_mon - 1]} {moment.tm_mday:2} {clock}"


def _rfc3339(time_ns: int, digits: int) -> str:
    seconds, fraction = divmod(time_ns, 1_000_000_000)
    moment = time.localtime(seconds)
    sign, minutes = "-" if moment.tm_gmtoff < 0 else "+", abs(moment.tm_gmtoff) // 60
    zone = f"{sign}{minutes // 60:02}:{minutes % 60:02}" if minutes else "Z"
    text = time.strftime("%Y-%m-%dT%H:%M:%S", moment)
    return f"{text}.{fraction // 1000:06}{zone}" if digits else text + zone
