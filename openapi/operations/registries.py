"""The operations on registries, beside pulling and pushing."""

from __future__ import annotations

from ..types.registries import DistributionInspect, ImageSearchResponseItem
from ..types.system import AuthConfig, AuthResponse
from .operation import FILTERS, JSON, Body, Operation, answers, integer, path, text

OPERATIONS = (
    Operation(
        "SystemAuth",
        "POST",
        "/auth",
        "Check auth configuration",
        answers(401, 500, _200=AuthResponse, _204=None),
        (),
        Body(AuthConfig, "authConfig", required=False),
        produces=(JSON,),
        consumes=(JSON,),
    ),
    Operation(
        "DistributionInspect",
        "GET",
        "/distribution/{name}/json",
        "Get image information from the registry",
        answers(401, 500, _200=DistributionInspect),
        (path("name"),),
        produces=(JSON,),
        since=(1, 30),
    ),
    Operation(
        "ImageSearch",
        "GET",
        "/images/search",
        "Search images",
        answers(500, _200=list[ImageSearchResponseItem]),
        (text("term", required=True), integer("limit"), FILTERS),
        produces=(JSON,),
    ),
)
