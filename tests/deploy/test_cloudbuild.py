"""cloudbuild.yaml agrees with the code: names, numbers and order. Bad substitutions end it before it deploys."""

import ast
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, Final

import pytest

from shared.config import Config
from testing.cloud_build import Build, RunStep, flags, references

EVENT_FUNCTIONS: Final = ("process-upload", "process-message")
FUNCTIONS: Final = (*EVENT_FUNCTIONS, "process-request")
FRAMEWORK_SETTINGS: Final = {"THREADS"}  # read by functions-framework, not by this code
MAX_ACK_DEADLINE_S: Final = 600  # of Pub/Sub

SETTINGS: Final = {field.metadata["name"]: field for field in fields(Config)}

Deploy = Callable[[str], dict[str, list[str]]]
Environment = Callable[[str], dict[str, str]]


def outside_scripts(step: Mapping[str, Any]) -> str:
    return "\n".join([*step.get("args", []), *step.get("env", [])])


@pytest.fixture(scope="module")
def deploy(run_step: RunStep) -> Deploy:
    """A function: a function's name -> the flags it is deployed with."""
    return lambda name: flags(run_step(name)[0])


@pytest.fixture(scope="module")
def environment(deploy: Deploy) -> Environment:
    """A function: a function's name -> the environment it is deployed with."""
    return lambda name: dict(
        pair.split("=", 1) for variables in deploy(name)["--set-env-vars"] for pair in variables.split(",")
    )


# --- substitutions


def test_every_substitution_is_defined_and_used(build: Build) -> None:
    substitutions = build.document["substitutions"]
    used = references("\n".join(outside_scripts(step) for step in build.document["steps"]))
    nested = references("\n".join(substitutions.values()))

    assert {name for name in used if name.startswith("_")} | (nested & set(substitutions)) == set(substitutions)
    assert {name for name in used | nested if not name.startswith("_")} == {"PROJECT_ID"}


def test_scripts_get_substitutions_only_through_their_env(build: Build) -> None:
    for step in build.document["steps"]:
        script = step.get("script", "")
        if "bash" in script:
            assert references(script) <= {variable.split("=")[0] for variable in step["env"]}, step["id"]
        assert "${_" not in script, step["id"]


def test_documentation_lists_exactly_the_substitutions(build: Build, root: Path) -> None:
    table = (root / "docs" / "deploy.md").read_text().split("| substitution |")[1].split("\n\n")[0]
    names = "\n".join(line.split("|")[1] for line in table.splitlines()[2:])

    assert set(re.findall(r"_[A-Z_]+", names)) == set(build.document["substitutions"])


def test_build_rejects_misspelt_substitutions_and_logs_without_a_bucket(build: Build) -> None:
    options = build.document["options"]

    assert options["logging"] == "CLOUD_LOGGING_ONLY"
    assert options["substitutionOption"] == "MUST_MATCH"
    assert options["dynamicSubstitutions"] is True
    assert re.fullmatch(r"\d+s", build.document["timeout"])


# --- order


def steps_before(build: Build, step_id: str) -> set[str]:
    """Return every step that has ended when `step_id` begins."""
    ids = list(build.steps)
    waits_for = build.steps[step_id].get("waitFor", ids[: ids.index(step_id)])
    return set(waits_for).union(*(steps_before(build, each) for each in waits_for))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_deploy_waits_for_checks_tests_and_topics(build: Build, name: str) -> None:
    assert steps_before(build, name) == {"check-substitutions", "check", "test", "topics"}


def test_delivery_rules_are_set_after_the_triggers_exist(build: Build) -> None:
    assert set(EVENT_FUNCTIONS) <= steps_before(build, "deliveries")


def test_checks_are_the_readme_commands_on_the_deployed_python(build: Build, deploy: Deploy) -> None:
    assert build.steps["check"]["script"] == "make check"
    assert build.steps["test"]["script"] == "make test"
    for name in FUNCTIONS:
        version = build.steps["test"]["name"].removeprefix("python:")
        assert deploy(name)["--runtime"] == ["python" + version.replace(".", "")] == ["python313"]


# --- the three functions


def test_three_functions_differ_only_in_their_triggers(deploy: Deploy) -> None:
    own = {"--entry-point", "--retry", "--no-allow-unauthenticated"}
    upload, message, request = (
        {flag: value for flag, value in deploy(name).items() if flag not in own and "trigger" not in flag}
        for name in FUNCTIONS
    )

    assert upload == message == request


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_is_second_generation_from_this_source(deploy: Deploy, name: str, values: dict[str, str]) -> None:
    given = deploy(name)

    assert given["--gen2"] == [""]
    assert given["--source"] == ["."]
    assert given["--region"] == [values["_REGION"]]
    assert given["--service-account"] == [values["_SERVICE_ACCOUNT"]]
    assert given["--build-service-account"][0].startswith(
        "projects/demo-project/serviceAccounts/tenant-vision-build@"
    )


@pytest.mark.parametrize("name", EVENT_FUNCTIONS)
def test_event_function_is_retried(deploy: Deploy, name: str, values: dict[str, str]) -> None:
    assert deploy(name)["--retry"] == [""]
    assert deploy(name)["--trigger-service-account"] == [values["_TRIGGER_SERVICE_ACCOUNT"]]


def test_triggers_are_uploads_messages_and_authenticated_http(deploy: Deploy, values: dict[str, str]) -> None:
    upload, message, request = (deploy(name) for name in FUNCTIONS)

    assert upload["--trigger-event-filters"] == [
        "type=google.cloud.storage.object.v1.finalized",
        f"bucket={values['_UPLOAD_BUCKET']}",
    ]
    assert upload["--trigger-location"] == [values["_TRIGGER_LOCATION"]]
    assert message["--trigger-topic"] == [values["_IMAGE_TOPIC"]]
    assert request["--trigger-http"] == [""]
    assert request["--no-allow-unauthenticated"] == [""]
    assert "--allow-unauthenticated" not in {*upload, *message, *request}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_entry_point_is_defined_in_main(deploy: Deploy, name: str, root: Path) -> None:
    module = ast.parse((root / "main.py").read_text())
    imported = {
        alias.asname or alias.name
        for node in module.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    defined = {node.name for node in module.body if isinstance(node, ast.FunctionDef)}

    assert deploy(name)["--entry-point"] == [name.replace("-", "_")]
    assert deploy(name)["--entry-point"][0] in imported | defined


# --- settings


@pytest.mark.parametrize("name", FUNCTIONS)
def test_variables_are_settings_and_include_all_required(environment: Environment, name: str) -> None:
    given = environment(name)
    required = {setting for setting, field in SETTINGS.items() if field.default is MISSING}

    assert set(given) - FRAMEWORK_SETTINGS <= set(SETTINGS)
    assert required <= set(given)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_config_accepts_the_deployed_environment(
    environment: Environment, name: str, values: dict[str, str]
) -> None:
    config = Config.from_environment(environment(name))

    assert config.gcs_bucket == values["_GCS_BUCKET"]
    assert config.upload_bucket == values["_UPLOAD_BUCKET"]
    assert config.results_bucket == values["_RESULTS_BUCKET"]
    assert config.error_topic == f"projects/demo-project/topics/{values['_ERROR_TOPIC']}"


def test_first_step_checks_the_values_that_are_deployed(build: Build, environment: Environment) -> None:
    checked = dict(build.substitute(each).split("=", 1) for each in build.steps["check-substitutions"]["env"])
    settings = dict(pair.split("=") for pair in checked["SETTINGS"].split(","))

    assert {**checked, **settings}.items() >= environment("process-upload").items()


# --- numbers that must agree


def test_each_deadline_leaves_time_to_answer_inside_the_next(
    deploy: Deploy, environment: Environment, run_step: RunStep
) -> None:
    commands = run_step("deliveries")
    updates = [flags(command) for command in commands if command[1:4] == ["pubsub", "subscriptions", "update"]]

    for name in EVENT_FUNCTIONS:
        timeout_s = int(deploy(name)["--timeout"][0].removesuffix("s"))
        deadline_s = Config.from_environment(environment(name)).event_deadline_s
        assert deadline_s + 30 <= timeout_s <= 540
        for update in updates:
            assert timeout_s + 30 <= int(update["--ack-deadline"][0]) <= MAX_ACK_DEADLINE_S


def test_deployed_deadline_is_the_default_of_the_code(environment: Environment) -> None:
    deployed = environment("process-upload")["EVENT_DEADLINE_SECONDS"]

    assert float(deployed) == SETTINGS["EVENT_DEADLINE_SECONDS"].default


def test_retries_outlast_max_event_age_and_retention_outlasts_retries(
    values: dict[str, str], run_step: RunStep
) -> None:
    update = flags(run_step("deliveries")[-1])
    attempts = int(values["_MAX_DELIVERY_ATTEMPTS"])
    delays_s = sum(min(10 * 2**n, 600) for n in range(attempts - 1))
    retention_s = int(update["--message-retention-duration"][0].removesuffix("d")) * 86_400

    assert update["--max-delivery-attempts"] == [str(attempts)]
    assert (update["--min-retry-delay"], update["--max-retry-delay"]) == (["10s"], ["600s"])
    assert delays_s > SETTINGS["MAX_EVENT_AGE"].default
    assert delays_s + attempts * MAX_ACK_DEADLINE_S < retention_s


@pytest.mark.parametrize("name", FUNCTIONS)
def test_instance_has_a_thread_per_event_and_memory_per_image(
    deploy: Deploy, environment: Environment, name: str
) -> None:
    given = deploy(name)
    concurrency = int(given["--concurrency"][0])
    memory = int(given["--memory"][0].removesuffix("Gi")) * 2**30
    three_copies = 3 * 3 * Config.from_environment(environment(name)).max_image_pixels  # decoded, upright, drawn

    assert environment(name)["THREADS"] == str(concurrency)
    assert concurrency <= 4 * int(given["--cpu"][0])
    assert concurrency * three_copies + 2**30 <= memory


# --- topics and subscriptions


def test_missing_topics_and_subscriptions_are_created(run_step: RunStep, values: dict[str, str]) -> None:
    created = [command[1:] for command in run_step("topics") if "create" in command]

    images, errors, dead = values["_IMAGE_TOPIC"], values["_ERROR_TOPIC"], values["_DEAD_LETTER_TOPIC"]
    assert created == [
        ["pubsub", "topics", "create", images],
        ["pubsub", "topics", "create", errors],
        ["pubsub", "topics", "create", dead],
        ["pubsub", "subscriptions", "create", f"{errors}-kept", f"--topic={errors}"],
        ["pubsub", "subscriptions", "create", f"{dead}-kept", f"--topic={dead}"],
    ]


def test_existing_topics_are_not_created_but_updated(run_step: RunStep, values: dict[str, str]) -> None:
    topics = [values[name] for name in ("_IMAGE_TOPIC", "_ERROR_TOPIC", "_DEAD_LETTER_TOPIC")]
    existing = " ".join([*topics, *(f"{topic}-kept" for topic in topics)])

    commands = run_step("topics", EXISTING=existing)

    assert not [command for command in commands if "create" in command]
    assert len([command for command in commands if "update" in command]) == 2


@pytest.mark.parametrize("step", ["topics", "deliveries"])
def test_subscriptions_never_expire(run_step: RunStep, step: str) -> None:
    commands = run_step(step)
    updates = [flags(command) for command in commands if command[1:4] == ["pubsub", "subscriptions", "update"]]

    assert len(updates) == 2
    for update in updates:
        assert update["--expiration-period"] == ["never"]
        assert int(update["--message-retention-duration"][0].removesuffix("d")) >= 7


def test_dead_letter_topic_is_set_on_eventarc_subscriptions(run_step: RunStep, values: dict[str, str]) -> None:
    commands = [command[1:] for command in run_step("deliveries")]

    for name in EVENT_FUNCTIONS:
        trigger = f"projects/demo-project/locations/eu/triggers/{name}-000001"
        describe = ["eventarc", "triggers", "describe", trigger, "--format=value(transport.pubsub.subscription)"]
        assert describe in commands
        subscription = f"projects/demo-project/subscriptions/eventarc-eu-{name}-000001-sub-001"
        (update,) = [each for each in commands if each[:4] == ["pubsub", "subscriptions", "update", subscription]]
        assert f"--dead-letter-topic={values['_DEAD_LETTER_TOPIC']}" in update


def test_trigger_may_invoke_only_the_event_functions(run_step: RunStep, values: dict[str, str]) -> None:
    bindings = [command for command in run_step("deliveries") if "add-iam-policy-binding" in command]

    assert [command[4] for command in bindings] == list(EVENT_FUNCTIONS)
    for command in bindings:
        assert flags(command)["--role"] == ["roles/run.invoker"]
        assert flags(command)["--member"] == [f"serviceAccount:{values['_TRIGGER_SERVICE_ACCOUNT']}"]


# --- what the first step rejects


@pytest.fixture(scope="module")
def find_mistakes(build: Build, root: Path) -> Callable[[Mapping[str, str]], list[str]]:
    """A function: values given with --substitutions -> the mistakes that the first step finds."""
    path = root / ".ci" / "check_substitutions.py"
    spec = importlib.util.spec_from_file_location("check_substitutions", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", list(sys.path))  # the script adds to it
        spec.loader.exec_module(module)

    def find_mistakes(substitutions: Mapping[str, str]) -> list[str]:
        variables = build.steps["check-substitutions"]["env"]
        environment = dict(build.substitute(each, **substitutions).split("=", 1) for each in variables)
        mistakes: list[str] = module.find_mistakes(environment)
        return mistakes

    return find_mistakes


def run_first_step(build: Build, folder: Path, **substitutions: str) -> tuple[int, str]:
    """Run the script of the first step in `folder`; return its exit status and what it writes to stderr."""
    step = build.steps["check-substitutions"]
    environment = dict(build.substitute(each, **substitutions).split("=", 1) for each in step["env"])
    process = subprocess.run(
        ["bash", "-c", step["script"]],
        cwd=folder,
        env={"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return process.returncode, process.stderr


@pytest.mark.parametrize(
    "substitutions",
    [
        {},
        {"_TRIGGER_LOCATION": "eu"},
        {"_SETTINGS": "LOG_LEVEL=DEBUG,CONFIDENCE_THRESHOLD=0.4"},
        {"_SETTINGS": ""},
        {"_CPU": "4", "_CONCURRENCY": "16", "_MIN_INSTANCES": "2"},
        {"_UPLOAD_BUCKET": "demo-project-models"},
        {"_EVENT_DEADLINE": "60", "_TIMEOUT": "120"},
    ],
    ids=str,
)
def test_valid_substitutions_have_no_mistakes(
    find_mistakes: Callable[[Mapping[str, str]], list[str]], substitutions: dict[str, str]
) -> None:
    assert find_mistakes(substitutions) == []


@pytest.mark.parametrize(
    ("substitutions", "sentence"),
    [
        ({"_RESULTS_BUCKET": "gs://results"}, "RESULTS_BUCKET='gs://results'"),
        ({"_RESULTS_BUCKET": "demo/uploads"}, "RESULTS_BUCKET='demo/uploads'"),
        ({"_GCS_BUCKET": ""}, "GCS_BUCKET"),
        ({"_RESULTS_BUCKET": "demo-project-uploads"}, "every result would invoke the function"),
        ({"_REGION": "Frankfurt"}, "Invalid location 'Frankfurt'"),
        ({"_TRIGGER_LOCATION": ""}, "Invalid location ''"),
        ({"_IMAGE_TOPIC": "projects/p/topics/images"}, "Invalid topic name 'projects/p/topics/images'"),
        ({"_IMAGE_TOPIC": "tenant-vision-errors"}, "three topics: otherwise published errors invoke"),
        ({"_DEAD_LETTER_TOPIC": "tenant-vision-images"}, "three topics"),
        ({"_SERVICE_ACCOUNT": "tenant-vision-run"}, "Invalid service account address 'tenant-vision-run'"),
        ({"_BUILD_SERVICE_ACCOUNT": ""}, "Invalid service account address ''"),
        ({"_MEMORY": "4"}, "_MEMORY='4' is invalid"),
        ({"_CPU": "two"}, "_CPU='two' is invalid: expected a whole number from 1 to 8"),
        ({"_CONCURRENCY": "80"}, "_CONCURRENCY=80 is too large: expected at most 4 for each CPU"),
        ({"_CONCURRENCY": "0"}, "_CONCURRENCY='0' is invalid"),
        ({"_MIN_INSTANCES": "11"}, "_MIN_INSTANCES='11' is invalid: expected a whole number from 0 to 10"),
        ({"_TIMEOUT": "600"}, "_TIMEOUT='600' is invalid: expected a whole number from 60 to 540"),
        ({"_TIMEOUT": "540s"}, "_TIMEOUT='540s' is invalid"),
        (
            {"_EVENT_DEADLINE": "520"},
            "_EVENT_DEADLINE=520 is too late: expected at least 30 s before",
        ),
        ({"_EVENT_DEADLINE": "soon"}, "EVENT_DEADLINE_SECONDS='soon'"),
        ({"_MAX_DELIVERY_ATTEMPTS": "5"}, "before MAX_EVENT_AGE=21600"),
        ({"_MAX_DELIVERY_ATTEMPTS": "200"}, "_MAX_DELIVERY_ATTEMPTS='200' is invalid"),
        ({"_SETTINGS": "LOG_LEVEL=LOUD"}, "LOG_LEVEL='LOUD'"),
        ({"_SETTINGS": "LOGLEVEL=INFO"}, "unknown setting 'LOGLEVEL'"),
        ({"_SETTINGS": "GCS_BUCKET=other"}, "GCS_BUCKET has a substitution of its own"),
    ],
    ids=str,
)
def test_invalid_substitution_is_named_in_a_sentence(
    find_mistakes: Callable[[Mapping[str, str]], list[str]], substitutions: dict[str, str], sentence: str
) -> None:
    mistakes = find_mistakes(substitutions)

    assert any(sentence in mistake for mistake in mistakes), mistakes


def test_first_step_passes_with_the_defaults(build: Build, root: Path) -> None:
    assert run_first_step(build, root) == (0, "")


def test_first_step_fails_with_the_mistakes(build: Build, root: Path) -> None:
    status, output = run_first_step(build, root, _CPU="two", _REGION="Frankfurt")

    assert status == 1
    assert output.splitlines() == [
        "Invalid build: Invalid location 'Frankfurt'.",
        "Invalid build: _CPU='two' is invalid: expected a whole number from 1 to 8.",
    ]


def test_first_step_rejects_a_source_without_its_checks(build: Build, root: Path, tmp_path: Path) -> None:
    (tmp_path / "shared").symlink_to(root / "shared")

    status, output = run_first_step(build, tmp_path)

    assert (status, output) == (
        1,
        "Invalid build: the source has no .ci/: submit with --ignore-file=.gitignore.\n",
    )
