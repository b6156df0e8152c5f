"""Device rules of a container's cgroup: Docker's and the spec's rules brought into one list for both drivers."""

from __future__ import annotations

from ..errors import RuntimeFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

_ANY = -1
# Every container may make nodes, and use the harmless ones and its terminals; runc appends the same rules.
ALWAYS: tuple[tuple[bool, str, int, int, str], ...] = (
    (True, "c", _ANY, _ANY, "m"),
    (True, "b", _ANY, _ANY, "m"),
    (True, "c", 1, 3, "rwm"),
    (True, "c", 1, 8, "rwm"),
    (True, "c", 1, 7, "rwm"),
    (True, "c", 5, 0, "rwm"),
    (True, "c", 1, 5, "rwm"),
    (True, "c", 1, 9, "rwm"),
    (True, "c", 136, _ANY, "rwm"),
    (True, "c", 5, 2, "rwm"),
)

Rule = tuple[bool, str, int, int, str]
"""(allow, type: a b or c, major or -1, minor or -1, access of r, w and m)"""


def effective(rules: Iterable[dict[str, Any]]) -> tuple[bool, list[Rule]]:
    """Return (is everything allowed to begin with?, the rules that then count, in order).

    A new container starts with nothing allowed; a rule on all devices makes those before it void.
    """
    allow_all = False
    kept: list[Rule] = []
    for rule in (*map(_parse, rules), *ALWAYS):
        allow, kind, major, minor, access = rule
        if kind == "a":
            allow_all, kept = allow, []
        elif rule not in kept and not (allow and allow_all and not kept):
            kept.append((allow, kind, major, minor, access))
    return allow_all, kept


def _parse(rule: dict[str, Any]) -> Rule:
    kind = rule.get("type") or "a"
    # Letters without a meaning are left out, as by runc.
    access = "".join(letter for letter in rule.get("access") or "rwm" if letter in "rwm")
    if kind not in ("a", "b", "c", "u") or not access:
        raise RuntimeFailure("invalid_argument", f"invalid device cgroup rule {rule!r}")
    major, minor = (_ANY if rule.get(key) is None else int(rule[key]) for key in ("major", "minor"))
    if kind == "a" and (major, minor) != (_ANY, _ANY):
        raise RuntimeFailure("invalid_argument", f"invalid device cgroup rule {rule!r}: wildcard type with numbers")
    return bool(rule.get("allow")), "c" if kind == "u" else kind, major, minor, access


def text(rule: Rule) -> str:
    """Return a rule as v1's files take it: "c 1:3 rwm"."""
    _, kind, major, minor, access = rule
    return f"{kind} {_number(major)}:{_number(minor)} {access}"


def _number(value: int) -> str:
    return "*" if value == _ANY else str(value)
