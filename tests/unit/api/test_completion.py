"""Shell completion knows every command and option; bash's is tried in a shell."""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path

import pytest
from lightship.api.command.main import parser

FOLDER = Path(__file__).resolve().parents[3] / "contrib/completion"


def commands() -> dict[str, argparse.ArgumentParser]:
    (action,) = (each for each in parser()._actions if isinstance(each, argparse._SubParsersAction))
    return dict(action.choices)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_all_is_known(shell: str) -> None:
    text = (FOLDER / f"lightship.{shell}").read_text()
    for name, command in commands().items():
        assert name in text
        for action in command._actions:
            for option in action.option_strings:
                if option.startswith("--") and option != "--help":
                    wanted = f"-l {option[2:]}" if shell == "fish" else option
                    assert wanted in text, (name, option)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["lightship", "d"], {"down", "doctor"}),
        (["lightship", "down", "--"], {"--root", "--containers", "--help"}),
        (["lightship", "up", "--network", ""], {"host", "private"}),
        (["lightship", "doctor", "--re"], {"--repair"}),
    ],
)
def test_bash_completes(words: list[str], expected: set[str]) -> None:
    line = " ".join(f"'{word}'" for word in words)
    script = f"source {FOLDER}/lightship.bash; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _lightship; "
    shown = subprocess.run(["bash", "-c", script + 'printf "%s\\n" "${COMPREPLY[@]}"'], capture_output=True, text=True)
    assert set(shown.stdout.split()) == expected, shown.stderr
