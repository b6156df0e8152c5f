"""What `docker top` gives to ps."""

from __future__ import annotations

import pytest
from lightship.engine.containers.top import check_args
from lightship.engine.errors import Internal, InvalidArgument


def test_what_ps_may_be_told() -> None:
    check_args("-o pid,args=COMMAND")
    with pytest.raises(Internal, match='specifying "args=PID" is not allowed'):
        check_args("-o pid, args=PID")
    with pytest.raises(InvalidArgument, match="null byte"):
        check_args("-o \0pid")
