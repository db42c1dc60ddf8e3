"""Checks that no identifier of the code uses a word that the glossary in ARCHITECTURE.md retires.

The last column of the glossary's table lists what a term replaces: patterns in backticks, in which `*` stands for
anything. A pattern is compared with whole identifiers (lower case, without leading underscores), in snake_case.
"""

import ast
import fnmatch
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PERSONS = re.compile(r"\b(?:nobody|somebody|whoever|anybody)\b", re.IGNORECASE)


def retired(architecture: str) -> dict[str, str]:
    """Return the retired patterns of the glossary's table, each with the term that replaces it."""
    patterns: dict[str, str] = {}
    table = architecture.partition("\n## Glossary\n")[2].partition("\n## ")[0]
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.strip("| ").split("|")]
        if line.startswith("|") and len(cells) == 3:
            patterns |= dict.fromkeys(re.findall(r"`([^`]+)`", cells[2]), cells[0])
    return patterns


def identifiers(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield each name that the module binds, with its line."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.ClassDef() | ast.AsyncFunctionDef():
                yield node.lineno, node.name
            case ast.arg():
                yield node.lineno, node.arg
            case ast.Name(ctx=ast.Store()):
                yield node.lineno, node.id
            case ast.Attribute(ctx=ast.Store()):
                yield node.lineno, node.attr
            case ast.alias(asname=str(name)):
                yield node.lineno, name
            case _:
                pass


def snake_case(name: str) -> str:
    """Return `name` in lower-case words joined by underscores, without leading underscores."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().lstrip("_")


def violations(path: Path, patterns: dict[str, str]) -> Iterator[str]:
    """Yield one line for each retired identifier, and for each thread, delivery or caller told of as a person."""
    source = path.read_text()
    name = path.relative_to(ROOT).as_posix()
    for line, identifier in identifiers(ast.parse(source)):
        name_in_snake_case = snake_case(identifier)
        for pattern, term in patterns.items():
            if fnmatch.fnmatchcase(name_in_snake_case, pattern):
                yield f"{name}:{line}: {identifier}: `{pattern}` is retired; say {term}"
                break
    if name.startswith(("functions/", "shared/")):
        for line, text in enumerate(source.splitlines(), 1):
            if person := PERSONS.search(text):
                yield f"{name}:{line}: {person[0]!r}: name the thread, delivery, instance or caller"


def python_files() -> list[str]:
    """Return the names of the repository's Python files; it need not be a git checkout, as in Cloud Build."""
    paths = (path.relative_to(ROOT) for path in ROOT.rglob("*.py"))
    return sorted(path.as_posix() for path in paths if path.parts[0] == ".ci" or not is_hidden(path))


def is_hidden(path: Path) -> bool:
    return any(part.startswith(".") or part in {"build", "demo-output"} for part in path.parts)


def main(arguments: list[str]) -> int:
    """Check the Python files under the given paths, or all; return 1 if there are violations."""
    files = python_files()
    if arguments:
        files = [each for each in files if each.startswith(tuple(arguments))]
    patterns = retired((ROOT / "ARCHITECTURE.md").read_text())
    if not patterns:
        sys.exit("ARCHITECTURE.md has no glossary")
    lines = [line for each in files for line in violations(ROOT / each, patterns)]
    print("\n".join(lines) or f"{len(files)} files, {len(patterns)} retired patterns: none is used")
    return bool(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
