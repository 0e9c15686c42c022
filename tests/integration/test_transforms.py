"""Transforms from end to end: real processes, a real service behind them."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from api_gateway import APIGateway
from config.faults import ConfigError
from tests.integration.commands import configuration, run, started, upstream
from tests.integration.door import ask

MISSION = """
- name: "user_response_transform"
  condition:
    path: "/api/v1/users/*"
    method: "GET"
  response_transform:
    jsonpath:
      "user_id": "$.id"
      "email": "$.email"
    template:
      "full_name": "{{ first_name }} {{ last_name }}"
"""
ROUTE = {"path": "/api/v1/users/*", "service": "users", "auth_required": False}
ADA = {"id": 7, "email": "ada@example.com", "first_name": "Ada", "last_name": "Lovelace"}
NEW = {"user_id": 7, "email": "ada@example.com", "full_name": "Ada Lovelace"}


async def service(request: web.BaseRequest) -> web.StreamResponse:
    """A user, by the last segment of the path in one form or another."""
    etag = {"ETag": '"v1"', "Content-Type": "application/json"}
    body = json.dumps(ADA).encode()
    match request.path.rsplit("/", 1)[-1]:
        case "list":
            return web.json_response([ADA, ADA])
        case "partial":
            return web.json_response({"id": 8})
        case "missing":
            return web.json_response({"error": "no such user"}, status=404)
        case "html":
            return web.Response(text="<p>Ada</p>", content_type="text/html")
        case "packed":
            packed = {**etag, "Content-Encoding": "gzip"}
            return web.Response(body=gzip.compress(body), headers=packed)
        case "bomb":
            packed = {**etag, "Content-Encoding": "gzip"}
            return web.Response(body=gzip.compress(b" " * 100_000_000), headers=packed)
        case "deep":
            return web.Response(body=b"[" * 100_000 + b"]" * 100_000, headers=etag)
        case "seen":
            seen = {name: request.headers.get(name) for name in ("Range", "Accept-Encoding")}
            return web.json_response({**ADA, "email": seen})
        case "echo":
            return web.Response(body=await request.read(), headers=etag)
    return web.Response(body=body, headers=etag)


def transforming(folder: Path, url: str, transforms: str = MISSION) -> str:
    directory = configuration(folder, url, [ROUTE])
    Path(directory, "transforms.yaml").write_text(transforms)
    return directory


async def test_the_example_of_the_mission(tmp_path: Path) -> None:
    """To the letter; and what becomes of each kind of answer that it can meet."""
    async with (
        upstream(service) as url,
        started(tmp_path, "up", "--config", transforming(tmp_path, url)) as running,
    ):

        async def get(last: str, *fields: str, method: str = "GET") -> Any:
            return await ask(running.public, f"{method} /api/v1/users/{last}", *fields)

        user = await get("7")
        assert (user.status, json.loads(user.body)) == (200, NEW)
        assert user.get(b"ETag") is None
        assert user.get(b"Content-Length") == b"%d" % len(user.body)
        assert json.loads((await get("list")).body) == [NEW, NEW]
        packed = await get("packed")
        assert (json.loads(packed.body), packed.get(b"Content-Encoding")) == (NEW, None)
        seen = await get("seen", "Range: bytes=0-9", "Accept-Encoding: br")
        assert json.loads(seen.body)["email"] == {"Range": None, "Accept-Encoding": "identity"}

        missing = await get("missing")
        assert (missing.status, json.loads(missing.body)) == (404, {"error": "no such user"})
        assert (await get("html")).body == b"<p>Ada</p>"
        for last in ("partial", "bomb", "deep"):
            failed = await get(last)
            assert failed.status == 502
            assert failed.problem["type"] == "/problems/transform-failed"
            assert failed.problem["executed"] == "unknown"
            assert (
                failed.problem["detail"]
                == "The transform user_response_transform could not be applied."
            )
        assert "'first_name' is undefined" in running.stderr

        samples = await running.metrics()
        sample = 'dispatcher_transforms_total{{outcome="{}",transform="user_response_transform"}}'
        counts = [samples[sample.format(outcome)] for outcome in ("applied", "skipped", "failed")]
        assert counts == [4, 1, 3]


async def test_head_has_no_length_that_get_would_not_have(tmp_path: Path) -> None:
    """What is not made can't be measured."""
    async with (
        upstream(service) as url,
        started(tmp_path, "up", "--config", transforming(tmp_path, url)) as running,
    ):
        head = await ask(running.public, "HEAD /api/v1/users/7", "Connection: close")
        assert head.status == 200
        assert (head.get(b"Content-Length"), head.get(b"ETag")) == (None, None)


async def test_the_page_of_the_problem(tmp_path: Path) -> None:
    """The type of the problem is an address that tells what it means."""
    async with (
        upstream(service) as url,
        started(tmp_path, "up", "--config", transforming(tmp_path, url)) as running,
    ):
        page = await ask(running.public, "GET /problems/transform-failed")
        assert page.status == 200
        assert b"transform" in page.body


async def test_faults_are_told_by_check(tmp_path: Path) -> None:
    """With file, line, entry and key."""
    broken = MISSION.replace("$.email", "$.[").replace("last_name }}", "last_name }")
    finished = await run("check", transforming(tmp_path, "http://users.test", broken))
    assert finished.status == 1
    told = finished.stdout + finished.stderr
    at = 'transform "user_response_transform": response_transform'
    assert f"transforms.yaml:9:7: {at}.jsonpath.email: " in told
    assert f"transforms.yaml:11:7: {at}.template.full_name: " in told


async def test_the_library_changes_them_while_it_runs(tmp_path: Path) -> None:
    """The next request goes by the new ones; bad ones change nothing."""
    async with upstream(service) as url:
        directory = transforming(tmp_path, url, "[]")
        async with APIGateway(config_dir=directory) as gateway:

            async def user() -> Any:
                return (await gateway.handle_request({"path": "/api/v1/users/7"}))["body"]

            assert await user() == ADA
            await gateway.update_config("transforms", yaml.safe_load(MISSION))
            assert await user() == NEW
            bad = [{"name": "t", "response_transform": {"jsonpath": {"a": "$.["}}}]
            with pytest.raises(ConfigError, match=r"jsonpath\.a"):
                await gateway.update_config("transforms", bad)
            assert await user() == NEW
            await gateway.update_config("transforms", [])
            assert await user() == ADA


async def test_requests_are_changed_before_the_call(tmp_path: Path) -> None:
    """What the service gets is what the transform makes; if it fails, the service gets nothing."""
    change = """
- name: signup
  condition: {path: "/api/v1/users/echo"}
  request_transform: {template: {hello: "Hello {{ name }}"}}
"""
    async with upstream(service) as url:
        directory = transforming(tmp_path, url, change)
        async with APIGateway(config_dir=directory) as gateway:
            asked = {"method": "POST", "path": "/api/v1/users/echo"}
            answer = await gateway.handle_request({**asked, "body": {"name": "Ada"}})
            assert (answer["status"], answer["body"]) == (200, {"hello": "Hello Ada"})
            failed = await gateway.handle_request({**asked, "body": {"nome": "Ada"}})
            assert (failed["status"], failed["body"]["executed"]) == (502, "no")
