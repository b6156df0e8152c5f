"""Where our document and a published one differ: operations, parameters, status codes, properties, types, enums.

Used by `python -m lightship.openapi drift` and a unit test. Types are compared as they are reached from operations,
so that names of definitions do not matter; a difference is named by the published definition that it is in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Document = Mapping[str, Any]
Schema = Mapping[str, Any]
Operations = dict[tuple[str, str], Mapping[str, Any]]


def operations(document: Document) -> Operations:
    return {
        (method.upper(), path): operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method != "parameters"
    }


def differences(published: Document, ours: Document) -> list[str]:
    """Return what differs in the operations that both have, each difference once and in a line."""
    theirs, own = operations(published), operations(ours)
    comparison = _Comparison(published, ours)
    found = [f"{method} {path}: not published" for method, path in own if (method, path) not in theirs]
    for key, operation in own.items():
        if key in theirs:
            found += comparison.operation(" ".join(key), theirs[key], operation)
    return sorted(dict.fromkeys(found))


class _Comparison:
    def __init__(self, published: Document, ours: Document) -> None:
        self._published, self._ours = published, ours
        self._seen: set[tuple[str, str]] = set()

    def operation(self, name: str, theirs: Mapping[str, Any], own: Mapping[str, Any]) -> Iterator[str]:
        yield from self._parameters(name, theirs.get("parameters", ()), own.get("parameters", ()))
        their_answers = {str(status): answer for status, answer in theirs["responses"].items()}
        for status in sorted(their_answers.keys() ^ own["responses"].keys()):
            yield f"{name}: status {status} {'missing' if status in their_answers else 'not published'}"
        for status in sorted(their_answers.keys() & own["responses"].keys()):
            pair = their_answers[status].get("schema"), own["responses"][status].get("schema")
            yield from self._schemas(f"{name}: {status}", *pair)

    def _parameters(self, name: str, theirs: Any, own: Any) -> Iterator[str]:
        left = {(parameter["in"], parameter["name"]): parameter for parameter in theirs}
        right = {(parameter["in"], parameter["name"]): parameter for parameter in own}
        for key in sorted(left.keys() ^ right.keys()):
            yield f"{name}: {' '.join(key)} {'missing' if key in left else 'not published'}"
        for key in sorted(left.keys() & right.keys()):
            shown = f"{name}: {' '.join(key)}"
            for aspect in ("type", "required", "default", "enum"):
                values = [parameter.get(aspect) or None for parameter in (left[key], right[key])]
                if values[0] != values[1]:
                    yield f"{shown}: {aspect} {values[0]}, ours {values[1]}"
            yield from self._schemas(shown, left[key].get("schema"), right[key].get("schema"))

    def _schemas(self, name: str, theirs: Schema | None, own: Schema | None) -> Iterator[str]:
        if theirs is None or own is None:
            if theirs != own:
                yield f"{name}: schema {'missing' if own is None else 'not published'}"
            return
        label, theirs = _resolve(self._published, theirs, name)
        own_label, own = _resolve(self._ours, own, name)
        if (label, own_label) in self._seen:
            return
        if label != name:
            self._seen.add((label, own_label))
        yield from self._resolved(label, theirs, own)

    def _resolved(self, label: str, theirs: Schema, own: Schema) -> Iterator[str]:
        their_type, own_type = _type(theirs), _type(own)
        if their_type != own_type:
            yield f"{label}: type {their_type}, ours {own_type}"
            return
        if their_type == "string" and set(theirs.get("enum", ())) != set(own.get("enum", ())):
            yield f"{label}: enum {theirs.get('enum')}, ours {own.get('enum')}"
        left, right = theirs.get("properties", {}), own.get("properties", {})
        for member in sorted(left.keys() ^ right.keys()):
            yield f"{label}.{member}: {'missing' if member in left else 'not published'}"
        for member in sorted(set(theirs.get("required", ())) ^ set(own.get("required", ()))):
            yield f"{label}.{member}: {'required' if member in theirs.get('required', ()) else 'not required'} there"
        for member in sorted(left.keys() & right.keys()):
            yield from self._schemas(f"{label}.{member}", left[member], right[member])
        for key, shown in (("items", "[]"), ("additionalProperties", "{}")):
            if isinstance(theirs.get(key), dict) and isinstance(own.get(key), dict):
                yield from self._schemas(label + shown, theirs[key], own[key])


def _resolve(document: Document, schema: Schema, label: str) -> tuple[str, Schema]:
    """Follow references and put together what `allOf` is made of; the label becomes the definition's name."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        found = document["definitions"][name]
        # Named scalars and lists are spelled out where they are used.
        return _resolve(document, found, name if "properties" in found or "allOf" in found else label)
    if "allOf" not in schema:
        return label, schema
    parts = [_resolve(document, part, label) for part in schema["allOf"]]
    merged: dict[str, Any] = {"type": "object", "properties": {}, "required": []}
    for _, part in [*parts, (label, {key: value for key, value in schema.items() if key != "allOf"})]:
        merged["type"] = part.get("type", merged["type"])
        merged["properties"] |= part.get("properties", {})
        merged["required"] += part.get("required", [])
        merged |= {key: part[key] for key in ("enum", "items", "additionalProperties") if key in part}
    return (parts[0][0] if len(parts) == 1 else label), merged


def _type(schema: Schema) -> str | None:
    if "type" not in schema:
        return "object" if "properties" in schema or "additionalProperties" in schema else None
    kind: str = schema["type"]
    return kind
