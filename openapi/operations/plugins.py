"""The operations on managed plugins."""

from __future__ import annotations

from ..types.plugins import Plugin, PluginPrivilege
from .operation import FILTERS, JSON, TAR, Body, Operation, Parameter, answers, flag, integer, path, text

_AUTH = Parameter("X-Registry-Auth", place="header")
_PRIVILEGES = Body(list[PluginPrivilege], required=False)

OPERATIONS = (
    Operation(
        "PluginList", "GET", "/plugins", "List plugins", answers(500, _200=list[Plugin]), (FILTERS,), produces=(JSON,)
    ),
    Operation(
        "GetPluginPrivileges",
        "GET",
        "/plugins/privileges",
        "Get plugin privileges",
        answers(500, _200=list[PluginPrivilege]),
        (text("remote", required=True),),
    ),
    Operation(
        "PluginPull",
        "POST",
        "/plugins/pull",
        "Install a plugin",
        answers(500, _204=None),
        (text("remote", required=True), text("name"), _AUTH),
        _PRIVILEGES,
        produces=(JSON,),
    ),
    Operation(
        "PluginInspect",
        "GET",
        "/plugins/{name}/json",
        "Inspect a plugin",
        answers(404, 500, _200=Plugin),
        (path("name"),),
        produces=(JSON,),
    ),
    Operation(
        "PluginDelete",
        "DELETE",
        "/plugins/{name}",
        "Remove a plugin",
        answers(404, 500, _200=Plugin),
        (path("name"), flag("force")),
        produces=(JSON,),
    ),
    Operation(
        "PluginEnable",
        "POST",
        "/plugins/{name}/enable",
        "Enable a plugin",
        answers(404, 500, _200=None),
        (path("name"), integer("timeout", default=0)),
    ),
    Operation(
        "PluginDisable",
        "POST",
        "/plugins/{name}/disable",
        "Disable a plugin",
        answers(404, 500, _200=None),
        (path("name"), flag("force", default=None)),
    ),
    Operation(
        "PluginUpgrade",
        "POST",
        "/plugins/{name}/upgrade",
        "Upgrade a plugin",
        answers(404, 500, _204=None),
        (path("name"), text("remote", required=True), _AUTH),
        _PRIVILEGES,
    ),
    Operation(
        "PluginCreate",
        "POST",
        "/plugins/create",
        "Create a plugin",
        answers(500, _204=None),
        (text("name", required=True),),
        Body(bytes, "tarContext", required=False),
        consumes=(TAR,),
    ),
    Operation(
        "PluginPush",
        "POST",
        "/plugins/{name}/push",
        "Push a plugin",
        answers(404, 500, _200=None),
        (path("name"),),
    ),
    Operation(
        "PluginSet",
        "POST",
        "/plugins/{name}/set",
        "Configure a plugin",
        answers(404, 500, _204=None),
        (path("name"),),
        Body(list[str], required=False),
        consumes=(JSON,),
    ),
)
