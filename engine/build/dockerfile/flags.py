"""The flags of one instruction: `--name=value` and `--name`, checked against those that it knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ...errors import InvalidArgument
from .suggestions import suggestion


@dataclass(slots=True)
class Flags:
    """`booleans` and `texts` as they were given; `lists` hold the flags that may be given more than once."""

    booleans: dict[str, bool] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    lists: dict[str, list[str]] = field(default_factory=dict)

    def text(self, name: str) -> str:
        return self.texts.get(name, "")

    def all(self, name: str) -> tuple[str, ...]:
        return tuple(self.lists.get(name, ()))


def parse_flags(
    words: Sequence[str], *, booleans: Sequence[str] = (), texts: Sequence[str] = (), lists: Sequence[str] = ()
) -> Flags:
    """Raises InvalidArgument."""
    flags = Flags()
    for word in words:
        shown, separator, value = word.partition("=")
        name = shown.removeprefix("--")
        known = [*booleans, *texts, *lists]
        if name not in known:
            raise InvalidArgument(f"unknown flag: {shown}{suggestion(name, known)}")
        if name in flags.booleans or name in flags.texts:
            raise InvalidArgument(f"duplicate flag specified: {shown}")
        if (not separator and name not in booleans) or (separator and not value and name in booleans):
            raise InvalidArgument(f"missing a value on flag: {shown}")
        if name in booleans:
            if value.lower() not in ("true", "false", ""):
                raise InvalidArgument(f"expecting boolean value for flag {shown}, not: {value}")
            flags.booleans[name] = value.lower() != "false"
        elif name in texts:
            flags.texts[name] = value
        else:
            flags.lists.setdefault(name, []).append(value)
    return flags
