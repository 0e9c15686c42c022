"""A client together with its caller of one set of options, as most tests want them."""

import ssl
from asyncio import Future
from functools import partial
from typing import Self

from dispatcher.aiohttp_upstream import AiohttpUpstreamClient
from dispatcher.lean_upstream import LeanUpstreamClient
from dispatcher.options import ClientTls, PoolLimits, UpstreamOptions
from dispatcher.resolver import Resolver
from dispatcher.upstream import Address, ConnectionCounts, UpstreamRequest, UpstreamResponse

Kind = type[LeanUpstreamClient] | type[AiohttpUpstreamClient]


class Calling:
    """Runs a client of one kind; ``tls`` serves https addresses."""

    def __init__(
        self,
        kind: Kind,
        *,
        limits: PoolLimits | None = None,
        tls: ssl.SSLContext | None = None,
        server_name: str | None = None,
        resolver: Resolver | None = None,
    ) -> None:
        self.client = kind(resolver=resolver)
        client_tls = ClientTls(tls, server_name) if tls else None
        self.options = UpstreamOptions(limits or PoolLimits(), client_tls)
        self.caller = self.client.caller(self.options)

    @property
    def counts(self) -> ConnectionCounts:
        return self.client.counts

    async def __aenter__(self) -> Self:
        await self.client.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.client.__aexit__(*exc_info)

    def call(
        self, address: Address, request: UpstreamRequest, timeout: float
    ) -> Future[UpstreamResponse]:
        return self.caller.call(address, request, timeout)


lean = partial(Calling, LeanUpstreamClient)
aiohttp = partial(Calling, AiohttpUpstreamClient)
