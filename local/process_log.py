"""What a process of the stack wrote, line by line, from a file. It filters nothing."""

import json
from pathlib import Path
from typing import Any


class ProcessLog:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._read_to = 0

    def lines(self) -> list[str]:
        if not self.path.exists():
            return []
        return self.path.read_text(encoding="utf-8", errors="replace").splitlines()

    def tail(self, count: int = 20) -> str:
        return "\n".join(self.lines()[-count:])

    def entries(self) -> list[dict[str, Any]]:
        """The lines that are JSON objects, as Cloud Logging would read them."""
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
        """The whole lines written since the last call."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(self._read_to)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._read_to += len(whole)
        return whole.decode("utf-8", errors="replace").splitlines()
