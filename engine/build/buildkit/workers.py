"""What builds run on, as clients are told: one worker, the engine itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...images.config import Platform
from ...version import SERVER_VERSION
from .protocol import control_pb2, llb_pb2

if TYPE_CHECKING:
    from ...engine import Engine

_LABELS = "org.mobyproject.buildkit.worker."


class Workers:
    """The list of one worker."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def record(self) -> control_pb2.WorkerRecord:
        here = Platform.of_host()
        gateways = self._engine.networks.host_gateway_ips
        # By the snapshotter's label buildx knows that archives, caches and several platforms can be exported.
        labels = {f"{_LABELS}snapshotter": "overlayfs"}
        if gateways:
            labels[f"{_LABELS}moby.host-gateway-ip"] = gateways[0]
        return control_pb2.WorkerRecord(
            id=self._engine.id,
            labels=labels,
            platforms=[llb_pb2.Platform(os=here.os, architecture=here.architecture, variant=here.variant)],
            buildkit_version=self.version(),
        )

    def version(self) -> control_pb2.BuildkitVersion:
        return control_pb2.BuildkitVersion(package="github.com/moby/buildkit", version=SERVER_VERSION)
