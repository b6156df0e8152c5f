"""The profile's text: what it must deny, and that it names whoever may send signals."""

from __future__ import annotations

import pytest
from lightship.engine import apparmor


@pytest.fixture
def text(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(apparmor, "_has_macro", lambda path: path == "abstractions/base")
    return apparmor.profile("p 1", engine_profile="lightship")


@pytest.mark.parametrize("rule", ["deny mount,", "deny @{PROC}/sysrq-trigger rwklx,", "deny /sys/firmware/** rwklx,"])
def test_denies(text: str, rule: str) -> None:
    assert f"  {rule}\n" in text


def test_signals_come_from_the_engine_and_from_inside(text: str) -> None:
    assert '  signal (receive) peer="lightship",\n' in text
    assert '  signal (send,receive) peer="p 1",\n' in text


def test_macros_are_used_where_they_are(text: str) -> None:
    assert "include <abstractions/base>" in text
    assert text.lstrip().startswith("@{PROC}=/proc/")


def test_a_profile_is_looked_up_by_its_whole_name(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tmp_path / "profiles"
    loaded.write_text("docker-default-2 (enforce)\nmy profile (complain)\n")
    monkeypatch.setattr(apparmor, "_LOADED", str(loaded))
    assert apparmor.is_loaded("my profile")
    assert not apparmor.is_loaded("docker-default")
