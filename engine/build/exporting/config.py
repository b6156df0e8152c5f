"""An image's configuration as it is exported: what the frontend made, with its layers filled in.

Times come from the layers' records, not from the clock: a build that is cached as a whole gives the same image again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import msgspec

from ...images.config import History, ImageConfig, RootFS
from ...times import SECOND_NS, parse_time, rfc3339, timestamp
from ..context import Context

_COMMENT = "buildkit.exporter.image.v0"


def completed(
    config: ImageConfig, diff_ids: Sequence[str], *, times_ns: Mapping[str, int], epoch_s: int | None
) -> ImageConfig:
    """Return the config with its root file system; `epoch_s` (SOURCE_DATE_EPOCH) is the latest time that it tells."""
    history = [msgspec.structs.replace(entry) for entry in config.history or []]
    _match(history, diff_ids)
    _date(history, [rfc3339(times_ns.get(diff_id) or time.time_ns()) for diff_id in diff_ids])
    if epoch_s is not None:
        for entry in history:
            if entry.created is not None and parse_time(entry.created) > epoch_s * SECOND_NS:
                entry.created = timestamp(epoch_s)
    now = rfc3339(time.time_ns()) if epoch_s is None else timestamp(epoch_s)
    return msgspec.structs.replace(
        config,
        created=(config.created if epoch_s is not None else None) or (history[-1].created if history else None) or now,
        history=history,
        rootfs=RootFS(diff_ids=list(diff_ids)),
    )


def layer_times(context: Context) -> dict[str, int]:
    """Return when each layer of the cache was made."""
    return {record.layers[-1]: record.created_ns for _, record in context.cache.records() if record.layers}


def _match(history: list[History], diff_ids: Sequence[str]) -> None:
    """Bring history and layers to agree."""
    told = 0
    for entry in history:
        if not entry.empty_layer:
            told += 1
            if told > len(diff_ids):
                entry.empty_layer = True
    history += [History(comment=_COMMENT) for _ in diff_ids[told:]]


def _date(history: list[History], times: Sequence[str]) -> None:
    """Date entries without a time by their layers; those without one as the layer before, or the first new one."""
    layers = iter(times)
    for entry in history:
        if not entry.empty_layer:
            made = next(layers)
            entry.created = entry.created or made
    undated = next((number for number, entry in enumerate(history) if entry.created is None), len(history))
    dated = [entry.created for entry in history[undated:] if entry.created is not None]
    before = [entry.created for entry in history[:undated] if entry.created is not None]
    last = (dated or before[::-1] or [rfc3339(time.time_ns())])[0]
    for entry in history[undated:]:
        last = entry.created = entry.created or last
