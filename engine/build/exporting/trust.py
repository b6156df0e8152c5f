"""Whether a registry may be talked to without certificates: the engine's configuration decides, not a client."""

from __future__ import annotations

from ... import errors
from ...images.references import Reference
from ...images.registry.hosts import is_insecure_host
from ..context import Context
from ..request import Exporter


async def check_trust(context: Context, exporter: Exporter, reference: Reference) -> None:
    """Refuse what the engine's configuration alone may allow: a registry without certificates."""
    is_trusted = not exporter.flag("registry.insecure")
    if not is_trusted and not await is_insecure_host(context.images.registry, reference.domain):
        raise errors.NotImplemented(
            f"registry.insecure is not supported: name {reference.domain} in the engine's insecure-registries"
        )
