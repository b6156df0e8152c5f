"""How the classic builder words what went wrong."""

from __future__ import annotations

import re

from ...errors import Error
from ...images.progress import Message
from ..dockerfile.errors import DockerfileError
from ..graph import Copy, LocalSource, Run
from ..vertices import StepError

_MISSING = re.compile(r'"/?([^"]*)": not found$')
_NOT_STARTED = re.compile(r"did not complete successfully: (?!exit code: \d+$)(.*)$")


def message(text: str, *, code: int | None = None) -> Message:
    detail: dict[str, object] = {"message": text} if code is None else {"code": code, "message": text}
    return {"errorDetail": detail, "error": text}


def of_step(error: StepError, instruction: str) -> Message:
    """Word a step's failure. `instruction` is its line of the Dockerfile."""
    step = error.step
    if isinstance(step, Run) and error.exit_code is not None:
        if not_started := _NOT_STARTED.search(str(error)):
            return message(not_started[1])
        command = " ".join(step.args)
        return message(f"The command '{command}' returned a non-zero code: {error.exit_code}", code=error.exit_code)
    missing = _MISSING.search(str(error))
    if isinstance(step, Copy) and missing:
        return message(f"{_verb(instruction)} failed: {_missing(step, missing[1], instruction)}")
    return message(str(error))


def of_dockerfile(error: DockerfileError) -> Message:
    """Word what is wrong with a line, or with the image that it names."""
    cause = error.__cause__
    return message(str(cause) if isinstance(cause, Error) else str(error))


def _verb(instruction: str) -> str:
    return instruction.split(maxsplit=1)[0].upper() if instruction else "COPY"


def _missing(step: Copy, path: str, instruction: str) -> str:
    outside = next((word for word in instruction.split() if word == ".." or word.startswith("../")), "")
    if not isinstance(step.source, LocalSource):
        return f"stat {path}: file does not exist"
    if outside:
        return f"forbidden path outside the build context: {outside} ()"
    return f"file not found in build context or excluded by .dockerignore: stat {path}: file does not exist"
