"""The operations on system."""

from __future__ import annotations

from ..types.system import EventMessage, SystemInfo, SystemVersion
from ..types.usage import SystemDataUsageResponse
from .operation import FILTERS, JSON, PLAIN, Operation, answers, flag, text, texts

OPERATIONS = (
    Operation(
        "SystemInfo",
        "GET",
        "/info",
        "Get system information",
        answers(500, _200=SystemInfo),
        produces=(JSON,),
    ),
    Operation(
        "SystemVersion",
        "GET",
        "/version",
        "Get version",
        answers(500, _200=SystemVersion),
        produces=(JSON,),
    ),
    Operation(
        "SystemPing",
        "GET",
        "/_ping",
        "Ping",
        answers(500, _200=str),
        produces=(PLAIN,),
    ),
    Operation(
        "SystemPingHead",
        "HEAD",
        "/_ping",
        "Ping",
        answers(500, _200=str),
        produces=(PLAIN,),
    ),
    Operation(
        "SystemDataUsage",
        "GET",
        "/system/df",
        "Get data usage information",
        answers(500, _200=SystemDataUsageResponse),
        (
            texts("type", since=(1, 42)),
            flag("verbose", since=(1, 52)),
        ),
        since=(1, 25),
    ),
    Operation(
        "SystemEvents",
        "GET",
        "/events",
        "Monitor events",
        answers(400, 500, _200=EventMessage),
        (text("since"), text("until"), FILTERS),
        produces=("application/jsonl", "application/x-ndjson", "application/json-seq"),
    ),
)
