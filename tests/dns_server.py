"""An authoritative DNS server of the test's own, on loopback, over UDP and TCP alike."""

import asyncio
from contextlib import AsyncExitStack
from typing import Self

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from tests.processes import free_port

HOST = "127.0.0.1"


class DnsServer:
    """Answers from ``zone``, by name and type; a name that it has under no type is NXDOMAIN.

    ``rcode`` is answered instead, if set; ``silent``: nothing is. UDP answers over 512 bytes are
    cut short, as RFC 1035 wants it. ``asked`` are the questions, as ``udp A users.test.``.
    """

    def __init__(self, ttl: int = 1) -> None:
        self.zone: dict[tuple[str, str], list[str]] = {}
        self.additional: list[dns.rrset.RRset] = []
        self.ttl = ttl
        self.rcode: dns.rcode.Rcode | None = None
        self.silent = False
        self.asked: list[str] = []
        self.port = free_port()
        self._stack = AsyncExitStack()

    @property
    def nameservers(self) -> tuple[tuple[str, int], ...]:
        """As a resolver wants it."""
        return ((HOST, self.port),)

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        at = (HOST, self.port)
        async with AsyncExitStack() as stack:
            transport, _ = await loop.create_datagram_endpoint(lambda: _Udp(self), at)
            stack.callback(transport.close)
            await stack.enter_async_context(await asyncio.start_server(self._tcp, *at))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    def answer(self, wire: bytes, carrier: str) -> bytes | None:
        """To one message."""
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name, type_ = question.name.to_text(), dns.rdatatype.to_text(question.rdtype)
        self.asked.append(f"{carrier} {type_} {name}")
        if self.silent:
            return None
        response = dns.message.make_response(query)
        if self.rcode is not None:
            response.set_rcode(self.rcode)
            return response.to_wire()
        self._fill(response, name, type_)
        if carrier == "tcp" or len(response.to_wire()) <= 512:
            return response.to_wire()
        short = dns.message.make_response(query)
        short.flags |= dns.flags.TC
        return short.to_wire()

    def _fill(self, response: dns.message.Message, name: str, type_: str) -> None:
        aliases = self.zone.get((name, "CNAME"))
        if aliases:
            response.answer.append(dns.rrset.from_text(name, self.ttl, "IN", "CNAME", *aliases))
            name = aliases[0]
        records = self.zone.get((name, type_))
        if records:
            response.answer.append(dns.rrset.from_text(name, self.ttl, "IN", type_, *records))
            response.additional += self.additional
        elif not any(known == name for known, _ in self.zone):
            response.set_rcode(dns.rcode.NXDOMAIN)

    async def _tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            size = int.from_bytes(await reader.readexactly(2), "big")
            answer = self.answer(await reader.readexactly(size), "tcp")
            if answer is not None:
                writer.write(len(answer).to_bytes(2, "big") + answer)
                await writer.drain()
        finally:
            writer.close()


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]  # UDP only
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = self._server.answer(data, "udp")
        if answer is not None:
            self._transport.sendto(answer, addr)
