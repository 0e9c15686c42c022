"""The examples of docs/transformation.md do what they show."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from aiohttp import web

from tests.integration.commands import Handler, configuration, started, upstream
from tests.integration.door import ask

DOCUMENT = Path(__file__).parents[2] / "docs" / "transformation.md"
TITLED = re.compile(r"^## (.+)$", re.MULTILINE)
FENCED = re.compile(r"^```(yaml|json|http)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def sections() -> dict[str, list[tuple[str, str]]]:
    """The fenced blocks, language and text, of each section that has some."""
    _, *parts = TITLED.split(DOCUMENT.read_text())
    found = {title: FENCED.findall(text) for title, text in zip(*[iter(parts)] * 2, strict=True)}
    return {title: blocks for title, blocks in found.items() if blocks}


def texts(blocks: list[tuple[str, str]], language: str) -> Iterator[str]:
    return (text for kind, text in blocks if kind == language)


def service(blocks: list[tuple[str, str]]) -> Handler:
    """Answers what is shown, or what it was sent."""
    shown = next(texts(blocks, "json"), None)

    async def answer(request: web.BaseRequest) -> web.Response:
        body = shown.encode() if shown else await request.read()
        return web.Response(body=body, content_type="application/json")

    return answer


@pytest.mark.parametrize("title", sections())
async def test_example(title: str, tmp_path: Path) -> None:
    """The request of a section gets the answer that stands under it."""
    blocks = sections()[title]
    async with upstream(service(blocks)) as url:
        directory = Path(configuration(tmp_path, url))
        for text in texts(blocks, "yaml"):
            name = text.split("\n", 1)[0].removeprefix("# ")
            assert yaml.safe_load(text)
            (directory / name).write_text(text)
        async with started(tmp_path, "up", "--config", str(directory)) as running:
            for exchange in texts(blocks, "http"):
                asked, answered = re.split(r"\n(?=HTTP/1\.1 )", exchange)
                head, _, body = asked.partition("\n\n")
                line, _, *fields = head.split("\n")
                answer = await ask(
                    running.public,
                    line.removesuffix(" HTTP/1.1"),
                    *fields,
                    body=body.strip().encode(),
                )
                shown, _, expected = answered.partition("\n\n")
                status_line, *fields = shown.strip().split("\n")
                assert answer.status == int(status_line.split(" ")[1])
                assert {field.encode() for field in fields} <= set(answer.lines)
                if expected:
                    assert json.loads(answer.body) == json.loads(expected)
