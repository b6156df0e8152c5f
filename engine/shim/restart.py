"""The restart policy: whether a container that ended is started again, and after how long.

The rules and numbers are those of dockerd's restart manager. The shim applies them for as long as it lives; the daemon
asks `should_restart` where no shim is left, at its own start and after one was killed.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

FIRST_DELAY_S = 0.1
MAX_DELAY_S = 60.0
SETTLED_S = 10.0
"""A container that ran for this long begins anew with the shortest delay."""


def should_restart(name: str, maximum: int, *, exit_code: int, stopped_by_user: bool, count: int) -> bool:
    """Whether the policy `name` starts a container again that ended so, after `count` restarts."""
    if name == "always":
        return True
    if name == "unless-stopped":
        return not stopped_by_user
    return name == "on-failure" and exit_code != 0 and (maximum == 0 or count < maximum)


class RestartPolicy:
    """One container's policy, and what is remembered of its restarts since a user started it."""

    __slots__ = ("_delay_s", "canceled", "count", "forced", "maximum", "name", "stopped_by_user")

    def __init__(self, policy: Mapping[str, Any] | None = None) -> None:
        self.count: int = policy.get("count", 0) if policy else 0
        self.stopped_by_user = False
        self.canceled = False
        """A user has told it to end: it stays so, whatever the policy."""
        self.forced = False
        """The shim itself ends it, to start it again."""
        self._delay_s = 0.0
        self.set(policy or {})

    def set(self, policy: Mapping[str, Any]) -> None:
        self.name: str = policy.get("name", "no")
        self.maximum: int = policy.get("maximum", 0)

    def next_delay(self, exit_code: int, *, ran_s: float) -> float | None:
        """Count a restart and return the seconds until then; None where it is not to be restarted."""
        forced, self.forced = self.forced, False
        if self.canceled or (self.name in ("", "no") and not forced):
            return None
        self._delay_s = FIRST_DELAY_S if ran_s >= SETTLED_S or not self._delay_s else self._delay_s * 2
        self._delay_s = min(self._delay_s, MAX_DELAY_S)
        if not forced and not should_restart(
            self.name, self.maximum, exit_code=exit_code, stopped_by_user=self.stopped_by_user, count=self.count
        ):
            return None
        self.count += 1
        return self._delay_s
