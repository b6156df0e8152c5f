"""Makes the files beside this one: published API documents without prose, as far as lightship's operations reach.

    python tests/data/published/trim.py PUBLISHED/v1.44.yaml ...

Parts that several versions share are stored once: `documents.json` holds each distinct definition and operation, and
which versions are made of which. `test_drift.py` puts them together again.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import yaml
from lightship.openapi.operations.table import OPERATIONS

PROSE = {
    "description",
    "example",
    "examples",
    "title",
    "summary",
    "x-go-name",
    "x-go-type",
    "externalDocs",
    "tags",
    "format",
}
HAVE = {(operation.method.lower(), operation.path) for operation in OPERATIONS}


def without_prose(value: Any, *, is_map: bool = False) -> Any:
    """Leave out the prose; members of `properties` may be called as prose is."""
    if isinstance(value, list):
        return [without_prose(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        str(key): without_prose(item, is_map=key in ("properties", "definitions"))
        for key, item in value.items()
        if is_map or (key not in PROSE and not str(key).startswith("x-"))
    }


def reached(document: dict[str, Any]) -> dict[str, Any]:
    """Keep the operations that lightship has, and the definitions that they refer to."""
    paths = {
        f"{method} {path}": item[method]
        for path, item in document["paths"].items()
        for method in item
        if (method, path) in HAVE
    }
    wanted, definitions = set(re.findall(r"#/definitions/(\w+)", json.dumps(paths))), {}
    while wanted:
        name = wanted.pop()
        definitions[name] = document["definitions"][name]
        wanted |= set(re.findall(r"#/definitions/(\w+)", json.dumps(definitions[name]))) - definitions.keys()
    return {"paths": paths, "definitions": definitions}


def main() -> None:
    parts: list[Any] = []
    numbers: dict[str, int] = {}
    versions: dict[str, Any] = {}
    for file in sys.argv[1:]:
        document = reached(without_prose(yaml.load(Path(file).read_text(), yaml.CSafeLoader)))
        made: dict[str, dict[str, int]] = {}
        for kind, items in document.items():
            made[kind] = {}
            for name, item in sorted(items.items()):
                text = json.dumps(item, sort_keys=True)
                if text not in numbers:
                    numbers[text] = len(parts)
                    parts.append(item)
                made[kind][name] = numbers[text]
        versions[Path(file).stem.removeprefix("v")] = made
    target = Path(__file__).with_name("documents.json")
    target.write_text(json.dumps({"parts": parts, "versions": versions}, separators=(",", ":"), sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
