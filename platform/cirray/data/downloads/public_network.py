"""Connections to public addresses only.

The address that is checked is the one that is connected to, so a name that resolves to a private address the second
time (DNS rebinding) gains nothing. Every redirect makes a connection of its own, and is checked too.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from typing import Any

import httpcore


class PrivateAddressError(Exception):
    """A host has no public address."""


class PublicNetwork(httpcore.NetworkBackend):
    """Opens TCP connections, to public addresses only unless `allow_private`."""

    def __init__(self, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connects to a host.

        Raises:
            PrivateAddressError: it has none but private, loopback or other special addresses.
            httpcore.ConnectError: its name cannot be resolved, or nothing answers.
        """
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"{host} cannot be resolved: {error}") from None
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        allowed = [address for address in addresses if self._allow_private or is_public(address)]
        if not allowed:
            raise PrivateAddressError(f"{host} is {addresses[0]}, which is not a public address")
        return self._connect_first(allowed, port, timeout, local_address, socket_options)

    def _connect_first(self, addresses: list[str], port: int, *options: Any) -> httpcore.NetworkStream:
        """Connects to the first address that answers: a host may have an IPv6 address that cannot be reached."""
        for address in addresses[:-1]:
            try:
                return self._sockets.connect_tcp(address, port, *options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return self._sockets.connect_tcp(addresses[-1], port, *options)


def is_public(address: str) -> bool:
    """Whether an IP address is reachable from anywhere: not private, loopback, link-local, multicast or reserved."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(ip, "ipv4_mapped", None) or getattr(ip, "sixtofour", None)
    return (mapped or ip).is_global and not ip.is_multicast
