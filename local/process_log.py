"""Reads the log file of a process of the stack."""

import json
from pathlib import Path
from typing import Any


class ProcessLog:
    """The log file that a process appends to; it need not exist yet."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0  # bytes that `fresh_lines` has returned

    def lines(self) -> list[str]:
        """Return all lines."""
        if not self.path.exists():
            return []
        return self.path.read_text(encoding="utf-8", errors="replace").splitlines()

    def tail(self, count: int = 20) -> str:
        """Return the last lines as one text."""
        return "\n".join(self.lines()[-count:])

    def entries(self) -> list[dict[str, Any]]:
        """Return the lines that are JSON objects, which are entries to Cloud Logging."""
        entries = []
        for line in self.lines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict):
                entries.append(entry)
        return entries

    def fresh_lines(self) -> list[str]:
        """Return the complete lines that were written since the last call."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(self._offset)
            content = file.read()
        complete = content[: content.rfind(b"\n") + 1]
        self._offset += len(complete)
        return complete.decode("utf-8", errors="replace").splitlines()
