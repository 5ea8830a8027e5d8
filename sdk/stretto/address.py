"""Read and check addresses: their origin, what may be written, and what no downloaded file may send a call to."""

from __future__ import annotations

import socket
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit

from .errors import ConfigError
from .shapes import told

# Whoever reaches a metadata service from a machine in a cloud gets that machine's credentials.
# Source: the metadata services of AWS (169.254.169.254, fd00:ec2::254), Google (fd20:ce::254), Alibaba, Oracle and
# Azure. All others are link-local (RFC 3927, RFC 4291).
_METADATA = tuple(
    ip_network(each)
    for each in ("100.100.100.200/32", "192.0.0.192/32", "168.63.129.16/32", "fd00:ec2::/32", "fd20:ce::254/128")
)
# IPv6 addresses that stand for an IPv4 one, in their last 32 bits. Source: RFC 6052 and RFC 8215 (NAT64), RFC 2765
# (translated), RFC 4291 (compatible).
_TRANSLATED = tuple(map(ip_network, ("64:ff9b::/96", "64:ff9b:1::/48", "::ffff:0:0:0/96", "::/96")))


def origin(url: str) -> str:
    """Give scheme, host and port of an address: lower-case, the port always written out.

    Raises:
        ValueError: when the address has no valid host or port.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    return f"{parts.scheme}://[{host}]:{port}" if ":" in host else f"{parts.scheme}://{host}:{port}"


def check_base_url(url: Any, *, agent: str | None) -> None:
    """Refuse an address that is not http(s), names no host, or carries user info.

    Raises:
        ConfigError: says which; the address is not repeated where it may hold a password.
    """
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
        # What urlsplit drops or keeps, a client may read in another way: then the key's origin would be another one.
        clear = isinstance(url, str) and not any(c <= " " or c in "\\\x7f" for c in url)
        sound = clear and parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        parts, sound = None, False
    if isinstance(url, str) and "@" in (url if parts is None else parts.netloc):
        raise ConfigError("base_url must not hold a user or password: give api_key", agent=agent, key="base_url")
    if not sound:
        raise ConfigError(f"base_url must be an http(s) address, got {told(_bare(url))}", agent=agent, key="base_url")


def _bare(url: Any) -> Any:
    return url.partition("?")[0] if isinstance(url, str) else url  # what stands behind may be a key


@lru_cache(maxsize=4096)
def forbidden(host: str) -> bool:
    """Tell whether `host` is an IP address that is link-local or a metadata service's; a name is not.

    As numbers that address the same: 2852039166, 0xa9.0xfe.0xa9.0xfe, 169.254.43518 and the like are, too.
    """
    try:
        text = host if host.isascii() else host.encode("idna").decode()  # full-width digits and dots
        text = text.partition("%")[0].strip("[]").rstrip(".")
        address = _meant(ip_address(text) if ":" in text else IPv4Address(socket.inet_aton(text)))
    except (ValueError, OSError):
        return False
    return address.is_link_local or any(
        address in network for network in _METADATA if network.version == address.version
    )


def _meant(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if any(address in network for network in _TRANSLATED) and int(address) > 1:  # ::1 is this machine
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address
