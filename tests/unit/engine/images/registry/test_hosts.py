from __future__ import annotations

import asyncio
import contextlib
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lightship.engine.config import RegistryConfig
from lightship.engine.errors import Error, Internal, InvalidArgument
from lightship.engine.images.registry.hosts import endpoints, server_host


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("registry.example", "registry.example"),
        ("registry.example:5000", "registry.example:5000"),
        ("https://registry.example/v1/", "registry.example"),
        ("http://[::1]:5000", "[::1]:5000"),
        ("https://name@registry.example?x#y", "registry.example"),
        ("º\x8e", "º\x8e"),
    ],
)
def test_what_a_client_logs_in_to(address: str, host: str) -> None:
    assert server_host(address) == host


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("a b", 'unable to parse server address: parse "https://a b": invalid character " " in host name'),
        ("http://[::1", "unable to parse server address: parse \"http://[::1\": missing ']' in host"),
        ("x:y", 'unable to parse server address: parse "https://x:y": invalid port ":y" after host'),
        ("x[y", 'unable to parse server address: parse "https://x[y": invalid character "[" in host name'),
        ("[x]:1", 'unable to parse server address: parse "https://[x]:1": invalid host "[x]"'),
        ("[::1]x", 'unable to parse server address: parse "https://[::1]x": invalid port "x" after host'),
    ],
)
def test_what_is_no_address_is_refused(address: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        server_host(address)
    assert str(error.value) == message


def test_a_host_that_becomes_more_than_a_host_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="NFKC"):
        server_host("a\u2100b")


@given(st.text())
def test_any_text_is_an_address_or_refused(text: str) -> None:
    with contextlib.suppress(Error):
        assert urlsplit(f"https://{server_host(text)}").netloc


def test_what_no_name_may_hold_is_looked_for_elsewhere() -> None:
    (endpoint,) = asyncio.run(endpoints(RegistryConfig(), "º\x8e", with_mirrors=False))
    assert endpoint.url == "https://º\x8e"


def test_ports_end() -> None:
    with pytest.raises(Internal, match="dial tcp: address 65536: invalid port"):
        asyncio.run(endpoints(RegistryConfig(), "127.0.0.1:65536", with_mirrors=False))
