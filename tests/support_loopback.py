"""Nobody leaves this machine: what a test connects to or looks up is refused, unless it is loopback."""

import ipaddress
import socket
from typing import Any

LOOPBACK_NAMES = {None, "", "localhost"}


def is_loopback(host: Any) -> bool:
    """Say whether ``host`` is this machine, by name or by address; no name is looked up."""
    text = host.decode() if isinstance(host, bytes) else host
    if text in LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(str(text).strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return False


def stay_here() -> None:
    """Fence in this process: sockets of the internet connect to loopback only, and no foreign name is looked up."""
    connect, connect_ex, getaddrinfo = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def fenced_connect(self: socket.socket, address: Any) -> None:
        _check(self, address)
        connect(self, address)

    def fenced_connect_ex(self: socket.socket, address: Any) -> int:
        _check(self, address)
        return connect_ex(self, address)

    def fenced_getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        if not is_loopback(host) and not _is_address(host):
            raise RuntimeError(f"a test looks up {host!r}; tests stay on 127.0.0.1")
        return getaddrinfo(host, *arguments, **options)

    setattr(socket.socket, "connect", fenced_connect)  # noqa: B010 - the checkers know it as read-only
    setattr(socket.socket, "connect_ex", fenced_connect_ex)  # noqa: B010
    setattr(socket, "getaddrinfo", fenced_getaddrinfo)  # noqa: B010


def _check(sock: socket.socket, address: Any) -> None:
    if sock.family in {socket.AF_INET, socket.AF_INET6} and not is_loopback(address[0]):
        raise RuntimeError(f"a test connects to {address[0]!r}; tests stay on 127.0.0.1")


def _is_address(host: Any) -> bool:
    try:
        ipaddress.ip_address(host.decode() if isinstance(host, bytes) else host)
    except ValueError:
        return False
    return True
