"""Operations of the published API that lightship does not have, and what they answer.

`lightship.api.app` routes them so that a client reads why, and `python -m lightship.openapi drift` counts them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

NO_MANAGER = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm '
    "and try again."
)
NO_SWARM = "This node is not part of a swarm"


@dataclass(frozen=True, slots=True)
class Gap:
    """An operation that answers an error: 501, or 503 where a dockerd outside a swarm says so too."""

    method: str
    path: str
    message: str
    status: int = 501


def _gaps(message: str, *operations: str, status: int = 501) -> Iterator[Gap]:
    for operation in operations:
        method, path = operation.split()
        yield Gap(method, path, message, status)


GAPS: tuple[Gap, ...] = (
    *_gaps("volume update only valid for cluster volumes, but swarm is unavailable", "PUT /volumes/{name}", status=503),
    *_gaps("swarm mode is not supported yet", "POST /swarm/init", "POST /swarm/join"),
    *_gaps(NO_SWARM, "POST /swarm/leave", status=503),
    *_gaps(
        NO_MANAGER,
        "GET /swarm",
        "POST /swarm/update",
        "GET /swarm/unlockkey",
        "POST /swarm/unlock",
        "GET /nodes",
        "GET /nodes/{id}",
        "DELETE /nodes/{id}",
        "POST /nodes/{id}/update",
        "GET /services",
        "POST /services/create",
        "GET /services/{id}",
        "DELETE /services/{id}",
        "POST /services/{id}/update",
        "GET /services/{id}/logs",
        "GET /tasks",
        "GET /tasks/{id}",
        "GET /tasks/{id}/logs",
        "GET /secrets",
        "POST /secrets/create",
        "GET /secrets/{id}",
        "DELETE /secrets/{id}",
        "POST /secrets/{id}/update",
        "GET /configs",
        "POST /configs/create",
        "GET /configs/{id}",
        "DELETE /configs/{id}",
        "POST /configs/{id}/update",
        status=503,
    ),
)
