"""The `filters` query parameter: parsing, validation and the ways in which Docker matches values.

Used by every list, prune and events operation. Moby's `daemon/internal/filters` is the behaviour followed.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import msgspec

from .errors import InvalidArgument


class Filters:
    """Values by key. An absent key matches everything."""

    def __init__(self, fields: Mapping[str, Collection[str]] | None = None) -> None:
        self._fields = {key: list(values) for key, values in (fields or {}).items()}

    @classmethod
    def parse(cls, text: str | None) -> Filters:
        """Decode `{"key": ["value"]}` or the older `{"key": {"value": true}}`.

        Raises InvalidArgument where the text is neither.
        """
        if not text:
            return cls()
        try:
            raw = msgspec.json.decode(text, type=dict[str, dict[str, bool] | list[str]] | None)
        except msgspec.DecodeError as error:
            raise InvalidArgument("invalid filter") from error
        return cls({key: list(values) for key, values in (raw or {}).items()})

    def __bool__(self) -> bool:
        return bool(self._fields)

    def __contains__(self, key: str) -> bool:
        return key in self._fields

    def get(self, key: str) -> list[str]:
        return self._fields.get(key, [])

    def with_value(self, key: str, value: str) -> Filters:
        """Return the filters with one more value."""
        return Filters({**self._fields, key: [*self.get(key), value]})

    def validate(self, accepted: Collection[str]) -> None:
        """Raise InvalidArgument for a key that the operation does not know."""
        for key in self._fields:
            if key not in accepted:
                raise InvalidArgument(f"invalid filter '{key}'")

    def boolean(self, key: str, *, default: bool = False) -> bool:
        """Return the truth of `key`; contradicting or unreadable values are refused."""
        if key not in self._fields:
            return default
        values = self._fields[key]
        is_true = "1" in values or "true" in values
        if is_true == ("0" in values or "false" in values):
            shown = f"={' '.join(values)}" if values else ""
            raise InvalidArgument(f"invalid filter '{key}{shown and '=[' + shown[1:] + ']'}'")
        return is_true

    def one(self, key: str) -> str | None:
        """Return the only value of `key`; several are refused."""
        values = self._fields.get(key)
        if not values:
            return None
        if len(values) > 1:
            raise InvalidArgument(f"invalid filter '{key}=[{' '.join(values)}]'")
        return values[0]

    def exact(self, key: str, source: str) -> bool:
        """Match where any value equals `source`."""
        values = self._fields.get(key)
        return not values or source in values

    def regex(self, key: str, source: str) -> bool:
        """Match where any value equals `source` or is a pattern found in it; unreadable patterns match nothing."""
        if self.exact(key, source):
            return True
        return any(_found(pattern, source) for pattern in self._fields[key])

    def prefix(self, key: str, source: str) -> bool:
        """Match where `source` starts with any value."""
        values = self._fields.get(key)
        return not values or source.startswith(tuple(values))

    def labels(self, key: str, labels: Mapping[str, str]) -> bool:
        """Match where every `name` or `name=value` is among the labels."""
        for wanted in self._fields.get(key, ()):
            name, has_value, value = wanted.partition("=")
            if name not in labels or (has_value and labels[name] != value):
                return False
        return True


def _found(pattern: str, source: str) -> bool:
    try:
        return re.search(pattern, source) is not None
    except re.error:
        return False
