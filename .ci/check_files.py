"""Checks the form of text files: whitespace at line ends, the last newline, and that YAML, TOML and JSON parse.

Checks the files that are named, or all of the repository: `make check` and the pre-commit hooks run it.
"""

import json
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[1]
TEXT: Final = {".py", ".md", ".toml", ".yaml", ".yml", ".json", ".in", ".css", ".js", ".html", ".sh", ""}
NOT_OURS: Final = {"demo-output", "predict-output", "build", "__pycache__"}
HIDDEN_BUT_OURS: Final = {".ci", ".editorconfig", ".gcloudignore", ".gitignore", ".pre-commit-config.yaml"}
PARSERS: Final[Mapping[str, Callable[[str], Any]]] = {
    ".json": json.loads,
    ".toml": tomllib.loads,
    ".yaml": yaml.safe_load,
    ".yml": yaml.safe_load,
}


def text_files(folder: Path) -> Iterator[Path]:
    """Yield the text files of the repository below `folder`, without what tools leave there."""
    for path in sorted(folder.iterdir()):
        if path.name in NOT_OURS or (path.name.startswith(".") and path.name not in HIDDEN_BUT_OURS):
            continue
        if path.is_dir():
            yield from text_files(path)
        elif path.suffix in TEXT:
            yield path


def find_mistakes(path: Path) -> Iterator[str]:
    """Yield a sentence for each mistake in the form of a file."""
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError as error:
        yield f"{path}: not UTF-8: {error}"
        return
    if "\r" in text:
        yield f"{path}: has carriage returns"
    for number, line in enumerate(text.split("\n"), 1):
        if line != line.rstrip(" \t"):
            yield f"{path}:{number}: whitespace at the end of the line"
    if text and (not text.endswith("\n") or text.endswith("\n\n")):
        yield f"{path}: does not end with exactly one newline"
    if parse := PARSERS.get(path.suffix):
        try:
            parse(text)
        except (ValueError, yaml.YAMLError) as error:
            yield f"{path}: {error}"


def main(arguments: Sequence[str]) -> int:
    """Check the named files, or all; return 1 if there are mistakes."""
    paths = [Path(each) for each in arguments] or list(text_files(ROOT))
    mistakes = [mistake for path in paths for mistake in find_mistakes(path)]
    print("\n".join(mistakes) or f"{len(paths)} text files are well formed")
    return bool(mistakes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
