"""JSON in and out, read as Go's encoding/json reads it.

Clients were written against dockerd: keys match without regard to case, `null` is the zero value, unknown keys are
ignored, and what fails is told in Go's words (`gonames`, `syntax`). Used by the API's handlers; which operation has
which type is `operations`.
"""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Callable
from typing import Any, TypeVar, Union, cast

import msgspec
from msgspec import UnsetType

from . import gonames
from .syntax import problem
from .types.config import Config
from .types.requests import ContainerCreateRequest

T = TypeVar("T")
_Reader = Callable[[Any, str], Any]

_STRING_OR_LIST = {"Cmd", "Entrypoint", "CapAdd", "CapDrop"}
"""Members of a container's configuration that may be one string in place of a list (moby's StrSlice)."""
_STRING_OR_LIST_STRUCTS = {"ContainerCreateRequest", "HostConfig"}
_UNSIGNED = {"[2]uint", "uint", "uint16", "uint64", "fs.FileMode"}

_ENCODER = msgspec.json.Encoder(order="deterministic")
_AS_IT_IS = msgspec.json.Encoder()


class DecodeError(ValueError):
    """The body is not what the operation takes; the text is for the client."""


def encode(value: Any, *, is_ordered: bool = False) -> bytes:
    """Write `value` as Go's encoder does: maps in the order of their keys (if not yet), a newline at the end."""
    return (_AS_IT_IS if is_ordered else _ENCODER).encode(value) + b"\n"


def decode(body: bytes, wanted: type[T]) -> T:
    """Read a body as `wanted`; raise DecodeError with dockerd's text."""
    try:
        raw = msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise DecodeError(_syntax_message(body, error)) from error
    except RecursionError as error:
        raise DecodeError("invalid JSON: exceeded max depth") from error
    except UnicodeDecodeError as error:
        raise DecodeError("invalid JSON: invalid UTF-8") from error
    if wanted is ContainerCreateRequest:
        _check_has_config(raw)
    reader = _reader(cast(Any, wanted), "")
    return cast(T, reader(raw, ""))


def _syntax_message(body: bytes, error: Exception) -> str:
    if not body.strip():
        return "invalid JSON: got EOF while reading request body"
    found = problem(body)
    if found is None:
        is_more = "trailing" in str(error)
        return "unexpected content after JSON" if is_more else f"invalid JSON: {error}"
    return f"invalid JSON: {found}"


def _check_has_config(raw: Any) -> None:
    """A host config alone makes no container; an empty image name is another mistake."""
    names = {name.lower() for name in Config.__struct_encode_fields__}
    if raw is None or (type(raw) is dict and not any(key.lower() in names for key in raw)):
        # Values of wrong types are told first.
        _struct_reader(ContainerCreateRequest)(raw, "")
        raise DecodeError("config cannot be empty in order to create a container")


@functools.cache
def _struct_reader(struct: Any) -> _Reader:
    hints = typing.get_type_hints(struct)
    root = gonames.root_name(struct.__name__)
    members: dict[str, tuple[str, str, _Reader]] = {}
    for attribute, name in zip(struct.__struct_fields__, struct.__struct_encode_fields__, strict=True):
        reader = _reader(hints[attribute], gonames.member_name(struct.__name__, name, hints[attribute]))
        if name in _STRING_OR_LIST and struct.__name__ in _STRING_OR_LIST_STRUCTS:
            reader = _string_or(reader)
        members[name] = members[name.lower()] = (attribute, name, reader)

    def read(value: Any, path: str) -> Any:
        if value is None:
            return struct()
        if type(value) is not dict:
            raise _mismatch(value, path, gonames.struct_name(struct.__name__))
        found: dict[str, Any] = {}
        for key, item in value.items():
            member = members.get(key) or members.get(key.lower())
            if member is not None and item is not None:
                attribute, name, reader = member
                found[attribute] = reader(item, f"{path or root}.{name}")
        return struct(**found)

    return read


def _reader(hint: Any, go_name: str) -> _Reader:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        choices = [choice for choice in arguments if choice not in (types.NoneType, UnsetType)]
        reader = _reader(choices[0], go_name)
        return _nullable(reader) if types.NoneType in arguments else reader
    if origin is list:
        item_name = "uint" if go_name == "[2]uint" else gonames.type_name(arguments[0])
        return _list_reader(_reader(arguments[0], item_name), go_name)
    if origin is dict:
        return _map_reader(_reader(arguments[1], gonames.type_name(arguments[1])), go_name)
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        # Looked up when it is used: types may contain themselves.
        return lambda value, path: _struct_reader(hint)(value, path)
    if hint is int:
        return _integer_reader(go_name)
    return _scalar_reader(hint, go_name) if hint in (str, bool) else _read_any


def _nullable(reader: _Reader) -> _Reader:
    return lambda value, path: None if value is None else reader(value, path)


def _list_reader(item: _Reader, go_name: str) -> _Reader:
    def read(value: Any, path: str) -> Any:
        if value is None:
            return []
        if type(value) is not list:
            raise _mismatch(value, path, go_name)
        return [item(each, f"{path}.{index}") for index, each in enumerate(value)]

    return read


def _map_reader(item: _Reader, go_name: str) -> _Reader:
    def read(value: Any, path: str) -> Any:
        if value is None:
            return {}
        if type(value) is not dict:
            raise _mismatch(value, path, go_name)
        return {key: item(each, f"{path}.{_escaped(key)}") for key, each in value.items()}

    return read


def _escaped(key: str) -> str:
    """Write a key as Go does in paths (JSON pointers)."""
    return key.replace("~", "~0").replace("/", "~1")


def _string_or(reader: _Reader) -> _Reader:
    def read(value: Any, path: str) -> Any:
        if type(value) is str:
            return [value]
        try:
            return reader(value, path)
        except DecodeError:
            raise _mismatch(value, "", "string") from None

    return read


def _scalar_reader(kind: type[Any], go_name: str) -> _Reader:
    def read(value: Any, path: str) -> Any:
        if value is None:
            return kind()
        if type(value) is not kind:
            raise _mismatch(value, path, go_name)
        return value

    return read


def _integer_reader(go_name: str) -> _Reader:
    lowest = 0 if go_name in _UNSIGNED else -(1 << 63)

    def read(value: Any, path: str) -> Any:
        if value is None:
            return 0
        if type(value) is not int or not lowest <= value < 1 << 63:
            raise _mismatch(value, path, go_name, is_number=True)
        return value

    return read


def _read_any(value: Any, path: str) -> Any:
    return value


def _mismatch(value: Any, path: str, go_name: str, *, is_number: bool = False) -> DecodeError:
    if is_number and type(value) in (int, float):
        kind = f"number {value}"
    else:
        kind = {str: "string", bool: "bool", int: "number", float: "number", dict: "object"}.get(type(value), "array")
    where = path if path.rpartition(".")[2].isdecimal() else f"Go struct field {path}" if path else "Go value"
    return DecodeError(f"invalid JSON: json: cannot unmarshal {kind} into {where} of type {go_name}")
