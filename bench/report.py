"""Tables of results, in Markdown."""

import platform
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Table:
    """A table, with what must be known beside it; ``failures`` make the whole run fail."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        """The table with a heading, columns aligned so that it can be read as it is."""
        lines = [f"## {self.title}", ""]
        if self.rows:
            lines += [*_aligned([self.columns, *self.rows]), ""]
        lines += [f"- {note}" for note in self.notes]
        lines += [f"- **FAILED** {failure}" for failure in self.failures]
        return "\n".join(lines).rstrip() + "\n"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "| " + " | ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) + " |"
        for row in rows
    ]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return [lines[0], "| " + " | ".join(rule) + " |", *lines[1:]]


def ratio(product: float | None, peer: float) -> str:
    """The product's figure as a multiple of a peer's; ``-`` where one is missing."""
    return f"{product / peer:.2f}" if product is not None and peer else "-"


def machine() -> list[str]:
    """What the figures depend on: processor, kernel and versions."""
    info = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*: (.*)", info)
    versions = {
        "nginx": _version(["nginx", "-v"], r"nginx/(\S+)"),
        "wrk": _version(["wrk", "-v"], r"wrk (\S+)"),
        "node": _version(["node", "--version"], r"v(\S+)"),
    }
    processors = len(re.findall(r"^processor", info, re.MULTILINE))
    processor = f"{processors} x {model[1] if model else platform.machine()}"
    programs = ", ".join(f"{name} {version}" for name, version in versions.items())
    return [
        f"{processor}, Linux {platform.release()}",
        f"Python {platform.python_version()}, {programs}",
    ]


def _version(command: Sequence[str], pattern: str) -> str:
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return "absent"
    found = re.search(pattern, answer.stdout + answer.stderr)
    return found[1] if found else "unknown"
