"""The operations that build images."""

from __future__ import annotations

from ..types.answers import BuildPruneResponse
from .operation import FILTERS, JSON, OCTETS, TAR, Body, Operation, Parameter, answers, flag, integer, text

OPERATIONS = (
    Operation(
        "ImageBuild",
        "POST",
        "/build",
        "Build an image",
        answers(400, 500, _200=None),
        (
            text("dockerfile", default="Dockerfile"),
            text("t"),
            text("extrahosts"),
            text("remote"),
            flag("q"),
            flag("nocache"),
            text("cachefrom", since=(1, 25)),
            text("pull"),
            flag("rm", default=True),
            flag("forcerm"),
            integer("memory"),
            integer("memswap"),
            integer("cpushares"),
            text("cpusetcpus"),
            integer("cpuperiod"),
            integer("cpuquota"),
            text("buildargs"),
            integer("shmsize"),
            flag("squash", default=None, since=(1, 25)),
            text("labels"),
            text("networkmode", since=(1, 25)),
            Parameter("Content-type", place="header", default=TAR, enum=(TAR,)),
            Parameter("X-Registry-Config", place="header"),
            text("platform", default="", since=(1, 32)),
            text("target", default="", since=(1, 29)),
            text("outputs", default="", since=(1, 40)),
            text("version", default="1", enum=("1", "2"), since=(1, 38)),
        ),
        Body(bytes, "inputStream", required=False),
        produces=(JSON,),
        consumes=(OCTETS,),
    ),
    Operation(
        "BuildPrune",
        "POST",
        "/build/prune",
        "Delete builder cache",
        answers(500, _200=BuildPruneResponse),
        (
            integer("keep-storage"),
            integer("reserved-space", since=(1, 48)),
            integer("max-used-space", since=(1, 48)),
            integer("min-free-space", since=(1, 48)),
            flag("all"),
            FILTERS,
        ),
        produces=(JSON,),
        since=(1, 31),
    ),
    Operation("BuildCancel", "POST", "/build/cancel", "Cancel a build", answers(400, 500, _200=None), (text("id"),)),
)
