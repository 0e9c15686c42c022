"""The example of docs/discovery.md does what it shows."""

import asyncio
import re
from pathlib import Path

from aiohttp import web

from tests.integration.commands import WITHIN, environment, started, upstream

DOCUMENT = Path(__file__).parents[2] / "docs" / "discovery.md"
FENCED = re.compile(r"^```(yaml|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TOKEN = "a-token-for-operators"


async def shell(command: str, **variables: str) -> str:
    """What a command prints."""
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", command, env=environment() | variables, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(process.communicate(), WITHIN)
    return output.decode()


async def hello(_: web.BaseRequest) -> web.Response:
    return web.Response(text="hello")


async def test_example(tmp_path: Path) -> None:
    """Each command prints the lines that stand behind # under it."""
    _, text = DOCUMENT.read_text().split("\n## Registry\n")
    blocks = FENCED.findall(text)
    for language, block in blocks:
        if language == "yaml":
            name, content = block.removeprefix("# ").split("\n", 1)
            (tmp_path / name).write_text(content)
    commands = [
        part for language, block in blocks if language == "sh" for part in block.split("\n\n")
    ]
    assert len(commands) == 6
    async with (
        upstream(hello) as url,
        started(tmp_path, "up", "--config", str(tmp_path), admin_token=TOKEN) as up,
    ):
        for command in commands:
            printed = await shell(
                command,
                ADMIN=up.admin,
                PUBLIC=up.public,
                INSTANCE=url,
                GATEWAY_ADMIN_TOKEN=TOKEN,
            )
            expected = re.findall(r"^# (.*)$", command, re.MULTILINE)
            assert expected
            for line in expected:
                assert line in printed, command
