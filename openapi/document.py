"""Our own OpenAPI document (Swagger 2.0, as the published one is), made from the operations and their types."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from .operations.operation import JSON, PLAIN, Operation, Parameter, Version
from .operations.table import OPERATIONS
from .schema import Definitions, Schema


def document(version: str, operations: tuple[Operation, ...] = OPERATIONS) -> dict[str, Any]:
    """Return the document for an API version such as `1.55`: parameters are that version's, types the newest."""
    number = tuple(int(part) for part in version.split("."))
    definitions = Definitions()
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        if operation.since <= number:
            shown = _operation(operation, number, definitions)
            paths.setdefault(operation.path, {})[operation.method.lower()] = shown
    return {
        "swagger": "2.0",
        "info": {"title": "lightship: Docker Engine API", "version": version},
        "schemes": ["http", "https"],
        "produces": [JSON, PLAIN],
        "consumes": [JSON, PLAIN],
        "basePath": f"/v{version}",
        "paths": paths,
        "definitions": dict(sorted(definitions.found.items())),
    }


def _operation(operation: Operation, version: Version, definitions: Definitions) -> dict[str, Any]:
    parameters = [_parameter(parameter) for parameter in operation.parameters if parameter.since <= version]
    if operation.body is not None:
        body = operation.body
        parameters.append(
            {"name": body.name, "in": "body", "required": body.required, "schema": definitions.schema(body.type)}
        )
    shown: dict[str, Any] = {
        "operationId": operation.id,
        "summary": operation.summary,
        "responses": {
            str(status): _response(status, kind, definitions) for status, kind in sorted(operation.responses.items())
        },
    }
    if parameters:
        shown["parameters"] = parameters
    if operation.produces:
        # Errors are JSON, whatever the answer is.
        shown["produces"] = list(dict.fromkeys((*operation.produces, JSON)))
    if operation.consumes:
        shown["consumes"] = list(operation.consumes)
    return shown


def _response(status: int, kind: Any, definitions: Definitions) -> Schema:
    response: Schema = {"description": HTTPStatus(status).phrase}
    if kind is not None:
        response["schema"] = definitions.schema(kind)
    return response


def _parameter(parameter: Parameter) -> Schema:
    shown: Schema = {"name": parameter.name, "in": parameter.place, "type": parameter.type}
    if parameter.type == "array":
        shown |= {"items": {"type": "string"}, "collectionFormat": "multi"}
    if parameter.required:
        shown["required"] = True
    if parameter.default is not None:
        shown["default"] = parameter.default
    if parameter.enum:
        shown["enum"] = list(parameter.enum)
    return shown
