"""The examples of docs/resilience.md do what they show, and those of the README on the breaker."""

import re
from pathlib import Path
from string import Template
from typing import Any

import pytest
from aiohttp import web

from tests.integration.commands import Handler, configuration, started, upstream
from tests.integration.door import connected
from tests.integration.test_policies_doc import exchanges, files, sections

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "resilience.md"


def answers_of(name: str) -> Handler:
    """The service of that name, as the document describes it."""

    async def answer(request: web.BaseRequest) -> web.Response:
        attempt = request.headers.get("X-Request-Attempt", "")
        headers = {"X-From": name, "X-Attempt": attempt, "Cache-Control": "public"}
        status = 200
        if name == "users" and request.path == "/lost":
            assert request.transport is not None
            request.transport.abort()
        elif name == "users" and request.path == "/broken":
            status = 500
        elif name == "users" and request.path == "/flaky" and attempt == "1":
            status = 503
        return web.Response(status=status, text=name, headers=headers)

    return answer


@pytest.mark.parametrize("title", sections(DOCUMENT))
async def test_example(title: str, tmp_path: Path) -> None:
    """Each request of a section, one after the other, gets the answer that stands under it."""
    blocks = sections(DOCUMENT)[title]
    assert exchanges(blocks)
    async with upstream(answers_of("users")) as users, upstream(answers_of("backup")) as backup:
        directory = Path(configuration(tmp_path, users))
        for name, text in files(blocks).items():
            (directory / name).write_text(Template(text).substitute(users=users, backup=backup))
        async with started(tmp_path, "up", "--config", str(directory)) as running:
            for request, expected in exchanges(blocks):
                head = request.replace("\n", "\r\n").encode() + b"\r\n\r\n"
                async with connected(running.public) as client:
                    answer = await client.ask(head)
                status_line, *fields = expected.strip().split("\n")
                assert answer.status == int(status_line.split(" ")[1]), request
                assert {field.encode() for field in fields} <= set(answer.lines), request


async def test_the_readme_shows_a_breaker_that_works() -> None:
    """Its example, as it stands there: failures open the breaker, then the fallback is given."""
    text = (ROOT / "README.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    example = next(block for block in blocks if "CircuitBreaker(" in block)
    body = "".join(f"    {line}\n" for line in example.splitlines())
    broken = False

    async def fetch_user(user_id: int) -> dict[str, int]:
        if broken:
            raise ConnectionError
        return {"id": user_id}

    space: dict[str, Any] = {"fetch_user": fetch_user}
    exec(f"async def run():\n{body}    return user, circuit_breaker", space)
    user, breaker = await space["run"]()
    assert user == {"id": 7}
    broken = True
    for _ in range(5):
        with pytest.raises(ConnectionError):
            await breaker.call(fetch_user, 7)

    assert await breaker.call(fetch_user, 7) == {"error": "Service temporarily unavailable"}
