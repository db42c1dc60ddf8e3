"""Asks OSV for known vulnerabilities of the packages in the locks: `make audit`.

Exits with 1 if there are any. Where OSV cannot be reached nothing was checked: the default is to say so and exit
with 0, so that all other checks can run on a machine without a network. With `--strict`, or AUDIT_STRICT=1 in the
environment, that too is a failure.
"""

import argparse
import json
import os
import re
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
LOCKS: Final = ("requirements.txt", "requirements-dev.txt")
SERVICE: Final = os.environ.get("OSV_URL", "https://api.osv.dev")
TIMEOUT_S: Final = 20
_PINNED: Final = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)

Package = tuple[str, str]  # name, version


def locked_packages() -> dict[Package, list[str]]:
    """Return every locked package, with the locks that name it."""
    packages: dict[Package, list[str]] = {}
    for lock in LOCKS:
        for name, version in _PINNED.findall((ROOT / lock).read_text()):
            packages.setdefault((name, version), []).append(lock)
    return packages


def query_advisories(packages: Sequence[Package]) -> Mapping[Package, list[str]]:
    """Return the ids of the advisories of each package that has any.

    The request is OSV's querybatch: https://google.github.io/osv.dev/post-v1-querybatch

    Raises:
        OSError: OSV cannot be reached.
        ValueError: the answer is not OSV's.
    """
    queries = [{"package": {"name": name, "ecosystem": "PyPI"}, "version": version} for name, version in packages]
    body = json.dumps({"queries": queries}).encode()
    request = urllib.request.Request(  # noqa: S310 - the service's own address
        f"{SERVICE}/v1/querybatch", body, {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
        results = json.load(answer).get("results", [])
    pairs = zip(packages, results, strict=True)  # a ValueError if OSV did not answer every query
    advisories = {package: [each["id"] for each in result.get("vulns", [])] for package, result in pairs}
    return {package: ids for package, ids in advisories.items() if ids}


def main(arguments: Sequence[str]) -> int:
    """Print the advisories; return the exit status."""
    parser = argparse.ArgumentParser(description="Ask OSV for known vulnerabilities of the locked packages.")
    parser.add_argument(
        "--strict",
        action="store_true",
        default=os.environ.get("AUDIT_STRICT", "") not in {"", "0"},
        help="fail if OSV cannot be reached (also: AUDIT_STRICT=1)",
    )
    strict = parser.parse_args(arguments).strict
    packages = locked_packages()
    try:
        advisories = query_advisories(list(packages))
    except (OSError, ValueError) as error:
        hint = "" if strict else "; AUDIT_STRICT=1 makes this a failure"
        print(f"audit: NOTHING WAS CHECKED: no answer from {SERVICE} ({error}){hint}")
        return 1 if strict else 0
    for (name, version), ids in advisories.items():
        print(f"audit: {name} {version} ({', '.join(packages[name, version])}): {', '.join(ids)}")
    print(f"audit: {len(packages)} packages, {len(advisories)} with known vulnerabilities")
    return 1 if advisories else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
