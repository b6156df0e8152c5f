"""`RUN --mount=type=…,…`: its fields, checked as BuildKit checks them."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ...booleans import parse as parse_bool
from ...errors import InvalidArgument
from ...volumes.local import parse_size
from .quoting import go_quote
from .suggestions import suggestion

_TYPES = ("bind", "cache", "tmpfs", "secret", "ssh")
_SHARING = ("shared", "private", "locked")
_KEYS = (
    "type", "from", "source", "target", "readonly", "id", "sharing", "required", "size", "mode", "uid", "gid", "src",
    "dst", "destination", "ro", "rw", "readwrite", "env",
)  # fmt: skip
_SAME = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly", "rw": "readwrite"}


@dataclass(slots=True)
class MountOption:
    """None where nothing was said."""

    type: str = "bind"
    from_: str = ""
    source: str = ""
    target: str = ""
    is_readonly: bool | None = None
    size_bytes: int = 0
    id: str = ""
    sharing: Literal["", "shared", "private", "locked"] = ""
    is_required: bool = False
    env: str | None = None
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None


def check_early(text: str) -> None:
    """Check what can be told before variables are known."""
    origin_of(text)


def origin_of(text: str) -> str:
    """Return `from`, the one field that variables cannot be in, as stages must be known before anything runs."""
    origin = ""
    for field in fields(text):
        key, _, value = field.partition("=")
        if key.lower() == "from":
            if "$" in value[:-1]:
                raise InvalidArgument(
                    f"'{key.lower()}' doesn't support variable expansion, define alias stage instead"
                )  # fmt: skip
            origin = value
    return origin


def parse_mount(text: str, expand: Callable[[str], str]) -> MountOption:
    """Raises InvalidArgument."""
    mount = MountOption()
    for field in fields(text):
        _set(mount, field, expand)
    if mount.type not in ("secret", "ssh", "cache"):
        for name in ("mode", "uid", "gid"):
            if getattr(mount, name) is not None:
                raise InvalidArgument(f"{name} not allowed for {go_quote(mount.type)} type mounts")
    if mount.is_readonly is None:
        mount.is_readonly = mount.type not in ("cache", "tmpfs")
    if mount.type == "secret":
        _check_secret(mount)
    if mount.sharing and mount.type != "cache":
        raise InvalidArgument(f"invalid cache sharing set for {mount.type} mount")
    return mount


def fields(text: str) -> list[str]:
    """Split at the commas that are not quoted."""
    try:
        return next(csv.reader([text], strict=True), [])
    except csv.Error as error:
        raise InvalidArgument(f"failed to parse csv mounts: {error}") from error


def _set(mount: MountOption, field: str, expand: Callable[[str], str]) -> None:
    key, separator, value = field.partition("=")
    key = key.lower()
    name = _SAME.get(key, key)
    if separator:
        value = expand(value)
    elif name not in ("readonly", "readwrite", "required"):
        raise InvalidArgument(f"invalid field '{field}' must be a key=value pair")
    if name in ("from", "source", "target", "id", "env"):
        setattr(mount, "from_" if name == "from" else name, value)
    elif name in ("readonly", "readwrite"):
        truth = _truth(key, value) if separator else True
        mount.is_readonly = truth if name == "readonly" else not truth
    elif name == "required" and mount.type in ("secret", "ssh"):
        mount.is_required = _truth(key, value) if separator else True
    elif name == "size" and mount.type == "tmpfs":
        try:
            mount.size_bytes = parse_size(value)
        except InvalidArgument:
            raise InvalidArgument(f"invalid value for {key}: {value}") from None
    elif name in ("required", "size"):
        raise InvalidArgument(f"unexpected key '{key}' for mount type '{mount.type}'")
    elif name in ("type", "sharing"):
        _set_choice(mount, name, value)
    elif name in ("mode", "uid", "gid"):
        setattr(mount, name, _number(name, value))
    else:
        raise InvalidArgument(f"unexpected key '{key}' in '{field}'{suggestion(key, _KEYS)}")


def _set_choice(mount: MountOption, name: str, value: str) -> None:
    choices = _TYPES if name == "type" else _SHARING
    if value.lower() not in choices:
        kind = "mount type" if name == "type" else "sharing value"
        raise InvalidArgument(f"unsupported {kind} {go_quote(value)}{suggestion(value, choices)}")
    setattr(mount, name, value.lower())


def _number(name: str, value: str) -> int:
    base = 8 if name == "mode" else 10
    if not value.isascii() or not value.isdigit() or (base == 8 and set(value) & set("89")):
        raise InvalidArgument(f"invalid value {value} for {name}")
    if (number := int(value, base)) >= 1 << 32:
        raise InvalidArgument(f"invalid value {value} for {name}")
    return number


def _truth(key: str, value: str) -> bool:
    try:
        return parse_bool(value)
    except ValueError:
        raise InvalidArgument(f"invalid value for {key}: {value}") from None


def _check_secret(mount: MountOption) -> None:
    if mount.from_:
        raise InvalidArgument("secret mount should not have a from")
    if mount.sharing:
        raise InvalidArgument("secret mount should not define sharing")
    if not (mount.source or mount.target or mount.id):
        raise InvalidArgument("invalid secret mount. one of source, target required")
    if mount.source and mount.id:
        raise InvalidArgument("both source and id can't be set")
