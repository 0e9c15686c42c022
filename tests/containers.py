"""Real programs in containers, where a Docker engine answers."""

from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from functools import cache
from typing import Any

from tests.processes import READY_WITHIN, wait_until

_ENGINE_ANSWERS_WITHIN = 3  # seconds
_PULL_STALLS_AFTER = 60


@cache
def can_run(image: str) -> bool:
    """Whether a Docker engine on this machine answers and has, or gets, the image."""
    import docker  # slow to import, and of no use where there is no engine

    try:
        client = docker.from_env(timeout=_ENGINE_ANSWERS_WITHIN)
    except docker.errors.DockerException:
        return False
    with closing(client):
        return _is_local(client) and _has(client, image)


def _is_local(client: Any) -> bool:
    # The ports of a distant engine's containers are not on our loopback address.
    url: str = client.api.base_url
    return url.startswith("http+docker://")


def _has(client: Any, image: str) -> bool:
    from docker.errors import DockerException

    with suppress(DockerException):
        return bool(client.images.get(image))
    client.api.timeout = _PULL_STALLS_AFTER
    with suppress(DockerException, OSError):
        return bool(client.images.pull(image))
    return False


class Container:
    """A container whose port is published on a fixed port of the loopback address."""

    def __init__(self, image: str, inside: int, port: int, env: Mapping[str, str] | None = None):
        from testcontainers.core.container import DockerContainer

        self._container = DockerContainer(image, env=dict(env or {}))
        # The same port after each restart; an address in front keeps it off other interfaces.
        published = ("127.0.0.1", port)
        self._container.ports[f"{inside}/tcp"] = published  # type: ignore[assignment]  # Docker takes it
        self._created = False

    def start(self, ready: Callable[[], bool]) -> None:
        """Start it, a killed one again, and return once ``ready()``. Raises NotReadyError."""
        if self._created:
            self._container.get_wrapped_container().start()
        else:
            self._container.start()
            self._created = True
        wait_until(ready, READY_WITHIN, self._container.image)

    def kill(self) -> None:
        """SIGKILL; its files stay for the next start."""
        self._container.get_wrapped_container().kill()

    def run(self, *command: str) -> str:
        """Run a command inside. Raises RuntimeError with its output when it fails."""
        result = self._container.exec(list(command))
        output = result.output.decode(errors="replace")
        if result.exit_code != 0:
            raise RuntimeError(f"{' '.join(command)}: {output}")
        return output

    def remove(self) -> None:
        """End it for good."""
        self._container.stop()
