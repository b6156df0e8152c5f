"""`docker ps`: which containers are shown, and in which order.

Filtering follows moby's `daemon/list.go`: newest first, `before` and `since` cut the list by position, `limit` counts
what is shown. What is said of each container is `summary`'s business.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...openapi.types.containers import ContainerSummary
from ..errors import Internal, InvalidArgument, NotFound
from ..numbers import natural
from .container import STATUSES
from .health import status as health_status
from .summary import port_summaries, summary

if TYPE_CHECKING:
    from ..filters import Filters
    from .container import Container
    from .context import Context

ACCEPTED = (
    "ancestor", "before", "exited", "expose", "health", "id", "is-task", "isolation", "label", "name", "network",
    "publish", "since", "status", "volume",
)  # fmt: skip
HEALTH = ("none", "starting", "healthy", "unhealthy")


@dataclass(slots=True)
class Selection:
    """The filters, checked and with every name in them resolved."""

    filters: Filters
    exit_codes: set[int]
    before: Container | None
    since: Container | None
    ids: set[str] | None
    images: set[str] | None
    published: set[str]
    exposed: set[str]


def list_containers(
    context: Context, filters: Filters, *, all: bool, limit: int
) -> Iterator[tuple[Container, ContainerSummary]]:
    """Give what `docker ps` shows, but for the sizes, which take time."""
    selection = _check(context, filters)
    everything = all or limit > 0 or "status" in filters
    shown = 0
    for container in _between(_newest_first(context), selection):
        if not (everything or container.state.running) or not _matches_cheaply(container, selection):
            continue
        if 0 < limit <= shown:
            return
        if _matches(container, selection):
            shown += 1
            yield container, summary(context, container)


def _newest_first(context: Context) -> list[Container]:
    return sorted(context.registry, key=lambda container: container.record.created_ns, reverse=True)


def _between(containers: list[Container], selection: Selection) -> Iterator[Container]:
    """Leave out what comes up to `before`, and stop at `since`; the list is newest first."""
    is_before = selection.before is None
    for container in containers:
        if not is_before:
            is_before = container is selection.before
        elif container is selection.since:
            return
        else:
            yield container


def _check(context: Context, filters: Filters) -> Selection:
    filters.validate(ACCEPTED)
    for status in filters.get("status"):
        if status not in STATUSES:
            raise InvalidArgument(
                f"invalid filter 'status={status}': invalid value for state ({status}): "
                "must be one of created, running, paused, restarting, removing, exited, dead"
            )
    for health in filters.get("health"):
        if health not in HEALTH:
            raise InvalidArgument(
                f"invalid filter 'health={health}': invalid value for health ({health}): "
                f"must be one of {', '.join(HEALTH)}"
            )
    filters.boolean("is-task")
    return Selection(
        filters=filters,
        exit_codes={_exit_code(value) for value in filters.get("exited")},
        before=_last_of(context, filters.get("before")),
        since=_last_of(context, filters.get("since")),
        ids=_ids(context, filters),
        images=_descendants(context, filters),
        published=_ports(filters, "publish"),
        exposed=_ports(filters, "expose"),
    )


def _exit_code(value: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise InvalidArgument(
            f"invalid filter 'exited={value}': strconv.Atoi: parsing \"{value}\": invalid syntax"
        ) from None


def _last_of(context: Context, refs: list[str]) -> Container | None:
    found = [context.registry.resolve(ref) for ref in refs]
    return found[-1] if found else None


def _ids(context: Context, filters: Filters) -> set[str] | None:
    """Return the containers that the `id` values stand for; None without any. Ambiguous ones stand for nothing."""
    if "id" not in filters:
        return None
    found: set[str] = set()
    for ref in filters.get("id"):
        try:
            found.add(context.registry.resolve_prefix(ref).id)
        except (NotFound, InvalidArgument):
            continue
    return found


def _descendants(context: Context, filters: Filters) -> set[str] | None:
    if "ancestor" not in filters:
        return None
    found: set[str] = set()
    for ref in filters.get("ancestor"):
        if image_id := context.images.find_id(ref):
            found |= {image_id, *context.images.descendants(image_id)}
    return found


def _ports(filters: Filters, key: str) -> set[str]:
    ports: set[str] = set()
    for value in filters.get(key):
        if ":" in value:
            raise Internal(f"filter for '{key}' should not contain ':': {value}")
        numbers, _, protocol = value.partition("/")
        first, _, last = numbers.partition("-")
        try:
            ports |= {f"{port}/{protocol or 'tcp'}" for port in range(_port(first), _port(last or first) + 1)}
        except ValueError as error:
            raise Internal(f"error while looking up for {key} {value}: {error}") from None
    return ports


def _port(text: str) -> int:
    if (number := natural(text, below=1 << 16)) is None:
        raise ValueError(f'strconv.ParseUint: parsing "{text}": invalid syntax')
    return number


def _matches_cheaply(container: Container, selection: Selection) -> bool:
    """The filters that come before `limit` counts."""
    filters = selection.filters
    return (
        (filters.regex("name", container.record.name) or filters.regex("name", container.name))
        and (selection.ids is None or container.id in selection.ids)
        and filters.labels("label", container.record.config.labels or {})
        and not filters.boolean("is-task")
    )


def _matches(container: Container, selection: Selection) -> bool:
    filters, state = selection.filters, container.state
    if selection.exit_codes and (state.running or not state.started_ns or state.exit_code not in selection.exit_codes):
        return False
    return (
        filters.regex("status", container.status())
        and filters.exact("health", health_status(state))
        and (selection.images is None or container.record.image_id in selection.images)
        and _matches_volume(container, filters)
        and _matches_network(container, filters)
        and _matches_port(container, selection)
    )


def _matches_volume(container: Container, filters: Filters) -> bool:
    if "volume" not in filters:
        return True
    points = [mount.point() for mount in container.record.mounts]
    known = {point.destination for point in points} | {point.name or point.source for point in points}
    return not known.isdisjoint(filters.get("volume"))


def _matches_network(container: Container, filters: Filters) -> bool:
    if "network" not in filters:
        return True
    networks = container.record.network.networks or {}
    return any(
        wanted in networks or any(endpoint.network_id.startswith(wanted) for endpoint in networks.values())
        for wanted in filters.get("network")
    )


def _matches_port(container: Container, selection: Selection) -> bool:
    if not (selection.published or selection.exposed):
        return True
    return any(
        f"{port.public_port or 0}/{port.type}" in selection.published
        or f"{port.private_port}/{port.type}" in selection.exposed
        for port in port_summaries(container.record.network.ports or {})
    )
