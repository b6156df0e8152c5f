"""The operations that open connections for BuildKit's protocol."""

from __future__ import annotations

from .operation import RAW, Operation, answers

OPERATIONS = (
    Operation(
        "Session",
        "POST",
        "/session",
        "Initialize interactive session",
        answers(400, 500, _101=None),
        produces=(RAW,),
    ),
    Operation(
        "Grpc",
        "POST",
        "/grpc",
        "Open a connection to BuildKit's services",
        answers(500, _101=None),
        produces=(RAW,),
    ),
)
