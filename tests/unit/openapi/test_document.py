"""The emitted document is one that tools can read, and says what the types say."""

from __future__ import annotations

import json

import schemathesis
from lightship.openapi.document import document
from lightship.openapi.operations.table import OPERATIONS

DOCUMENT = document("1.55")


def test_every_operation_is_there_once():
    ids = [operation["operationId"] for item in DOCUMENT["paths"].values() for operation in item.values()]
    assert sorted(ids) == sorted(operation.id for operation in OPERATIONS)


def test_every_reference_is_defined():
    referred = set()

    def walk(value):
        if isinstance(value, dict):
            if "$ref" in value:
                referred.add(value["$ref"].removeprefix("#/definitions/"))
            for item in value.values():
                walk(item)
        elif isinstance(value, list):
            for item in value:
                walk(item)

    walk(DOCUMENT)
    assert referred == DOCUMENT["definitions"].keys()


def test_paths_name_their_parameters():
    for path, item in DOCUMENT["paths"].items():
        for operation in item.values():
            names = [p["name"] for p in operation.get("parameters", ()) if p["in"] == "path"]
            assert names == [part[1:-1] for part in path.split("/") if part.startswith("{")]


def test_types_become_schemas():
    state = DOCUMENT["definitions"]["ContainerState"]["properties"]
    assert state["Pid"] == {"type": "integer"}
    assert state["Status"]["enum"][0] == "created"
    create = DOCUMENT["definitions"]["ContainerCreateRequest"]["properties"]
    assert create["HostConfig"] == {"allOf": [{"$ref": "#/definitions/HostConfig"}], "x-nullable": True}
    assert create["Env"] == {"type": "array", "items": {"type": "string"}, "x-nullable": True}


def test_schemathesis_reads_it():
    schema = schemathesis.openapi.from_dict(json.loads(json.dumps(DOCUMENT)))
    found = [result.ok() for result in schema.get_all_operations()]
    assert len(found) == len(OPERATIONS)
