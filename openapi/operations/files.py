"""The operations on containers' files, and the one that makes an image of them."""

from __future__ import annotations

from ..types.answers import IDResponse
from ..types.config import Config
from ..types.containers import FilesystemChange
from .operation import JSON, OCTETS, TAR, Body, Operation, answers, flag, path, text

_PATH = text("path", required=True)

OPERATIONS = (
    Operation(
        "ContainerArchiveInfo",
        "HEAD",
        "/containers/{id}/archive",
        "Get information about files in a container",
        answers(400, 404, 500, _200=None),
        (path("id"), _PATH),
    ),
    Operation(
        "ContainerArchive",
        "GET",
        "/containers/{id}/archive",
        "Get an archive of a filesystem resource in a container",
        answers(400, 404, 500, _200=None),
        (path("id"), _PATH),
        produces=(TAR,),
    ),
    Operation(
        "PutContainerArchive",
        "PUT",
        "/containers/{id}/archive",
        "Extract an archive of files or folders to a directory in a container",
        answers(400, 403, 404, 500, _200=None),
        (path("id"), _PATH, text("noOverwriteDirNonDir"), text("copyUIDGID")),
        Body(bytes, "inputStream"),
        consumes=(TAR, OCTETS),
    ),
    Operation(
        "ContainerChanges",
        "GET",
        "/containers/{id}/changes",
        "Get changes on a container’s filesystem",
        answers(404, 500, _200=list[FilesystemChange]),
        (path("id"),),
        produces=(JSON,),
    ),
    Operation(
        "ContainerExport",
        "GET",
        "/containers/{id}/export",
        "Export a container",
        answers(404, 500, _200=None),
        (path("id"),),
        produces=(OCTETS,),
    ),
    Operation(
        "ImageCommit",
        "POST",
        "/commit",
        "Create a new image from a container",
        answers(404, 500, _201=IDResponse),
        (
            text("container"),
            text("repo"),
            text("tag"),
            text("comment"),
            text("author"),
            flag("pause", default=True),
            text("changes"),
        ),
        Body(Config, "containerConfig", required=False),
        produces=(JSON,),
        consumes=(JSON,),
    ),
)
