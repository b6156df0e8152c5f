"""The operations on networks."""

from __future__ import annotations

from ..types.answers import NetworkPruneResponse
from ..types.networks import (
    NetworkConnectRequest,
    NetworkCreateRequest,
    NetworkCreateResponse,
    NetworkDisconnectRequest,
    NetworkInspect,
    NetworkSummary,
)
from .operation import FILTERS, JSON, Body, Operation, answers, flag, path, text

OPERATIONS = (
    Operation(
        "NetworkList",
        "GET",
        "/networks",
        "List networks",
        answers(500, _200=list[NetworkSummary]),
        (FILTERS,),
        produces=(JSON,),
    ),
    Operation(
        "NetworkInspect",
        "GET",
        "/networks/{id}",
        "Inspect a network",
        answers(404, 500, _200=NetworkInspect),
        (path("id"), flag("verbose"), text("scope")),
        produces=(JSON,),
    ),
    Operation(
        "NetworkDelete",
        "DELETE",
        "/networks/{id}",
        "Remove a network",
        answers(403, 404, 500, _204=None),
        (path("id"),),
    ),
    Operation(
        "NetworkCreate",
        "POST",
        "/networks/create",
        "Create a network",
        answers(400, 403, 404, 500, _201=NetworkCreateResponse),
        (),
        Body(NetworkCreateRequest, "networkConfig"),
        produces=(JSON,),
        consumes=(JSON,),
    ),
    Operation(
        "NetworkConnect",
        "POST",
        "/networks/{id}/connect",
        "Connect a container to a network",
        answers(400, 403, 404, 500, _200=None),
        (path("id"),),
        Body(NetworkConnectRequest, "container"),
        consumes=(JSON,),
    ),
    Operation(
        "NetworkDisconnect",
        "POST",
        "/networks/{id}/disconnect",
        "Disconnect a container from a network",
        answers(403, 404, 500, _200=None),
        (path("id"),),
        Body(NetworkDisconnectRequest, "container"),
        consumes=(JSON,),
    ),
    Operation(
        "NetworkPrune",
        "POST",
        "/networks/prune",
        "Delete unused networks",
        answers(500, _200=NetworkPruneResponse),
        (FILTERS,),
        produces=(JSON,),
        since=(1, 25),
    ),
)
