"""Signals by name and number, as `docker kill`, `docker stop` and `STOPSIGNAL` write them."""

from __future__ import annotations

import signal

from ..errors import InvalidArgument
from ..numbers import integer

_REALTIME = {f"RTMIN+{offset}": signal.SIGRTMIN + offset for offset in range(1, 16)}
_REALTIME |= {f"RTMAX-{offset}": signal.SIGRTMAX - offset for offset in range(1, 15)}
NUMBERS: dict[str, int] = {name.removeprefix("SIG"): int(item) for name, item in signal.Signals.__members__.items()}
NUMBERS |= _REALTIME
"""Every signal that Docker names, without `SIG`."""


def parse(text: str) -> int:
    """Read a name with or without `SIG` in either case, or a number other than 0."""
    if number := integer(text) or NUMBERS.get(text.upper().removeprefix("SIG")):
        return number
    raise InvalidArgument(f"invalid signal: {text}")


def parse_supported(text: str) -> int:
    """Like `parse`, and refuse a number that Linux has no signal for."""
    number = parse(text)
    if number not in NUMBERS.values():
        raise InvalidArgument(f"the linux daemon does not support signal {number}")
    return number
