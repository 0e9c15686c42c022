"""How each peer is started before the upstream; a new one is a function and a line here."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench.envoy import start_envoy
from bench.install import node_packages
from bench.nginx import start_proxy
from bench.processes import Processes
from bench.product import PATH, Product
from bench.stage import Stage
from bench.target import Target
from tests.processes import free_port

Starter = Callable[[Stage, Processes], Target]

_PEERS = Path(__file__).parent / "peers"


def _product(stage: Stage, processes: Processes) -> Target:
    return Product(stage, processes, stage.upstream).separate()


def _product_without_lane(stage: Stage, processes: Processes) -> Target:
    return Product(stage, processes, stage.upstream).separate(lane=False)


def _product_embedded(stage: Stage, processes: Processes) -> Target:
    return Product(stage, processes, stage.upstream).embedded()


def _textbook(stage: Stage, processes: Processes) -> Target:
    url, broker = stage.rabbitmq
    program, port = [sys.executable, "-m", "bench.peers.textbook"], free_port()
    back = processes.start("textbook-back", [*program, "back", url, stage.upstream])
    front = processes.start("textbook-front", [*program, "front", url, str(port)])
    parts = {"broker": broker, "front": front, "back": back}
    return Target(f"http://127.0.0.1:{port}{PATH}", parts)


def _aiohttp_proxy(stage: Stage, processes: Processes) -> Target:
    port = free_port()
    command = [sys.executable, "-m", "bench.peers.aiohttp_proxy", str(port), stage.upstream]
    process = processes.start("aiohttp-proxy", command)
    return Target(f"http://127.0.0.1:{port}{PATH}", {"front": process})


def _moleculer(stage: Stage, processes: Processes, client: str = "http") -> Target:
    node = node_packages()
    url, broker = stage.rabbitmq
    folder, port = _PEERS / "moleculer", free_port()
    back = processes.start(
        "moleculer-back", [node, folder / "back.js", url, stage.upstream, client]
    )
    front = processes.start("moleculer-front", [node, folder / "front.js", url, str(port)])
    parts = {"broker": broker, "front": front, "back": back}
    return Target(f"http://127.0.0.1:{port}{PATH}", parts)


def _nginx(stage: Stage, processes: Processes) -> Target:
    url, process = start_proxy(processes, stage.folder, stage.upstream)
    return Target(url + PATH, {"front": process})


def _envoy(stage: Stage, processes: Processes) -> Target:
    url, process = start_envoy(processes, stage.folder, stage.upstream)
    return Target(url + PATH, {"front": process})


PRODUCT = "product"
LINEUP: dict[str, Starter] = {
    PRODUCT: _product,
    "product-no-lane": _product_without_lane,
    "product-embedded": _product_embedded,
    "textbook": _textbook,
    "moleculer": _moleculer,
    "moleculer-undici": partial(_moleculer, client="undici"),
    "aiohttp-proxy": _aiohttp_proxy,
    "envoy": _envoy,
    "nginx": _nginx,
}
