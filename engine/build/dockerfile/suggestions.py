"""`(did you mean X?)`: the closest of what would have been right."""

from __future__ import annotations

from collections.abc import Iterable

_FARTHEST = 2


def closest(word: str, options: Iterable[str], *, ignores_case: bool = False) -> str:
    """Return the option that differs least, empty where all differ too much or one not at all."""
    wanted = word.lower() if ignores_case else word
    best, best_distance = "", _FARTHEST + 1
    for option in options:
        compared = option.lower() if ignores_case else option
        if compared == wanted:
            return ""
        distance = _distance(wanted, compared)
        if distance < best_distance:
            best, best_distance = compared, distance
    return best.upper() if ignores_case and word == word.upper() and word != word.lower() else best


def suggestion(word: str, options: Iterable[str], *, ignores_case: bool = False) -> str:
    """Return the end of an error's sentence."""
    match = closest(word, options, ignores_case=ignores_case)
    return f" (did you mean {match}?)" if match else ""


def _distance(left: str, right: str) -> int:
    """Levenshtein's."""
    if abs(len(left) - len(right)) > _FARTHEST:
        return _FARTHEST + 1
    row = list(range(len(right) + 1))
    for index, char in enumerate(left, 1):
        diagonal, row[0] = row[0], index
        for column, other in enumerate(right, 1):
            diagonal, row[column] = row[column], min(diagonal + (char != other), row[column] + 1, row[column - 1] + 1)
    return row[-1]
