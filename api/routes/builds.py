"""Builds of the classic kind: a tar of files comes in, messages go out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import nullcontext
from typing import Any

import msgspec
from starlette.responses import Response

from ...engine import errors
from ...engine.build.classic.options import ClassicOptions
from ...engine.build.graph import Limits, Ulimit
from ...engine.build.request import Exporter, Keep
from ...engine.images.registry.credentials import decode_config
from ...openapi.operations.operation import JSON
from ...openapi.syntax import problem
from ...openapi.types.answers import BuildPruneResponse
from .. import params
from ..call import Call
from ..streaming import StreamingResponse, begun, progress

_ISOLATIONS = ("", "default")
_VERSIONS = ("", "1", "2")


class _Ulimit(msgspec.Struct, rename="pascal"):
    name: str = ""
    soft: int = 0
    hard: int = 0


class _Output(msgspec.Struct, rename="pascal"):
    type: str = ""
    attrs: dict[str, str] = {}


async def build(call: Call) -> Response:
    if (version := call.text("version")) not in _VERSIONS:
        raise errors.InvalidArgument(f'invalid version "{version}"')
    options = _options(call)
    _check_unsupported(call)
    # The context has been read whole before there is anything to tell.
    with nullcontext() if options.remote else call.lent_body() as lent:
        messages: AsyncIterator[Any] = call.engine.classic_builds.build(options, lent or call.chunks())
        told = await begun(messages)
    return StreamingResponse(progress(told), JSON)


async def cancel(call: Call) -> Response:
    call.engine.classic_builds.cancel(call.text("id"))
    return call.empty(200)


def _check_unsupported(call: Call) -> None:
    if call.texts("securityopt"):
        raise errors.InvalidArgument("security options are not supported on linux")
    if call.flag("squash"):
        if not call.engine.config.experimental:
            raise errors.InvalidArgument("squash is only supported with experimental mode")
        raise errors.NotImplemented("squashing the layers of a build is not supported")
    if call.text("version") != "2" and _outputs(call):
        raise errors.NotImplemented("outputs are supported by version 2 of the build operation alone")
    if call.text("remote") == "upload-request":
        raise errors.NotImplemented("contexts that come by another request are not supported")


def _options(call: Call) -> ClassicOptions:
    isolation = call.text("isolation")
    if isolation.lower() not in _ISOLATIONS:
        raise errors.InvalidArgument(f'unsupported isolation: "{isolation}"')
    return ClassicOptions(
        tags=tuple(tag for tag in call.texts("t") if tag),
        dockerfile=call.text("dockerfile"),
        remote=call.text("remote"),
        build_args=_json(call, "buildargs", dict[str, str | None], "error reading build args") or {},
        labels=_json(call, "labels", dict[str, str], "error reading labels") or {},
        target=call.text("target"),
        platform=call.text("platform"),
        network=call.text("networkmode"),
        extra_hosts=tuple(call.texts("extrahosts")),
        limits=_limits(call),
        cache_from=tuple(_json(call, "cachefrom", list[str], "error reading cache-from") or ()),
        credentials=decode_config(call.headers.get("x-registry-config", "")),
        build_id=call.text("buildid"),
        is_quiet=call.flag("q"),
        is_cacheless=call.flag("nocache"),
        pulls=call.flag("pull"),
        keeps_containers=not call.flag("rm", default=True) and not call.flag("forcerm"),
        wants_aux=call.version >= (1, 30),
        is_traced=call.text("version") == "2",
        session=call.text("session"),
        outputs=tuple(Exporter(output.type, output.attrs) for output in _outputs(call)),
    )


def _outputs(call: Call) -> list[_Output]:
    return _json(call, "outputs", list[_Output], "invalid outputs specified") or []


def _limits(call: Call) -> Limits:
    ulimits = _json(call, "ulimits", list[_Ulimit], "error reading ulimit settings") or []
    return Limits(
        memory_bytes=_number(call, "memory"),
        memory_swap_bytes=_number(call, "memswap"),
        cpu_shares=_number(call, "cpushares"),
        cpu_period=_number(call, "cpuperiod"),
        cpu_quota=_number(call, "cpuquota"),
        cpuset_cpus=call.text("cpusetcpus"),
        cpuset_mems=call.text("cpusetmems"),
        shm_size_bytes=_shm_size(call.text("shmsize")),
        ulimits=tuple(Ulimit(limit.name, limit.soft, limit.hard) for limit in ulimits),
        cgroup_parent=call.text("cgroupparent"),
    )


def _number(call: Call, name: str) -> int:
    """Read a number; what is none is 0, as in dockerd."""
    try:
        return call.integer(name) or 0
    except errors.InvalidArgument:
        return 0


def _shm_size(text: str) -> int:
    try:
        return params.integer(text, go_function="ParseInt") if text else 0
    except errors.InvalidArgument as error:
        raise errors.Internal(str(error)) from error


def _json(call: Call, name: str, wanted: Any, failure: str) -> Any:
    """Read a parameter that is JSON."""
    text = call.text(name).encode()
    if not text:
        return None
    if wrong := problem(text):
        raise errors.InvalidArgument(f"{failure}: {wrong}")
    try:
        return msgspec.json.decode(text, type=wanted)
    except msgspec.ValidationError as error:
        raise errors.InvalidArgument(f"{failure}: {error}") from error


async def prune(call: Call) -> Response:
    sizes = {name: _bytes(call, name) for name in ("reserved-space", "max-used-space", "min-free-space")}
    keep = Keep(
        reserved_space=sizes["reserved-space"] or _bytes(call, "keep-storage"),
        max_used_space=sizes["max-used-space"],
        min_free_space=sizes["min-free-space"],
    )
    removed = await call.engine.builds.prune(call.filters(), all=call.flag("all"), keep=keep)
    ids = [usage.id for usage in removed]
    return call.json(BuildPruneResponse(ids or None, sum(usage.size for usage in removed)))


def _bytes(call: Call, name: str) -> int:
    try:
        return call.integer(name) or 0
    except errors.InvalidArgument as error:
        value = call.text(name)
        raise errors.InvalidArgument(f"{name} is in bytes and expects an integer, got {value}: {error}") from error


HANDLERS = {"ImageBuild": build, "BuildCancel": cancel, "BuildPrune": prune}
