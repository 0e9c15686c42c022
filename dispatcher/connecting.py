"""From an address to a connection: its name, TCP, and TLS where the scheme wants it."""

import asyncio
import errno
import socket
import ssl
from asyncio import Transport
from collections.abc import Callable
from typing import Protocol, TypeVar

import aiohappyeyeballs

from broker.problems import ProxyError
from dispatcher.options import ClientTls
from dispatcher.resolver import Resolver
from dispatcher.upstream import Address, ConnectFailed, ConnectTimedOut

# RFC 8305 section 8: how long one address may keep the next from being tried beside it, in seconds.
ATTEMPT_DELAY = 0.25

_BY_ERRNO = {
    errno.ECONNREFUSED: ProxyError.CONNECTION_REFUSED,
    errno.ETIMEDOUT: ProxyError.CONNECTION_TIMEOUT,
    errno.ENETUNREACH: ProxyError.DESTINATION_IP_UNROUTABLE,
    errno.EHOSTUNREACH: ProxyError.DESTINATION_IP_UNROUTABLE,
}

AnyProtocol = TypeVar("AnyProtocol", bound=asyncio.Protocol)


class Progress(Protocol):
    """Somebody who waits for a connection.

    ``late`` is what it is called if the time runs out now.
    """

    late: ProxyError


async def open_connection(
    address: Address,
    make_protocol: Callable[[], AnyProtocol],
    resolver: Resolver,
    tls: ClientTls | None,
    timeout: float,
    progress: Progress,
) -> tuple[Transport, AnyProtocol]:
    """Connect within ``timeout`` seconds; ``tls`` is for https addresses. Raises ConnectFailed.

    The addresses of a name are tried as RFC 8305 says: families in turns, the next one soon beside
    the last, the first that answers wins. (asyncio's loop can do that itself, uvloop's can't: it
    waits for each address in its turn.)
    """
    progress.late = ProxyError.DNS_TIMEOUT
    try:
        async with asyncio.timeout(timeout) as limit:
            found = await resolver.resolve(address.ip or address.host, address.port)
            progress.late = ProxyError.CONNECTION_TIMEOUT
            sock = await aiohappyeyeballs.start_connection(
                found, happy_eyeballs_delay=ATTEMPT_DELAY
            )
            return await asyncio.get_running_loop().create_connection(
                make_protocol,
                sock=sock,
                ssl=tls.context if tls else None,
                server_hostname=(tls.server_name or address.host) if tls else None,
            )
    except (OSError, ValueError, RuntimeError) as error:  # uvloop has the last for some failures
        if limit.expired():
            detail = f"no connection to {address} within {timeout:g} s"
            raise ConnectTimedOut(detail, sent=False, proxy_error=progress.late) from error
        raise connect_failed(address, error) from error


def connect_failed(address: Address, error: BaseException) -> ConnectFailed:
    """What a failure to connect is to callers."""
    detail = f"can't connect to {address}: {str(error) or type(error).__name__}"
    return ConnectFailed(detail, sent=False, proxy_error=cause(error))


def cause(error: BaseException) -> ProxyError:
    """The words of RFC 9209 for an error of the system or of TLS."""
    match error:
        case ssl.SSLCertVerificationError():
            return ProxyError.TLS_CERTIFICATE_ERROR
        case ssl.SSLError() if "ALERT" in str(error):
            return ProxyError.TLS_ALERT_RECEIVED
        case ssl.SSLError():
            return ProxyError.TLS_PROTOCOL_ERROR
        case socket.gaierror():
            return ProxyError.DNS_ERROR
        case OSError() if error.errno in _BY_ERRNO:
            return _BY_ERRNO[error.errno]
        case ConnectionError():
            return ProxyError.CONNECTION_TERMINATED
        case OSError() if error.errno is None:  # several addresses, each with a failure of its own
            return ProxyError.DESTINATION_UNAVAILABLE
        case _:
            return ProxyError.PROXY_INTERNAL_ERROR
