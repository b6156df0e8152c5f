"""The published API documents as `tests/data/published` holds them: without prose, each part stored once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_DATA = json.loads((Path(__file__).parents[1] / "data" / "published" / "documents.json").read_text())
VERSIONS = sorted(_DATA["versions"], key=lambda version: int(version.partition(".")[2]))


def published(version: str) -> dict[str, Any]:
    """The document of one version, as far as its operations are ours."""
    made, parts = _DATA["versions"][version], _DATA["parts"]
    paths: dict[str, dict[str, Any]] = {}
    for name, part in made["paths"].items():
        method, path = name.split()
        paths.setdefault(path, {})[method] = parts[part]
    definitions = {name: parts[part] for name, part in made["definitions"].items()}
    json_only = ["application/json"]
    return {
        "swagger": "2.0",
        "info": {"title": "", "version": version},
        "consumes": json_only,
        "produces": json_only,
        "paths": paths,
        "definitions": definitions,
    }
