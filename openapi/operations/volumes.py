"""The operations on volumes."""

from __future__ import annotations

from ..types.answers import VolumePruneResponse
from ..types.volumes import Volume, VolumeCreateRequest, VolumeListResponse
from .operation import FILTERS, JSON, Body, Operation, answers, flag, path

OPERATIONS = (
    Operation(
        "VolumeList",
        "GET",
        "/volumes",
        "List volumes",
        answers(500, _200=VolumeListResponse),
        (FILTERS,),
        produces=(JSON,),
    ),
    Operation(
        "VolumeCreate",
        "POST",
        "/volumes/create",
        "Create a volume",
        answers(500, _201=Volume),
        (),
        Body(VolumeCreateRequest, "volumeConfig"),
        produces=(JSON,),
        consumes=(JSON,),
    ),
    Operation(
        "VolumeInspect",
        "GET",
        "/volumes/{name}",
        "Inspect a volume",
        answers(404, 500, _200=Volume),
        (path("name"),),
        produces=(JSON,),
    ),
    Operation(
        "VolumeDelete",
        "DELETE",
        "/volumes/{name}",
        "Remove a volume",
        answers(404, 409, 500, _204=None),
        (path("name"), flag("force")),
    ),
    Operation(
        "VolumePrune",
        "POST",
        "/volumes/prune",
        "Delete unused volumes",
        answers(500, _200=VolumePruneResponse),
        (FILTERS,),
        produces=(JSON,),
        since=(1, 25),
    ),
)
