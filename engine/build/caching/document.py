"""The document that says which layers a step resulted in, by its key; its form is that of BuildKit's cache config.

A layer names the one below it, so a record's result is a chain. Keys are this builder's own: other builders read the
document and find nothing that they know.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from ...errors import InvalidArgument
from ..context import Context

CONFIG = "application/vnd.buildkit.cacheconfig.v0"


class LayerEntry(msgspec.Struct, frozen=True):
    """`blob` is a diff id: where the layer itself is, the manifest beside this says."""

    blob: str
    parent: int = -1


class ResultEntry(msgspec.Struct):
    layer: int


class RecordEntry(msgspec.Struct, omit_defaults=True):
    """`aliases` are keys by definition that stand for the same."""

    digest: str
    results: list[ResultEntry] = []
    aliases: list[str] = []
    description: str = ""


class Document(msgspec.Struct):
    layers: list[LayerEntry] = []
    records: list[RecordEntry] = []

    def chain(self, number: int) -> list[str]:
        """Return the diff ids up to a layer, the lowest first. Raises InvalidArgument for one that has no end."""
        found: list[str] = []
        while number >= 0:
            if number >= len(self.layers) or len(found) > len(self.layers):
                raise InvalidArgument("invalid cache config: a layer is not there")
            found.append(self.layers[number].blob)
            number = self.layers[number].parent
        return found[::-1]


def decode(data: bytes) -> Document:
    try:
        return msgspec.json.decode(data, type=Document)
    except msgspec.DecodeError as error:
        raise InvalidArgument(f"invalid cache config: {error}") from error


def described(context: Context, keys: Iterable[str]) -> Document:
    """Describe the records of keys, whose layers have their diff ids."""
    document = Document()
    numbers: dict[LayerEntry, int] = {}
    aliases = context.cache.aliases()
    for key in keys:
        record = context.cache.get(key)
        if record is None or not record.layers:
            continue
        last = _number(document, numbers, record.layers)
        entry = RecordEntry(key, [ResultEntry(last)], aliases.get(key, []), record.description)
        document.records.append(entry)
    return document


def _number(document: Document, numbers: dict[LayerEntry, int], layers: Sequence[str]) -> int:
    parent = -1
    for layer in layers:
        entry = LayerEntry(layer, parent)
        if entry not in numbers:
            numbers[entry] = len(document.layers)
            document.layers.append(entry)
        parent = numbers[entry]
    return parent
