"""What --chmod takes, as chmod(1) and BuildKit do."""

from __future__ import annotations

import stat

import pytest
from lightship.engine.build.fileops.modes import Mode
from lightship.engine.containers.fileworker import Refused

FILE, DIRECTORY = stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755


@pytest.mark.parametrize(
    ("text", "mode", "wanted"),
    [
        ("755", FILE, 0o755),
        ("04711", FILE, 0o4711),
        ("u+x", FILE, 0o744),
        ("+x", FILE, 0o755),
        ("a=r", FILE, 0o444),
        ("go=", FILE, 0o600),
        ("u=rwX,go=rX", FILE, 0o644),
        ("u=rwX,go=rX", DIRECTORY, 0o755),
        ("g=u", FILE, 0o664),
        ("u+s", FILE, 0o4644),
        ("+t", DIRECTORY, 0o1755),
        ("u-w,o-r", FILE, 0o440),
        ("g+w-r", FILE, 0o624),
    ],
)
def test_modes(text: str, mode: int, wanted: int) -> None:
    assert oct(Mode(text).apply(mode)) == oct(wanted)


@pytest.mark.parametrize("text", ["", "888", "xyz", "u+q", "u", "77777", "u+x,"])
def test_what_is_no_mode(text: str) -> None:
    with pytest.raises(Refused):
        Mode(text)
