"""Names that lead where a test wants, and addresses where nobody is."""

import asyncio
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from dispatcher.resolver import AddressInfo


class Names:
    """A resolver for which every name has the same addresses."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = addresses

    async def resolve(self, host: str, port: int) -> Sequence[AddressInfo]:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))
            for address in self._addresses
        ]


class NoSuchName:
    """A name server that knows nothing."""

    async def resolve(self, host: str, port: int) -> Sequence[AddressInfo]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


class SilentNameServer:
    """A name server that never answers."""

    async def resolve(self, host: str, port: int) -> Sequence[AddressInfo]:
        await asyncio.Event().wait()
        raise AssertionError


@contextmanager
def nobody_home(host: str, port: int = 0) -> Iterator[int]:
    """A port that neither accepts nor refuses: its queue is full, what comes is dropped."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server((host, port), backlog=0))
        port = listener.getsockname()[1]
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex((host, port))
        yield port
