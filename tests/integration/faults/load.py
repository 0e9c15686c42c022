"""Clients that ask without pause, and the balancer before them."""

import asyncio

from tests.integration.commands import Running
from tests.integration.faults.accounting import Request, Result
from tests.integration.faults.clients import Client
from tests.integration.faults.waiting import eventually


class Balancer:
    """Sends clients to ingresses by turns, but not to those that say they are not ready."""

    def __init__(self, ingresses: list[Running]) -> None:
        self.ingresses = list(ingresses)
        self._turn = 0

    def choose(self) -> str:
        """The next one's URL."""
        self._turn += 1
        return self.ingresses[self._turn % len(self.ingresses)].public

    async def leave_out(self, ingress: Running) -> None:
        """Notice that it is not ready any more."""
        await ingress.healthy(lambda status, _: status == 503)
        self.ingresses.remove(ingress)


class Load:
    """So many clients, half of them with GETs and half with POSTs, until told to stop."""

    def __init__(self, balancer: Balancer, clients: int) -> None:
        self.results: list[Result] = []
        self._stopped = False
        self._running = asyncio.gather(
            *(self._client(Client(balancer.choose), number) for number in range(clients))
        )

    async def answers(self, more: int) -> None:
        """Return when so many more have come."""
        enough = len(self.results) + more
        await eventually(lambda: len(self.results) >= enough, f"{more} more answers")

    async def stop(self) -> None:
        """Return when the last answer has come."""
        self._stopped = True
        await self._running

    async def _client(self, client: Client, number: int) -> None:
        while not self._stopped:
            method = "POST" if number % 2 else "GET"
            result = await client.ask(Request(method), wait=20)
            self.results.append(result)
            if result.answer is None or result.answer.status >= 400:
                await asyncio.sleep(0.05)  # told to come back, as a rule
        client.leave()
