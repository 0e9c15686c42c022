"""SIGHUP: the configuration directory is read once more, and applied whole or not at all."""

import asyncio
import logging
import pickle
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NoReturn

from api_gateway.setup import Refusal, Setup, described
from config.faults import ConfigError
from config.snapshot import Snapshot

log = logging.getLogger(__name__)


class Reloading:
    """Applies what is read again, one after the other.

    ``again`` reads what comes after a setup, in a thread. ``apply`` goes over to a snapshot. Both
    may raise ConfigError or Refusal; then the configuration stays as it was, and the log has the
    faults.
    """

    def __init__(
        self,
        setup: Setup,
        again: Callable[[Setup], Setup],
        apply: Callable[[Snapshot], Awaitable[None]],
    ) -> None:
        self._setup = setup
        self._again = again
        self._apply = apply
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Begin; if one is under way, begin once more after it, as it may have read too early."""
        self._asked.set()

    async def run(self) -> NoReturn:
        """Do what is asked for, until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            await self._reload()

    async def _reload(self) -> None:
        version = self._setup.snapshot.version
        try:
            setup = await asyncio.to_thread(self._again, self._setup)
            await self._apply(setup.snapshot)
        except (ConfigError, Refusal) as error:
            why = described(error) if isinstance(error, ConfigError) else error.message
            log.error("configuration version %d stays: %s", version, why)
        except Exception:  # nothing that an operator writes may end the process
            log.exception("configuration version %d could not be replaced", version)
        else:
            self._setup = setup
            log.info("configuration version %d is in use", setup.snapshot.version)


class HandedSnapshot:
    """A file by which a parent hands its configuration to its children.

    So one that starts again has what the others have, also where the directory has changed since.
    Only the parent can write to the folder it is in.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, snapshot: Snapshot) -> None:
        """Replace it at once: whoever reads sees the one or the other."""
        new = self.path.with_suffix(".new")
        new.write_bytes(pickle.dumps(snapshot))
        new.replace(self.path)

    def read(self) -> Snapshot:
        """What was written last. Raises OSError."""
        snapshot: Snapshot = pickle.loads(self.path.read_bytes())  # noqa: S301 - see above
        return snapshot
