"""The one client for outgoing requests: addresses come from strangers, and our own network is none of their business.

A server that fetches what a text names can be made to ask the database, the cloud's metadata service or a router. So
each request resolves the name itself, refuses whatever is not a public address unless `OUTGOING_ALLOW` names it, and
connects to the address that was checked: a name that resolves differently a moment later changes nothing. Redirects go
the same way. There is one deadline for everything, a limit for the body, no proxy of the environment, no cookie.
"""

import ipaddress
import re
import socket
import ssl
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import httpcore
import httpx
from django.conf import settings
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from apps.core.errors import AppError

USER_AGENT = "Tiebreak"
PORTS = {80, 443}
"""Of the ports under 1024, the only ones where a web server is: a request must not speak to mail or SSH servers."""
MAX_ADDRESS_CHARS = 2_000

_HOST = re.compile(rb"[0-9a-z._:-]+")
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_PUBLIC = ipaddress.ip_network("2000::/3")
# Said here, because `is_global` has changed between versions of Python (RFC 6890, IANA's special-purpose registries).
_NOT_PUBLIC = [
    ipaddress.ip_network(network)
    for network in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"),
        *("192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
        *("224.0.0.0/4", "240.0.0.0/4"),
        # Of IPv6's public range: Teredo and its neighbours, documentation, 6to4 (which wraps any IPv4 address).
        *("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),
    )
]
_RESOLVER = ThreadPoolExecutor(max_workers=8, thread_name_prefix="resolve")
"""`getaddrinfo` has no deadline of its own, and who owns a name decides how long it takes."""


class AddressRefused(AppError):
    """The address is malformed, or one that may not be asked."""

    status = 422
    title = gettext_lazy("The address cannot be requested")


class RequestFailed(AppError):
    """The other server cannot be reached, or its answer is not usable."""

    status = 502
    title = gettext_lazy("The other server did not answer")


class RequestTimedOut(RequestFailed):
    """The other server took too long."""

    status = 504


@dataclass(frozen=True)
class Limits:
    """How long a request may take, everything included, how large the reply and how many the redirects may be."""

    seconds: float = 5.0
    size: int = 5 << 20
    redirects: int = 0


@dataclass(frozen=True)
class Reply:
    """What the other server answered, and the address it answered at; header names are in lower case."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


def fetch(
    url: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    limits: Limits = Limits(),
) -> Reply:
    """Send a request and return the reply, whatever its status; raise AddressRefused or RequestFailed.

    Redirects are followed for GET only, and `headers` go only to the origin they were meant for.
    """
    deadline = time.monotonic() + limits.seconds
    address = _parsed(url)
    origin = (address.scheme, address.raw_host, address.port)
    for _hop in range(limits.redirects + 1):
        same = (address.scheme, address.raw_host, address.port) == origin
        reply = _exchange(address, method, {**(headers or {})} if same else {}, body, limits.size, deadline)
        if method != "GET" or limits.redirects == 0 or reply.status not in {301, 302, 303, 307, 308}:
            return reply
        address = _parsed(reply.headers.get("location", ""), relative_to=address)
    raise RequestFailed(_("The server redirects too often."))


def check_address(url: str) -> None:
    """Raise AddressRefused for an address that can never be asked; what its name resolves to is checked when it is."""
    address = _parsed(url)
    host = address.raw_host.decode("ascii").strip("[]")
    try:
        number = ipaddress.ip_address(host)
    except ValueError:
        return
    port = address.port or (443 if address.scheme == "https" else 80)
    if not _allowed(host, port, [number]):
        raise AddressRefused(_("%(host)s is not a public address, and the settings do not allow it.") % {"host": host})


def is_public(address: _Address) -> bool:
    """Return whether an address is one of the internet's, and not of this machine, this network or a tunnel into it."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address not in _PUBLIC or address.scope_id is not None:
            return False
    return not any(address in network for network in _NOT_PUBLIC if network.version == address.version)


def _parsed(url: str, relative_to: httpx.URL | None = None) -> httpx.URL:
    if len(url) > MAX_ADDRESS_CHARS:
        raise AddressRefused(_("The address is too long."))
    try:
        address = httpx.URL(url) if relative_to is None else relative_to.join(url)
    except (httpx.InvalidURL, ValueError, UnicodeError) as error:
        raise AddressRefused(_("This is not an address.")) from error
    if address.scheme not in {"http", "https"} or not address.raw_host:
        raise AddressRefused(_("Only addresses that begin with http:// or https:// can be requested."))
    if not _HOST.fullmatch(address.raw_host) or not 0 < (address.port or 80) <= 65535:
        raise AddressRefused(_("This is not an address."))
    if address.userinfo:
        raise AddressRefused(_("An address with a user name or password cannot be requested."))
    return address


def _exchange(
    address: httpx.URL, method: str, headers: Mapping[str, str], body: bytes, size: int, deadline: float
) -> Reply:
    sent = {
        "Host": address.netloc.decode("ascii"),
        "User-Agent": USER_AGENT,
        "Accept": "*/*",
        "Accept-Encoding": "identity",  # a small reply must not unpack into a large one
        **headers,
    }
    content = None if method in {"GET", "HEAD"} else body
    target = httpcore.URL(scheme=address.raw_scheme, host=address.raw_host, port=address.port, target=address.raw_path)
    try:
        with (
            httpcore.ConnectionPool(ssl_context=_trust(), network_backend=_CheckedNetwork(deadline)) as pool,
            pool.stream(method, target, headers=list(sent.items()), content=content) as response,
        ):
            received = _within(response.iter_stream(), size)
    except httpcore.TimeoutException as error:
        raise RequestTimedOut(_("The server took too long.")) from error
    except (httpcore.ConnectError, OSError) as error:
        raise RequestFailed(_("The server could not be reached.")) from error
    except httpcore.NetworkError as error:
        raise RequestFailed(_("The connection broke before the server had answered.")) from error
    except httpcore.ProtocolError as error:
        raise RequestFailed(_("The server was reached, but what it answered is not whole, or is not HTTP.")) from error
    replied = {name.decode("ascii").lower(): value.decode("latin-1") for name, value in response.headers}
    return Reply(url=str(address), status=response.status, headers=replied, body=received)


def _within(chunks: Iterable[bytes], size: int) -> bytes:
    received = bytearray()
    for chunk in chunks:
        received += chunk
        if len(received) > size:
            raise RequestFailed(_("The reply is larger than %(size)d bytes.") % {"size": size})
    return bytes(received)


@lru_cache(maxsize=1)
def _trust() -> ssl.SSLContext:
    """Return the certificates to trust: certifi's, or those that SSL_CERT_FILE or SSL_CERT_DIR names."""
    return httpx.create_ssl_context()


def _allowed(host: str, port: int, addresses: Iterable[_Address]) -> list[_Address]:
    """Return those of a host's addresses that may be asked."""
    names = {entry for entry in settings.OUTGOING_ALLOW if not _is_network(entry)}
    networks = [ipaddress.ip_network(entry) for entry in settings.OUTGOING_ALLOW if _is_network(entry)]
    port_is_fine = port in PORTS or port >= 1024
    return [
        address
        for address in addresses
        if host in names
        or any(address in network for network in networks if network.version == address.version)
        or (port_is_fine and is_public(address))
    ]


def _is_network(entry: str) -> bool:
    try:
        ipaddress.ip_network(entry)
    except ValueError:
        return False
    return True


class _CheckedNetwork(httpcore.NetworkBackend):
    """Connections to checked addresses only, none of whose operations goes beyond the deadline."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.network = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first of the host's addresses that may be asked and answers."""
        found = _resolved(host, port, self.deadline)
        checked = _allowed(host, port, found)
        if not checked:
            raise AddressRefused(
                _("%(host)s is not a public address, and the settings do not allow it.") % {"host": host}
            )
        for number, address in enumerate(checked, start=1):
            # The last one may use all the time that is left; an address that is silent leaves some for the next.
            seconds = seconds_left(self.deadline) / (len(checked) - number + 1)
            try:
                stream = self.network.connect_tcp(str(address), port, seconds, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if number == len(checked):
                    raise
            else:
                return _TimedStream(stream, self.deadline)
        raise AssertionError("a loop over at least one address")


class _TimedStream(httpcore.NetworkStream):
    """A connection whose every read and write has the time that is left of the whole, so trickling does not pay."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self.stream, self.deadline = stream, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read some bytes."""
        return self.stream.read(max_bytes, seconds_left(self.deadline))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write all bytes."""
        self.stream.write(buffer, seconds_left(self.deadline))

    def close(self) -> None:
        """Close the connection."""
        self.stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """Go on encrypted; the certificate is checked against the name in the address, not the number connected to."""
        stream = self.stream.start_tls(ssl_context, server_hostname, seconds_left(self.deadline))
        return _TimedStream(stream, self.deadline)

    def get_extra_info(self, info: str) -> Any:
        """Return what the connection says about itself."""
        return self.stream.get_extra_info(info)


def _resolved(host: str, port: int, deadline: float) -> list[_Address]:
    looked_up: Future[list[Any]] = _RESOLVER.submit(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    try:
        rows = looked_up.result(timeout=seconds_left(deadline))
    except FutureTimeout as error:
        looked_up.cancel()
        raise httpcore.ConnectTimeout from error
    except (OSError, UnicodeError) as error:
        raise RequestFailed(_("There is no server called %(host)s.") % {"host": host}) from error
    return list(dict.fromkeys(ipaddress.ip_address(row[4][0]) for row in rows))


def seconds_left(deadline: float) -> float:
    """Return the time until a deadline; raise when it has passed."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout
    return left
