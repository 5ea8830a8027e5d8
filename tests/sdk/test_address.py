"""Addresses: what may be written, where it leads, and what no file may send a call to."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stretto.address import check_base_url, forbidden, origin
from stretto.errors import ConfigError

PROPERTY = settings(deadline=None, derandomize=True, max_examples=200)
METADATA = "169.254.169.254"


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("http://Host.example/v1", "http://host.example:80"),
        ("https://host.example", "https://host.example:443"),
        ("HTTPS://host.example:8443/v1?x#y", "https://host.example:8443"),
        ("http://[::1]:8080/v1", "http://[::1]:8080"),
        ("http://[FE80::1]/", "http://[fe80::1]:80"),
    ],
)
def test_an_origin_is_scheme_host_and_port(url: str, found: str) -> None:
    assert origin(url) == found
    assert origin(found) == found


@pytest.mark.parametrize(
    "url", ["http://h", "https://h:1/v1?a=b#c", "http://[::1]:80", "http://127.0.0.1:65535", "http://bücher.example/v1"]
)
def test_an_address_of_http_is_allowed(url: str) -> None:
    check_base_url(url, agent=None)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h",
        "/v1",
        "ftp://h",
        "file:///etc/passwd",
        "http://",
        "http:///v1",
        "http://h:port",
        "http://h:65536",
        "http://h:0",
        "http://h:-1",
        "http://[::1",
        "http://h\\evil.example",
        "http://h /v1",
        "http://h\t/v1",
        "http://h\r\nx: y",
        " http://h",
        "http://h\x00",
        "javascript:alert(1)",
        None,
        7,
        b"http://h",
    ],
)
def test_anything_else_is_refused(url: Any) -> None:
    with pytest.raises(ConfigError, match="base_url must be an http") as error:
        check_base_url(url, agent="a")
    assert (error.value.agent, error.value.key) == ("a", "base_url")


@pytest.mark.parametrize("url", ["http://user:hunter2@h", "http://user@h", "http://hunter2@[::1", "http://@h"])
def test_a_password_in_an_address_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError, match="user or password") as error:
        check_base_url(url, agent=None)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    "host",
    [
        METADATA,
        "169.254.0.0",
        "169.254.255.255",
        "169.254.169.254.",
        "::ffff:169.254.169.254",
        "::ffff:a9fe:a9fe",
        "[::ffff:a9fe:a9fe]",
        "::169.254.169.254",
        "::ffff:0:169.254.169.254",
        "64:ff9b::169.254.169.254",
        "64:ff9b:1::a9fe:a9fe",
        "2002:a9fe:a9fe::",
        "fe80::1",
        "fe80::1%eth0",
        "fe80::1%25eth0",
        "febf::1",
        "fd00:ec2::254",
        "fd20:ce::254",
        "100.100.100.200",
        "192.0.0.192",
        "168.63.129.16",
        "2852039166",
        "0xa9fea9fe",
        "0XA9FEA9FE",
        "025177524776",
        "0251.0376.0251.0376",
        "0xa9.0xfe.0xa9.0xfe",
        "169.254.43518",
        "169.16689662",
        "169.254.169%2e254",
        "\uff11\uff16\uff19.254.169.254",
        "169\u3002254\u3002169\u3002254",
        "\u2460\u2465\u2468.254.169.254",
    ],
)
def test_link_local_and_metadata_addresses_are_known_in_every_spelling(host: str) -> None:
    assert forbidden(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "localhost",
        "127.0.0.1",
        "127.1",
        "0.0.0.0",
        "0",
        "::1",
        "::",
        "[::1]",
        "10.0.0.1",
        "192.168.1.1",
        "172.16.0.1",
        "100.100.100.201",
        "169.253.255.255",
        "169.255.0.0",
        "fd00::1",
        "fec0::1",
        "2001:db8::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::127.0.0.1",
        "metadata.google.internal",
        "169.254.169.254.nip.example",
        "example.com",
        "bücher.example",
        "\ud800",
        "a..b",
        "999.999.999.999",
        "v1.fe80::a",
    ],
)
def test_others_and_names_are_not_refused(host: str) -> None:
    assert not forbidden(host)


@PROPERTY
@given(
    st.ip_addresses(v=4, network="169.254.0.0/16"), st.sampled_from(["{}", "{}.", "::ffff:{}", "64:ff9b::{}", "[::{}]"])
)
def test_so_is_each_of_them(address: ipaddress.IPv4Address, form: str) -> None:
    assert forbidden(form.format(address))
    assert forbidden(str(int(address)))
    assert forbidden(hex(int(address)))


@PROPERTY
@given(st.text(max_size=20) | st.ip_addresses().map(str))
def test_every_text_has_an_answer(host: str) -> None:
    assert forbidden(host) in (True, False)
