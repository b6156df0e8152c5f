"""Parts of a context as directories of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
from lightship.engine.build.classic.linking import link


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    for name in ("Dockerfile", "a/one", "a/two", "a/deep/three", "b/four", "c/five"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (root / "empty").mkdir()
    (root / "link").symlink_to("b/four")
    (root / "a").chmod(0o750)
    return root


def linked(source: Path, tmp_path: Path, **patterns: list[str]) -> list[str]:
    target = tmp_path / "target"
    target.mkdir()
    link(source, target, **{"follow": [], "include": [], "exclude": [], **patterns})  # type: ignore[arg-type]
    return sorted(str(path.relative_to(target)) for path in target.rglob("*"))


def test_everything(source: Path, tmp_path: Path) -> None:
    found = linked(source, tmp_path)
    assert found == sorted(str(path.relative_to(source)) for path in source.rglob("*"))
    assert (tmp_path / "target/a/one").samefile(source / "a/one")
    assert (tmp_path / "target/link").is_symlink()
    assert (tmp_path / "target/a").stat().st_mode & 0o777 == 0o750
    assert (tmp_path / "target/a").stat().st_mtime_ns == (source / "a").stat().st_mtime_ns


@pytest.mark.parametrize(
    ("patterns", "found"),
    [
        ({"follow": ["Dockerfile", "absent"]}, ["Dockerfile"]),
        ({"follow": ["a/deep"]}, ["a", "a/deep", "a/deep/three"]),
        ({"follow": ["a/t*"]}, ["a", "a/two"]),
        ({"follow": ["./c/../c/five"]}, ["c", "c/five"]),
        ({"include": ["b"]}, ["b", "b/four"]),
        ({"exclude": ["a", "c", "link", "empty"]}, ["Dockerfile", "b", "b/four"]),
        ({"exclude": ["*", "!a/deep"]}, ["a", "a/deep", "a/deep/three"]),
        ({"follow": ["a"], "exclude": ["a/deep", "**/one"]}, ["a", "a/two"]),
    ],
)
def test_some(source: Path, tmp_path: Path, patterns: dict[str, list[str]], found: list[str]) -> None:
    assert linked(source, tmp_path, **patterns) == found


def test_where_a_link_is_followed_all_may_be_meant(source: Path, tmp_path: Path) -> None:
    assert "b/four" in linked(source, tmp_path, follow=["link"])
