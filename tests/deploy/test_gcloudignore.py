"""A function's upload has exactly the files that run, as git and as gcloud read the ignore patterns."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from testing.cloud_build import RunStep, flags

NOT_OF_THE_REPOSITORY: Final = re.compile(r"\.git|\.venv.*|__pycache__|\..*_cache|\.hypothesis|demo-output")
STRAY_FILES: Final = (
    "local.env",
    "key.json",
    "detect.onnx",
    "models/tenant-001/detect.onnx",
    "shared/ml/detect.onnx",
    "shared/local.env",
    "shared/__pycache__/config.cpython-313.pyc",
    "functions/.secret",
    "tests/main.py",
    ".venv/lib/python3.13/site-packages/shared/main.py",
    ".git/config",
)
SCHEMA: Final = "shared/schemas/some.schema.json"


def repository_files(root: Path) -> Iterator[str]:
    """Yield the names of all files but those of tools; in a worktree .git is a file too."""
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not NOT_OF_THE_REPOSITORY.fullmatch(name)]
        kept = [name for name in names if not NOT_OF_THE_REPOSITORY.fullmatch(name)]
        yield from ((Path(folder) / name).relative_to(root).as_posix() for name in kept)


@pytest.fixture(scope="module")
def checkout(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every file of the repository, empty, and stray files as in a real checkout."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in (*repository_files(root), *STRAY_FILES, SCHEMA):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).touch()
    shutil.copy(root / ".gcloudignore", copy)
    return copy


def list_files(checkout: Path, ignore_file: Path, git_dir: Path) -> set[str]:
    """Return the files that git would take, with `ignore_file` as the only source of patterns."""
    if not shutil.which("git"):
        pytest.skip("needs git")
    git = ("git", f"--git-dir={git_dir}", f"--work-tree={checkout}")
    subprocess.run(["git", "init", "--quiet", "--bare", git_dir], check=True)
    process = subprocess.run(
        [*git, "ls-files", "--others", f"--exclude-from={ignore_file}"],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(process.stdout.splitlines())


@pytest.fixture(scope="module")
def uploaded(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """What `gcloud functions deploy` uploads, by git's reading of .gcloudignore."""
    return list_files(checkout, checkout / ".gcloudignore", tmp_path_factory.mktemp("git") / "repository")


def test_upload_has_exactly_the_files_that_run(uploaded: set[str], root: Path) -> None:
    code = {
        name
        for name in repository_files(root)
        if name.startswith(("functions/", "shared/")) and not name.endswith((".pyc", ".onnx"))
    }

    assert uploaded == {"main.py", "requirements.txt", SCHEMA} | code


def test_schema_beside_the_code_is_uploaded(uploaded: set[str]) -> None:
    assert SCHEMA in uploaded


def test_build_gets_its_checks_tests_and_what_is_deployed(
    checkout: Path, uploaded: set[str], root: Path, tmp_path: Path
) -> None:
    """`gcloud builds submit --ignore-file=.gitignore` reads the patterns of .gitignore."""
    submitted = list_files(checkout, root / ".gitignore", tmp_path / "repository")

    assert submitted >= uploaded
    assert submitted >= {
        *(".ci/check_substitutions.py", ".ci/check_files.py", ".ci/audit.py", ".gcloudignore", ".gitignore"),
        *("Makefile", "pyproject.toml", "requirements-dev.txt", "tests/conftest.py", "testing/models.py"),
    }
    assert not submitted & {"local.env", "shared/local.env", ".venv/lib/python3.13/site-packages/shared/main.py"}


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("gcloud"), reason="needs gcloud")
def test_gcloud_reads_the_patterns_as_git_does(checkout: Path, uploaded: set[str], tmp_path: Path) -> None:
    process = subprocess.run(
        ["gcloud", "meta", "list-files-for-upload", checkout],
        env={**os.environ, "CLOUDSDK_CONFIG": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert set(process.stdout.splitlines()) == uploaded


def test_uploaded_files_compile_and_import_alone(
    root: Path, uploaded: set[str], run_step: RunStep, tmp_path: Path
) -> None:
    for name in uploaded - {SCHEMA}:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / name, tmp_path / name)
    program = "import main; print(main.process_upload, main.process_message, main.process_request)"
    variables = flags(run_step("process-upload")[0])["--set-env-vars"]
    settings = dict(pair.split("=", 1) for each in variables for pair in each.split(","))

    compiled = subprocess.run([sys.executable, "-m", "compileall", "-q", tmp_path], check=False)
    imported = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], **settings},
        capture_output=True,
        text=True,
        check=False,
    )

    assert compiled.returncode == 0, "the buildpack compiles every file it is given"
    assert imported.returncode == 0, imported.stderr


def test_lock_pins_a_version_and_a_hash_on_every_line(root: Path) -> None:
    """One hash makes pip require one for each package, so the buildpack's `pip install` is strict."""
    lock = (root / "requirements.txt").read_text().replace("\\\n", "")
    requirements = [line for line in lock.splitlines() if line and not line.lstrip().startswith("#")]

    assert requirements
    for line in requirements:
        assert "==" in line, line
        assert "--hash=sha256:" in line, line


def test_lock_has_the_framework_so_the_buildpack_adds_none(root: Path) -> None:
    assert "\nfunctions-framework==" in (root / "requirements.txt").read_text()


def package_names(path: Path) -> set[str]:
    """Return the packages that a requirements file names, spelled as in locks."""
    names = re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?[=<>~]=", path.read_text(), re.MULTILINE)
    return {name.lower().replace("_", "-").replace(".", "-") for name in names}


def test_lock_has_no_package_that_only_tests_or_builds_need(root: Path) -> None:
    required, locked = package_names(root / "requirements.in"), package_names(root / "requirements.txt")
    development = package_names(root / "requirements-dev.in") - required
    building = {"cmake", "cython", "meson", "ninja", "pip", "pybind11", "setuptools", "torch", "wheel", "ziglang"}

    assert {"hypothesis", "mypy", "onnx", "pytest", "ruff"} <= development
    assert locked >= required
    required_by_others = {"grpcio", "jinja2"}  # of Pub/Sub's client, of Flask
    assert not locked & (building | development - required_by_others)


def test_security_lint_has_no_exception_in_deployed_code(root: Path) -> None:
    lint = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]

    assert lint["select"] == ["ALL"]
    assert not [rule for rule in lint["ignore"] if re.fullmatch(r"S\d*", rule)]
    assert not [glob for glob in lint["per-file-ignores"] if glob.startswith(("functions", "shared", "main"))]
    for folder in ("functions", "shared"):
        for path in (root / folder).rglob("*.py"):
            assert not re.search(r"noqa: .*\bS\d|noqa\s*$", path.read_text(), re.MULTILINE), path
