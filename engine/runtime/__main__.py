"""`python -m lightship.engine.runtime` is `lightship-runtime`."""

from __future__ import annotations

from .cli import main

main()
