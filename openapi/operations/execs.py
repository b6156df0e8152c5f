"""The operations on execs."""

from __future__ import annotations

from ..types.answers import IDResponse
from ..types.execs import ExecInspectResponse
from ..types.requests import ExecCreateRequest, ExecStartRequest
from .operation import JSON, MULTIPLEXED, RAW, Body, Operation, answers, integer, path

OPERATIONS = (
    Operation(
        "ContainerExec",
        "POST",
        "/containers/{id}/exec",
        "Create an exec instance",
        answers(404, 409, 500, _201=IDResponse),
        (path("id"),),
        Body(ExecCreateRequest, "execConfig"),
        produces=(JSON,),
        consumes=(JSON,),
    ),
    Operation(
        "ExecStart",
        "POST",
        "/exec/{id}/start",
        "Start an exec instance",
        answers(404, 409, _200=None),
        (path("id"),),
        Body(ExecStartRequest, "execStartConfig", required=False),
        produces=(RAW, MULTIPLEXED),
        consumes=(JSON,),
    ),
    Operation(
        "ExecResize",
        "POST",
        "/exec/{id}/resize",
        "Resize an exec instance",
        answers(400, 404, 500, _200=None),
        (path("id"), integer("h", required=True), integer("w", required=True)),
    ),
    Operation(
        "ExecInspect",
        "GET",
        "/exec/{id}/json",
        "Inspect an exec instance",
        answers(404, 500, _200=ExecInspectResponse),
        (path("id"),),
        produces=(JSON,),
    ),
)
