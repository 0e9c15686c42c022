"""What docs/load-balancing.md and README.md show of load balancing does what they say."""

import ast
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from types import CodeType
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.integration.commands import Handler, configuration, started, upstream

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "load-balancing.md").read_text()
README = (ROOT / "README.md").read_text()
FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ADDRESS = re.compile(r"http://10\.[0-9.]+:8080")


def blocks(text: str, language: str, containing: str = "") -> list[str]:
    """The fenced blocks in that language."""
    found = [block for kind, block in FENCED.findall(text) if kind == language]
    return [block for block in found if containing in block]


class Instances:
    """Real upstreams in the place of a text's addresses; each counts as the number of its."""

    def __init__(self) -> None:
        self.called: list[int] = []
        self.checked: set[str] = set()
        self._urls: dict[str, str] = {}
        self._stack = AsyncExitStack()

    async def replace(self, text: str) -> str:
        """The text with the addresses of upstreams that run."""
        for address in dict.fromkeys(ADDRESS.findall(text)):
            handler = self._handler(len(self._urls) + 1)
            self._urls[address] = await self._stack.enter_async_context(upstream(handler))
        return ADDRESS.sub(lambda match: self._urls[match[0]], text)

    async def close(self) -> None:
        """Stop them."""
        await self._stack.aclose()

    def _handler(self, number: int) -> Handler:
        async def answer(request: web.BaseRequest) -> web.Response:
            if request.path in ("/health", "/ready"):
                self.checked.add(request.path)
            else:
                self.called.append(number)
            return web.json_response(["Zoë"])

        return answer


@pytest.fixture
async def instances() -> AsyncIterator[Instances]:
    """Stopped at the end."""
    made = Instances()
    yield made
    await made.close()


async def executed(program: str) -> dict[str, Any]:
    """Run a program that awaits at its top; its variables."""
    variables: dict[str, Any] = {}
    code: CodeType = compile(program, "example", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    await eval(code, variables)
    return variables


@pytest.mark.parametrize(
    ("text", "path"), [(README, "/health"), (DOCUMENT, "/ready")], ids=["README", "document"]
)
async def test_the_library(text: str, path: str, instances: Instances) -> None:
    """The program gets its answer from an instance, while the instances are checked."""
    (program,) = blocks(text, "python", containing="import LoadBalancer")

    variables = await executed(await instances.replace(program))

    assert variables["users"] == ["Zoë"]
    assert len(instances.called) == 1
    assert set(variables["balancer"].states.values()) == {"healthy"}
    assert instances.checked <= {path}


async def test_a_program_that_tries_again(instances: Instances) -> None:
    """The document's program gets its answer though the first instance that it asks is dead."""
    (program,) = blocks(DOCUMENT, "python")
    first, second = dict.fromkeys(ADDRESS.findall(program))
    program = await instances.replace(program.replace(first, "http://127.0.0.1:1"))
    assert second not in program

    variables = await executed(program)

    assert variables["users"] == ["Zoë"]
    assert variables["tried"][0] == "http://127.0.0.1:1"
    assert len(variables["tried"]) == 2


async def test_the_sequence_of_weights(tmp_path: Path, instances: Instances) -> None:
    """Requests go to the instances in the order that is shown."""
    (services,) = blocks(DOCUMENT, "yaml", containing="weight: 5")
    shown = re.search(r"instances `([0-9 ]+)`", DOCUMENT)
    assert shown is not None
    await ask(tmp_path, await instances.replace(services), times=14)

    assert instances.called == [int(number) for number in shown[1].split()] * 2


@pytest.mark.parametrize(("zone", "number"), [("eu-1a", 1), ("eu-1b", 2)])
async def test_zones(tmp_path: Path, instances: Instances, zone: str, number: int) -> None:
    """Requests stay in the zone of the process."""
    (services,) = blocks(DOCUMENT, "yaml", containing="zone: eu-1a")
    await ask(tmp_path, await instances.replace(services), times=5, zone=zone)

    assert instances.called == [number] * 5


async def ask(folder: Path, services: str, times: int, **settings: str) -> None:
    """Send so many requests to a gateway with these services."""
    directory = Path(configuration(folder, "http://127.0.0.1:1"))
    (directory / "services.yaml").write_text(services)
    async with (
        started(folder, "up", "--config", str(directory), **settings) as running,
        aiohttp.ClientSession() as session,
    ):
        for _ in range(times):
            async with session.get(running.public + "/open/x") as response:
                assert response.status == 200
