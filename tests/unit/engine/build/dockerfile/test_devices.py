"""The fields of `RUN --device`."""

from __future__ import annotations

import pytest
from lightship.engine.build.dockerfile.devices import parse_device
from lightship.engine.errors import InvalidArgument


@pytest.mark.parametrize(
    ("text", "device"),
    [
        ("vendor.com/class=name", ("vendor.com/class=name", False)),
        ("vendor.com/class", ("vendor.com/class", False)),
        ("vendor.com/class=*,required", ("vendor.com/class=*", True)),
        ("required,name=vendor.com/class=a", ("vendor.com/class=a", True)),
        ("class,REQUIRED=false", ("class", False)),
    ],
)
def test_fields(text: str, device: tuple[str, bool]) -> None:
    assert parse_device(text) == device


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name=a,name=b", "device name already set to a"),
        ("a,b", "invalid field 'b' must be a key=value pair"),
        ("a,require=true", r"unexpected key 'require' in 'require=true' \(did you mean required\?\)"),
        ("a,required=perhaps", "invalid value for required: perhaps"),
    ],
)
def test_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        parse_device(text)
