"""Asks OSV for known vulnerabilities of what the locks install: `make audit`.

Ends with 1 if there are any. Where OSV cannot be reached nothing is known: that is said, and is no failure, so
that a machine without a network can still run all checks.
"""

import json
import os
import re
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
LOCKS: Final = ("requirements.txt", "requirements-dev.txt")
SERVICE: Final = os.environ.get("OSV_URL", "https://api.osv.dev")
TIMEOUT_S: Final = 20
_PINNED: Final = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)


def pinned() -> dict[tuple[str, str], list[str]]:
    """Every package and version, and the locks that name it."""
    found: dict[tuple[str, str], list[str]] = {}
    for lock in LOCKS:
        for name, version in _PINNED.findall((ROOT / lock).read_text()):
            found.setdefault((name, version), []).append(lock)
    return found


def advisories(packages: list[tuple[str, str]]) -> Mapping[tuple[str, str], list[str]]:
    """The ids of the advisories of each package that has any (https://google.github.io/osv.dev/post-v1-querybatch).

    Raises: OSError, ValueError: there is no answer that can be read.
    """
    queries = [{"package": {"name": name, "ecosystem": "PyPI"}, "version": version} for name, version in packages]
    body = json.dumps({"queries": queries}).encode()
    request = urllib.request.Request(  # noqa: S310 - the service's own address
        f"{SERVICE}/v1/querybatch", body, {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
        results = json.load(answer).get("results", [])
    answered = zip(packages, results, strict=True)  # a ValueError where they are not as many
    found = {package: [each["id"] for each in result.get("vulns", [])] for package, result in answered}
    return {package: ids for package, ids in found.items() if ids}


def main() -> int:
    packages = pinned()
    try:
        found = advisories(list(packages))
    except (OSError, ValueError) as error:
        print(f"audit: NOT DONE, nothing is known: {SERVICE} did not answer ({error})")
        return 0
    for (name, version), ids in found.items():
        print(f"audit: {name} {version} ({', '.join(packages[name, version])}): {', '.join(ids)}")
    print(f"audit: {len(packages)} packages, {len(found)} with known vulnerabilities")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
