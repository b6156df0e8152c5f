"""JSON as Go reads and writes it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lightship.openapi.codec import DecodeError, decode, encode
from lightship.openapi.types.containers import ContainerInspectResponse
from lightship.openapi.types.requests import ContainerCreateRequest, ExecCreateRequest, ExecStartRequest
from lightship.openapi.types.volumes import VolumeCreateRequest
from msgspec import UNSET

FEW = settings(max_examples=50, deadline=None)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
NAMES = st.sampled_from(ContainerCreateRequest.__struct_encode_fields__)


@FEW
@given(ANY_JSON)
def test_any_json_is_decoded_or_refused(value):
    for wanted in (ContainerCreateRequest, ExecStartRequest, VolumeCreateRequest):
        try:
            assert isinstance(decode(json.dumps(value).encode(), wanted), wanted)
        except DecodeError as error:
            assert str(error)


@FEW
@given(st.binary())
def test_any_bytes_are_decoded_or_refused(body):
    try:
        decode(body, ContainerCreateRequest)
    except DecodeError as error:
        assert str(error)


@FEW
@given(st.dictionaries(NAMES, ANY_JSON, max_size=4))
def test_members_of_wrong_types_are_named(body):
    try:
        decode(json.dumps(body).encode(), ContainerCreateRequest)
    except DecodeError as error:
        text = str(error)
        assert any(f".{name}" in text for name in body) or "Go value of type string" in text or "config cannot" in text


@FEW
@given(NAMES, st.randoms())
def test_keys_match_without_regard_to_case(name, random):
    mixed = "".join(random.choice((letter.lower(), letter.upper())) for letter in name)
    plain = decode(json.dumps({name: None, "Image": ""}).encode(), ContainerCreateRequest)
    assert decode(json.dumps({mixed: None, "Image": ""}).encode(), ContainerCreateRequest) == plain
    if name in ("Hostname", "User", "Image"):
        assert name.lower() in repr(decode(json.dumps({mixed: "v"}).encode(), ContainerCreateRequest)).lower()
        assert decode(json.dumps({mixed: "v"}).encode(), ContainerCreateRequest) != plain


@FEW
@given(st.dictionaries(st.sampled_from(["Image", "User", "Hostname"]), st.text(max_size=5)))
def test_what_is_written_is_read_back(body):
    request = decode(json.dumps({"Image": "", **body}).encode(), ContainerCreateRequest)
    assert decode(encode(request), ContainerCreateRequest) == request


def test_null_is_the_zero_value():
    request = decode(
        b'{"Image":null,"Tty":null,"Env":null,"HostConfig":null,"Labels":{"a":null}}', ContainerCreateRequest
    )
    assert (request.image, request.tty, request.env, request.host_config) == ("", False, None, None)
    assert request.labels == {"a": ""}
    assert decode(b"null", ExecStartRequest) == ExecStartRequest()


def test_empty_and_absent_lists_differ():
    """P53: an empty entrypoint is not the image's."""
    assert decode(b'{"Entrypoint":[]}', ContainerCreateRequest).entrypoint == []
    assert decode(b'{"Image":""}', ContainerCreateRequest).entrypoint is None


def test_commands_may_be_one_string():
    request = decode(b'{"Cmd":"echo hi","Entrypoint":"/e"}', ContainerCreateRequest)
    assert (request.cmd, request.entrypoint) == (["echo hi"], ["/e"])
    with pytest.raises(DecodeError):
        decode(b'{"Cmd":"echo"}', ExecCreateRequest)


def test_unknown_keys_are_ignored():
    assert decode(b'{"Nope":{"a":[1]},"Image":"i"}', ContainerCreateRequest).image == "i"


def test_port_maps_keep_null_bindings():
    request = decode(
        b'{"Image":"","HostConfig":{"PortBindings":{"80/tcp":null,"81/tcp":[{"HostPort":"1"}]}}}',
        ContainerCreateRequest,
    )
    bindings = request.host_config.port_bindings
    assert bindings["80/tcp"] is None and bindings["81/tcp"][0].host_port == "1"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "got EOF while reading request body"),
        (b'{"a":', "unexpected EOF"),
        (b"{x}", "invalid character 'x' looking for beginning of object key string"),
        (b"[]", "json: cannot unmarshal array into Go value of type container.CreateRequest"),
        (b"not json", "invalid character 'o' in literal null (expecting 'u')"),
        (b'{"Image":tru}', "invalid character '}' in literal true (expecting 'e')"),
        (b'{"Image" "a"}', "invalid character '\"' after object key"),
        (b'{"Image":01}', "invalid character '1' after object key:value pair"),
        (b'{"Image":"a",}', "invalid character '}' looking for beginning of object key string"),
        (b'{"Image":"\\x"}', "invalid escape sequence `\\x` in string"),
        (b"[1 2]", "invalid character '2' after array element"),
        (b'{"a":-}', "invalid character '}' in numeric literal"),
        (b'{"a":"\n"}', "invalid character '\\n' in string literal"),
        (b'{"Cmd":[1]}', "json: cannot unmarshal array into Go value of type string"),
        (b'{"Env":[1]}', "json: cannot unmarshal number into .Env.0 of type string"),
        (b'{"StopTimeout":"x"}', "json: cannot unmarshal string into Go struct field .StopTimeout of type int"),
        (
            b'{"HostConfig":{"BlkioWeight":-1}}',
            "json: cannot unmarshal number -1 into Go struct field .HostConfig.BlkioWeight of type uint16",
        ),
        (
            b'{"ExposedPorts":{"80/tcp":1}}',
            "json: cannot unmarshal number into Go struct field .ExposedPorts.80~1tcp of type struct {}",
        ),
        (b'{"Tty":"x"}', "json: cannot unmarshal string into Go struct field .Tty of type bool"),
        (
            b'{"HostConfig":{"Memory":1.5}}',
            "json: cannot unmarshal number 1.5 into Go struct field .HostConfig.Memory of type int64",
        ),
        (
            b'{"HostConfig":{"Memory":9223372036854775808}}',
            "json: cannot unmarshal number 9223372036854775808 into Go struct field .HostConfig.Memory of type int64",
        ),
        (b'{"Labels":{"a":1}}', "json: cannot unmarshal number into Go struct field .Labels.a of type string"),
        (b'{"Image":"\xff"}', "invalid UTF-8"),
        (b"[" * 100_000, "exceeded max depth"),
    ],
)
def test_what_is_wrong_is_told_in_gos_words(body, message):
    with pytest.raises(DecodeError) as caught:
        decode(body, ContainerCreateRequest)
    assert str(caught.value) == f"invalid JSON: {message}"


def test_more_than_one_value_is_refused():
    with pytest.raises(DecodeError, match=r"^unexpected content after JSON$"):
        decode(b"{} {}", ContainerCreateRequest)


@pytest.mark.parametrize("body", [b"null", b"{}", b'{"HostConfig":{}}'])
def test_a_host_config_alone_is_no_container(body):
    with pytest.raises(DecodeError, match=r"^config cannot be empty in order to create a container$"):
        decode(body, ContainerCreateRequest)
    assert decode(b'{"image":""}', ContainerCreateRequest).image == ""


def test_what_docker_leaves_out_is_left_out():
    written = json.loads(encode(ContainerInspectResponse()))
    assert "GraphDriver" not in written and "SizeRw" not in written
    assert written["ExecIDs"] is None
    assert ContainerInspectResponse().graph_driver is UNSET
