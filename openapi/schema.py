"""JSON schemas (Swagger 2.0's dialect) of the API's types, for the emitted document."""

from __future__ import annotations

import types
import typing
from typing import Any, Union

import msgspec
from msgspec import UnsetType

from .constraints import ENUMS, REQUIRED

Schema = dict[str, Any]
_SCALARS: dict[Any, Schema] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bytes: {"type": "string", "format": "binary"},
}


class Definitions:
    """The schemas of all types that the document's operations use, collected while they are referred to."""

    def __init__(self) -> None:
        self.found: dict[str, Schema] = {}

    def schema(self, hint: Any) -> Schema:
        """Return the schema of a type; structs are defined by name and referred to."""
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if origin in (Union, types.UnionType):
            choices = [choice for choice in arguments if choice not in (types.NoneType, UnsetType)]
            schema = self.schema(choices[0])
            return _nullable(schema) if types.NoneType in arguments else schema
        if origin is list:
            return {"type": "array", "items": self.schema(arguments[0])}
        if origin is dict:
            return {"type": "object", "additionalProperties": self.schema(arguments[1])}
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            self._define(hint)
            return {"$ref": f"#/definitions/{hint.__name__}"}
        return dict(_SCALARS.get(hint, {}))

    def _define(self, struct: Any) -> None:
        name = struct.__name__
        if name in self.found:
            return
        definition: Schema = {"type": "object", "description": (struct.__doc__ or "").strip(), "properties": {}}
        self.found[name] = definition
        hints = typing.get_type_hints(struct)
        for attribute, member in zip(struct.__struct_fields__, struct.__struct_encode_fields__, strict=True):
            schema = self.schema(hints[attribute])
            if enum := _enum(struct, member):
                schema["enum"] = list(enum)
            definition["properties"][member] = schema
        if required := REQUIRED.get(name):
            definition["required"] = list(required)


def _enum(struct: Any, member: str) -> tuple[str, ...]:
    for base in struct.__mro__:
        if found := ENUMS.get(base.__name__, {}).get(member):
            return found
    return ()


def _nullable(schema: Schema) -> Schema:
    if "$ref" in schema:
        # Nothing may stand beside a reference in Swagger 2.0.
        return {"allOf": [schema], "x-nullable": True}
    return {**schema, "x-nullable": True}
