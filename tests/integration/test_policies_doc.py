"""The examples of docs/policies.md do what they show."""

import json
import re
from pathlib import Path
from string import Template

import pytest
import yaml
from aiohttp import web

from tests.integration.commands import SECRET, configuration, run, started, upstream
from tests.integration.door import connected

DOCUMENT = Path(__file__).parents[2] / "docs" / "policies.md"
ELSEWHERE = ("Authentication",)  # needs an issuer: test_authentication runs it
TITLED = re.compile(r"^## (.+)$", re.MULTILINE)
FENCED = re.compile(r"^```(yaml|http|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def sections(document: Path = DOCUMENT) -> dict[str, list[tuple[str, str]]]:
    """The fenced blocks, language and text, of each section that has some."""
    _, *parts = TITLED.split(document.read_text())
    found = {title: FENCED.findall(text) for title, text in zip(*[iter(parts)] * 2, strict=True)}
    return {title: blocks for title, blocks in found.items() if blocks and title not in ELSEWHERE}


def files(blocks: list[tuple[str, str]]) -> dict[str, str]:
    """YAML files by the names in their first lines."""
    texts = [text for language, text in blocks if language == "yaml"]
    return {text.split("\n", 1)[0].removeprefix("# "): text for text in texts}


def exchanges(blocks: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Requests, and what is shown of their answers."""
    texts = [text for language, text in blocks if language == "http"]
    parts = [text.split("\n\nHTTP/1.1 ") for text in texts]
    return [(request, "HTTP/1.1 " + answer.strip()) for request, answer in parts]


def raw(request: str) -> bytes:
    """A request as bytes; what it has behind its head is its body."""
    head, _, body = request.partition("\n\n")
    length = f"\nContent-Length: {len(body.encode())}" if body else ""
    return f"{head}{length}\n\n".replace("\n", "\r\n").encode() + body.encode()


async def tokens(blocks: list[tuple[str, str]]) -> dict[str, str]:
    """What ``name=$(api-gateway token ...)`` gives, by name."""
    texts = [text for language, text in blocks if language == "sh"]
    made = {}
    for line in "".join(texts).splitlines():
        name, _, command = line.partition("=")
        words = command.removeprefix("$(api-gateway ").removesuffix(")").split()
        finished = await run(*words, jwt_secret=SECRET)
        made[name] = finished.stdout.strip()
    return made


async def hello(request: web.BaseRequest) -> web.Response:
    own = {"Access-Control-Allow-Origin": "https://own"} if "Origin" in request.headers else {}
    return web.Response(text="hello", headers=own)


@pytest.mark.parametrize("title", sections())
async def test_example(title: str, tmp_path: Path) -> None:
    """Each request of a section gets the answer that stands under it."""
    blocks = sections()[title]
    assert exchanges(blocks)
    async with upstream(hello) as url:
        directory = Path(configuration(tmp_path, url))
        for name, text in files(blocks).items():
            assert yaml.safe_load(text)
            (directory / name).write_text(text)
        named = await tokens(blocks)
        async with started(tmp_path, "up", "--config", str(directory)) as running:
            for request, expected in exchanges(blocks):
                async with connected(running.public) as client:
                    answer = await client.ask(raw(Template(request).substitute(named)))
                head, _, members = expected.partition("\n\n")
                status_line, *fields = head.split("\n")
                assert answer.status == int(status_line.split(" ")[1]), request
                cors = [line for line in answer.lines if line.startswith(b"Access-Control-")]
                shown = [field.encode() for field in fields]
                assert set(shown) <= set(answer.lines), request
                assert set(cors) <= set(shown), request
                if members:
                    assert json.loads(members).items() <= json.loads(answer.body).items(), request
