"""The build cache's records as BuildKit's messages, and its filters."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ...errors import InvalidArgument
from ...filters import Filters
from ..request import Keep, Usage
from .journal import stamp
from .protocol import control_pb2 as pb

_FILTER = re.compile(r"([a-z]+)(?:(==|~=|!=)(.*))?", re.DOTALL)


def filters(texts: Iterable[str]) -> Filters:
    """Read `key==value` and `key~=pattern`, several of them with commas between."""
    found = Filters()
    for text in filter(None, texts):
        for part in text.split(","):
            match = _FILTER.fullmatch(part)
            if match is None or match[2] == "!=":
                raise InvalidArgument(f"failed to parse prune filters {text}: parse error")
            key, value = match[1], match[3]
            found = found.with_value(key, "true" if value is None else value.strip('"'))
    return found


def keep(request: pb.PruneRequest) -> Keep:
    return Keep(
        reserved_space=request.reserved_space,
        max_used_space=request.max_used_space,
        min_free_space=request.min_free_space,
        duration_ns=request.keep_duration_ns,
    )


def record(usage: Usage) -> pb.UsageRecord:
    return pb.UsageRecord(
        id=usage.id,
        is_in_use=usage.is_in_use,
        size=usage.size,
        created_at=stamp(usage.created_ns),
        last_used_at=stamp(usage.last_used_ns),
        usage_count=usage.usage_count,
        description=usage.description,
        record_type=usage.type,
        is_shared=usage.is_shared,
        parents=usage.parents,
    )
