"""The compiled seccomp filter of a container: chosen by its options, compiled once for all that agree, kept on disk."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from .. import errors
from ..runtime import seccomp
from ..runtime.errors import RuntimeFailure
from .spec import seccomp_profile

if TYPE_CHECKING:
    from ...openapi.types.hostconfig import HostConfig
    from .context import Context


async def filter_path(context: Context, host_config: HostConfig) -> str | None:
    """Return the path of the compiled program, None where the container has no filter."""
    key = (
        host_config.privileged,
        *(tuple(names or ()) for names in (host_config.security_opt, host_config.cap_add, host_config.cap_drop)),
    )
    if key not in context.seccomp_paths:
        profile = seccomp_profile(host_config, context.host)
        directory = str(context.config.data_root / "seccomp")
        context.seccomp_paths[key] = await asyncio.to_thread(_compile, profile, directory) if profile else None
    return context.seccomp_paths[key]


def _compile(profile: dict[str, Any], directory: str) -> str:
    try:
        return seccomp.compile_cached(profile, directory)
    except RuntimeFailure as failure:
        raise errors.KINDS.get(failure.kind, errors.Internal)(failure.message) from failure
