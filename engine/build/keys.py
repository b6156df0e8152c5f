"""The keys of cached results: what decides a step's result, inputs by their own keys or by content."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

import msgspec

from ..images.config import chain_ids
from .graph import BindMount, CacheMount, Run, Step


def key_of(*parts: object) -> str:
    encoded = msgspec.json.encode(parts, order="deterministic")
    return f"sha256:{hashlib.sha256(encoded).hexdigest()}"


def image_key(diff_ids: Sequence[str], config_digest: str) -> str:
    """Return the key of an image's file system; one without layers is known by its config."""
    chain = list(chain_ids(diff_ids))
    return key_of("image", chain[-1] if chain else config_digest)


def own_definition(step: Step) -> str:
    """Return a digest of a step's definition without its inputs."""
    if isinstance(step, Run):
        mounts = tuple(
            dataclasses.replace(mount, source=None) if isinstance(mount, BindMount | CacheMount) else mount
            for mount in step.mounts
        )
        step = dataclasses.replace(step, base=None, mounts=mounts)
    document = {name: value for name, value in step.definition().items() if name not in ("base", "source")}
    return key_of(type(step).__name__, document)
