"""The key `builder` of `daemon.json`: garbage collection of the build cache, and what builds may be allowed."""

from __future__ import annotations

from typing import Any

import msgspec

from ..engine.build.settings import BuilderConfig, GcPolicy
from .sizes import read_size


class _Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    all: bool = False
    filter: list[str] | dict[str, dict[str, bool]] = []
    reserved_space: str = ""
    max_used_space: str = ""
    min_free_space: str = ""
    keep_storage: str = ""


class _Gc(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    enabled: bool = True
    policy: list[_Rule] | None = None
    default_reserved_space: str = ""
    default_max_used_space: str = ""
    default_min_free_space: str = ""
    default_keep_storage: str = ""


class _Entitlements(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    network_host: bool = True
    security_insecure: bool = False
    device: bool = True


class _Builder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    gc: _Gc = _Gc()
    entitlements: _Entitlements = _Entitlements()


def document(value: Any) -> dict[str, Any]:
    """Read it; raise ValueError for what it does not know."""
    try:
        builder = msgspec.convert(_lowered(value), _Builder)
    except msgspec.ValidationError as error:
        raise ValueError(f"builder: {error}") from error
    gc = builder.gc
    allowed = {
        "network.host": builder.entitlements.network_host,
        "security.insecure": builder.entitlements.security_insecure,
        "device": builder.entitlements.device,
    }
    config = BuilderConfig(
        gc_enabled=gc.enabled,
        gc_policies=None if gc.policy is None else tuple(_policy(rule) for rule in gc.policy),
        default_reserved_space=_size(gc.default_reserved_space or gc.default_keep_storage),
        default_max_used_space=_size(gc.default_max_used_space),
        default_min_free_space=_size(gc.default_min_free_space),
        entitlements=frozenset(name for name, is_allowed in allowed.items() if is_allowed),
    )
    return {"builder": config}


def _lowered(value: Any) -> Any:
    """Return a document with the names of its fields as they are written: Go takes them in any case."""
    if isinstance(value, dict):
        return {key[:1].lower() + key[1:]: _lowered(inner) for key, inner in value.items()}
    return [_lowered(inner) for inner in value] if isinstance(value, list) else value


def _policy(rule: _Rule) -> GcPolicy:
    if isinstance(rule.filter, dict):
        pairs = [(key, value) for key, values in rule.filter.items() for value in values]
    else:
        pairs = [
            (key.strip().lower(), value.strip()) for key, _, value in (text.partition("=") for text in rule.filter)
        ]
    return GcPolicy(
        all=rule.all,
        filters=tuple(pairs),
        reserved_space=_size(rule.reserved_space or rule.keep_storage),
        max_used_space=_size(rule.max_used_space),
        min_free_space=_size(rule.min_free_space),
    )


def _size(text: str) -> int:
    return read_size(text) if text else 0
