"""From where a request comes."""

from ipaddress import ip_address

from django.conf import settings
from django.http import HttpRequest


def client_address(request: HttpRequest) -> str:
    """Return the caller's address, or "" when it is not known (a Unix socket without a proxy that says more).

    `X-Forwarded-For` counts only as far as our own proxies wrote it: anybody may send one.
    """
    address = request.META.get("REMOTE_ADDR", "")
    if settings.TRUSTED_PROXIES:
        hops = [hop.strip() for hop in request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")]
        if len(hops) >= settings.TRUSTED_PROXIES:
            address = hops[-settings.TRUSTED_PROXIES]
    try:
        return str(ip_address(address))
    except ValueError:
        return ""


def network_of(address: str) -> str:
    """Return what is counted as one caller: an IPv4 address, or the /64 that one IPv6 host can pick addresses from."""
    if ":" not in address:
        return address
    return ":".join(ip_address(address).exploded.split(":")[:4]) + "::/64"
