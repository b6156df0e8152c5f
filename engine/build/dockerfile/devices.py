"""`RUN --device=NAME[,required]`: its fields, checked as BuildKit checks them."""

from __future__ import annotations

from ...booleans import parse as parse_bool
from ...errors import InvalidArgument
from .mounts import fields
from .suggestions import suggestion

_KEYS = ("name", "required")


def parse_device(text: str) -> tuple[str, bool]:
    """Return a device's name, which may have an equals sign, and whether it is required. Raises InvalidArgument."""
    name, is_required = "", False
    for field in fields(text):
        key, separator, value = field.partition("=")
        key = key.lower()
        if key == "required":
            try:
                is_required = parse_bool(value) if separator else True
            except ValueError:
                raise InvalidArgument(f"invalid value for {key}: {value}") from None
        elif key == "name" and separator:
            if name:
                raise InvalidArgument(f"device name already set to {name}")
            name = value
        elif not name:
            name = field
        elif not separator:
            raise InvalidArgument(f"invalid field '{field}' must be a key=value pair")
        else:
            raise InvalidArgument(f"unexpected key '{key}' in '{field}'{suggestion(key, _KEYS)}")
    return name, is_required
