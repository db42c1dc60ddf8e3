"""What is uploaded as a function: what runs, and nothing else, as git and as gcloud read the patterns."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

STAYS_AT_HOME = (".git", ".venv", "__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", "demo-output")
LYING_ABOUT = (
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
SCHEMA = "shared/schemas/some.schema.json"


def files(root):
    for folder, folders, names in os.walk(root):
        folders[:] = [each for each in folders if each not in STAYS_AT_HOME]
        kept = [each for each in names if each not in STAYS_AT_HOME]  # in a worktree .git is a file
        yield from ((Path(folder) / name).relative_to(root).as_posix() for name in kept)


@pytest.fixture(scope="module")
def crowded(root, tmp_path_factory):
    """Every file of the repository by name, empty, and some that lie about in a real checkout."""
    copy = tmp_path_factory.mktemp("crowded")
    for name in (*files(root), *LYING_ABOUT, SCHEMA):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).touch()
    shutil.copy(root / ".gcloudignore", copy)
    return copy


@pytest.fixture(scope="module")
def what_runs(root):
    named = {"main.py", "requirements.txt", SCHEMA}
    return named | {
        each
        for each in files(root)
        if each.startswith(("functions/", "shared/")) and not each.endswith((".pyc", ".onnx"))
    }


@pytest.fixture(scope="module")
def by_git(crowded, tmp_path_factory):
    """The patterns are git's: as its only excludes, in a fresh repository over the crowded folder."""
    if not shutil.which("git"):
        pytest.skip("needs git")
    aside = tmp_path_factory.mktemp("git") / "repository"
    here = ("git", f"--git-dir={aside}", f"--work-tree={crowded}")
    subprocess.run(["git", "init", "--quiet", "--bare", aside], check=True)
    listed = subprocess.run(
        [*here, "ls-files", "--others", f"--exclude-from={crowded / '.gcloudignore'}"],
        cwd=crowded,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(listed.stdout.splitlines())


def test_what_runs_goes_along_and_nothing_else(by_git, what_runs):
    assert by_git == what_runs


def test_a_schema_beside_the_code_goes_along(by_git):
    assert SCHEMA in by_git


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("gcloud"), reason="needs gcloud")
def test_gcloud_reads_the_patterns_as_git_does(crowded, by_git, tmp_path):
    listed = subprocess.run(
        ["gcloud", "meta", "list-files-for-upload", crowded],
        env={**os.environ, "CLOUDSDK_CONFIG": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(listed.stdout.splitlines()) == by_git


def test_the_upload_needs_nothing_that_stayed_at_home(root, by_git, run_step, flags, tmp_path):
    for name in by_git - {SCHEMA}:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / name, tmp_path / name)
    program = "import main; print(main.process_upload, main.process_message, main.process_request)"
    given = flags(run_step("process-upload")[0])["--set-env-vars"]
    settings = dict(pair.split("=", 1) for each in given for pair in each.split(","))
    compiled = subprocess.run([sys.executable, "-m", "compileall", "-q", tmp_path], check=False)
    assert compiled.returncode == 0, "the buildpack compiles every file it is given"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_lock_is_one_that_pip_checks_by_hash(root):
    """One hash makes pip demand one for all, so the buildpack's `pip install --requirement` is strict."""
    lock = (root / "requirements.txt").read_text().replace("\\\n", "")
    wanted = [line for line in lock.splitlines() if line and not line.lstrip().startswith("#")]
    assert wanted
    for line in wanted:
        assert "==" in line, line
        assert "--hash=sha256:" in line, line


def test_the_buildpack_finds_the_framework_in_the_lock_and_adds_none_of_its_own(root):
    assert "\nfunctions-framework==" in (root / "requirements.txt").read_text()


def names_in(path):
    """The packages that a file of requirements names, as they are spelled in locks."""
    found = re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?[=<>~]=", path.read_text(), re.MULTILINE)
    return {name.lower().replace("_", "-").replace(".", "-") for name in found}


def test_nothing_is_installed_that_the_functions_do_not_need(root):
    """Neither what tests and checks need, nor what builds packages: a compiler is never called and never there."""
    wanted, locked = names_in(root / "requirements.in"), names_in(root / "requirements.txt")
    only_here = names_in(root / "requirements-dev.in") - wanted
    building = {"cmake", "cython", "meson", "ninja", "pip", "pybind11", "setuptools", "torch", "wheel", "ziglang"}
    assert {"hypothesis", "mypy", "onnx", "pytest", "ruff"} <= only_here
    assert locked >= wanted
    assert not locked & (building | only_here - {"grpcio"}), "grpcio is a part of Pub/Sub's client"


def test_what_checks_for_insecure_code_has_no_exception_in_what_is_deployed(root):
    ruff = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    assert ruff["select"] == ["ALL"]
    assert not [rule for rule in ruff["ignore"] if re.fullmatch(r"S\d*", rule)]
    assert not [where for where in ruff["per-file-ignores"] if where.startswith(("functions", "shared", "main"))]
    for folder in ("functions", "shared"):
        for path in (root / folder).rglob("*.py"):
            assert not re.search(r"noqa: .*\bS\d|noqa\s*$", path.read_text(), re.MULTILINE), path
