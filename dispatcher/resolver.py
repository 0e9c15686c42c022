"""Names to addresses, as the system knows them."""

import asyncio
import ipaddress
import socket
from asyncio import Task
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

# Family, type, protocol, canonical name, socket address: what getaddrinfo gives.
AddressInfo = tuple[int, int, int, str, tuple[Any, ...]]

_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


class Resolver(Protocol):
    """Knows where names are."""

    async def resolve(self, host: str, port: int) -> Sequence[AddressInfo]:
        """Its addresses, the best first, at least one. Raises OSError (socket.gaierror)."""


LookUp = Callable[[str, int], Coroutine[None, None, Sequence[AddressInfo]]]


class SystemResolver:
    """Asks getaddrinfo, outside of the loop; ``look_up`` replaces that.

    Those who want one name at the same time share one look-up, so that a name server that does not
    answer costs one thread for each name at most, however many wait. Nothing is remembered after
    that: kept connections spare the look-up, and a name that moves is followed at once.
    """

    def __init__(self, look_up: LookUp | None = None) -> None:
        self._look_up = look_up or _look_up
        self._under_way: dict[tuple[str, int], Task[Sequence[AddressInfo]]] = {}

    async def resolve(self, host: str, port: int) -> Sequence[AddressInfo]:
        """See Resolver. Whoever gives up waiting takes the answer from nobody else."""
        if (literal := _literal(host, port)) is not None:
            return (literal,)
        key = host, port
        if (task := self._under_way.get(key)) is None:
            task = self._under_way[key] = asyncio.create_task(self._look_up(host, port))
            task.add_done_callback(lambda done: self._answered(key, done))
        found = await asyncio.shield(task)
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "the name has no address")
        return found

    def _answered(self, key: tuple[str, int], task: Task[Sequence[AddressInfo]]) -> None:
        del self._under_way[key]
        if not task.cancelled():
            task.exception()  # nobody may be waiting for it any more


def _literal(host: str, port: int) -> AddressInfo | None:
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        return None
    rest = () if version == 4 else (0, 0)
    return _FAMILIES[version], socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port, *rest)


async def _look_up(host: str, port: int) -> Sequence[AddressInfo]:
    loop = asyncio.get_running_loop()
    try:
        return await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    except UnicodeError as error:
        raise socket.gaierror(socket.EAI_NONAME, "no name of a host") from error
