"""The build says what the code says: names, numbers, order, and what it refuses."""

import ast
import os
import re
import subprocess
import sys
from dataclasses import MISSING, fields

import pytest

from shared.config import Config

EVENT_FUNCTIONS = ("process-upload", "process-message")
FUNCTIONS = (*EVENT_FUNCTIONS, "process-request")
FRAMEWORK_SETTINGS = {"THREADS"}  # read by functions-framework, not by us
ACK_DEADLINE_S = 600  # the most that Pub/Sub has

SETTINGS = {each.metadata["name"]: each for each in fields(Config)}


def names_in(text):
    return set(re.findall(r"\$\{?([A-Z_][A-Z0-9_]*)\}?", text))


def outside_scripts(step):
    return "\n".join([*step.get("args", []), *step.get("env", [])])


@pytest.fixture(scope="module")
def deploy(run_step, flags):
    """Gives a function: a function's name -> the flags it is deployed with."""
    return lambda name: flags(run_step(name)[0])


@pytest.fixture(scope="module")
def environment(deploy):
    """Gives a function: a function's name -> the environment it is deployed with."""
    return lambda name: dict(
        pair.split("=", 1) for given in deploy(name)["--set-env-vars"] for pair in given.split(",")
    )


# --- substitutions


def test_every_substitution_used_is_defined_and_every_one_defined_is_used(build):
    defined = set(build.read["substitutions"])
    used = names_in("\n".join(outside_scripts(step) for step in build.read["steps"]))
    within = names_in("\n".join(build.read["substitutions"].values()))
    assert {name for name in used if name.startswith("_")} | (within & defined) == defined
    assert {name for name in used | within if not name.startswith("_")} == {"PROJECT_ID"}


def test_no_substitution_but_those_of_its_own_env_is_used_inside_a_script(build):
    for step in build.read["steps"]:
        script = step.get("script", "")
        if "bash" in script:
            assert names_in(script) <= {each.split("=")[0] for each in step["env"]}, step["id"]
        assert "${_" not in script, "a script's substitutions come by env: nothing is pasted into code"


def test_every_substitution_is_in_the_documentation_and_no_other(build, root):
    table = (root / "docs" / "deploy.md").read_text().split("| substitution |")[1].split("\n\n")[0]
    rows = "\n".join(line.split("|")[1] for line in table.splitlines()[2:])
    assert set(re.findall(r"_[A-Z_]+", rows)) == set(build.read["substitutions"])


def test_a_misspelt_substitution_is_refused_and_the_log_needs_no_bucket(build):
    options = build.read["options"]
    assert options["logging"] == "CLOUD_LOGGING_ONLY"
    assert options["substitutionOption"] == "MUST_MATCH"
    assert options["dynamicSubstitutions"] is True
    assert re.fullmatch(r"\d+s", build.read["timeout"])


# --- order


def before(build, name):
    """Every step that is surely over when `name` begins."""
    ids = list(build.steps)
    waits = build.steps[name].get("waitFor", ids[: ids.index(name)])
    return set(waits).union(*(before(build, each) for each in waits))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_nothing_is_deployed_that_was_not_checked_and_tested(build, name):
    assert before(build, name) == {"refuse-nonsense", "check", "test", "topics"}


def test_delivery_rules_are_set_when_the_triggers_are_there(build):
    assert set(EVENT_FUNCTIONS) <= before(build, "deliveries")


def test_the_checks_are_the_readmes_own_commands_on_the_python_that_is_deployed(build, deploy):
    assert build.steps["check"]["script"] == "make check"
    assert build.steps["test"]["script"] == "make test"
    for name in FUNCTIONS:
        version = build.steps["test"]["name"].removeprefix("python:")
        assert deploy(name)["--runtime"] == ["python" + version.replace(".", "")] == ["python313"]


# --- the three functions


def test_the_three_differ_in_nothing_but_their_triggers(deploy):
    own = {"--entry-point", "--retry", "--no-allow-unauthenticated"}
    common = [
        {flag: given for flag, given in deploy(name).items() if flag not in own and "trigger" not in flag}
        for name in FUNCTIONS
    ]
    assert common[0] == common[1] == common[2]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_deployed_from_here_as_second_generation(deploy, name, values):
    given = deploy(name)
    assert given["--gen2"] == [""]
    assert given["--source"] == ["."]
    assert given["--region"] == [values["_REGION"]]
    assert given["--service-account"] == [values["_SERVICE_ACCOUNT"]]
    assert given["--build-service-account"][0].startswith(
        "projects/demo-project/serviceAccounts/tenant-vision-build@"
    )


@pytest.mark.parametrize("name", EVENT_FUNCTIONS)
def test_an_event_is_delivered_again_when_it_fails(deploy, name, values):
    assert deploy(name)["--retry"] == [""]
    assert deploy(name)["--trigger-service-account"] == [values["_TRIGGER_SERVICE_ACCOUNT"]]


def test_the_triggers_are_an_upload_a_message_and_an_authenticated_call(deploy, values):
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
def test_an_entry_point_is_a_name_of_main(deploy, name, root):
    module = ast.parse((root / "main.py").read_text())
    exported = {
        name.asname or name.name for node in module.body if isinstance(node, ast.ImportFrom) for name in node.names
    } | {node.name for node in module.body if isinstance(node, ast.FunctionDef)}
    assert deploy(name)["--entry-point"] == [name.replace("-", "_")]
    assert deploy(name)["--entry-point"][0] in exported


# --- settings


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_variable_set_is_a_setting_and_every_required_setting_is_set(environment, name):
    given = environment(name)
    required = {setting for setting, each in SETTINGS.items() if each.default is MISSING}
    assert set(given) - FRAMEWORK_SETTINGS <= set(SETTINGS)
    assert required <= set(given)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_code_takes_the_settings_it_is_deployed_with(environment, name, values):
    config = Config.from_environment(environment(name))
    assert config.gcs_bucket == values["_GCS_BUCKET"]
    assert config.upload_bucket == values["_UPLOAD_BUCKET"]
    assert config.results_bucket == values["_RESULTS_BUCKET"]
    assert config.error_topic == f"projects/demo-project/topics/{values['_ERROR_TOPIC']}"


def test_what_is_judged_first_is_what_is_deployed(build, environment, substitute):
    judged = dict(substitute(each).split("=", 1) for each in build.steps["refuse-nonsense"]["env"])
    own = dict(pair.split("=") for pair in judged["SETTINGS"].split(","))
    assert {**judged, **own}.items() >= environment("process-upload").items()


# --- numbers that must agree


def test_each_deadline_leaves_the_one_inside_it_time_to_answer(deploy, environment, run_step, flags):
    told = [flags(each) for each in run_step("deliveries") if each[1:4] == ["pubsub", "subscriptions", "update"]]
    for name in EVENT_FUNCTIONS:
        timeout_s = int(deploy(name)["--timeout"][0].removesuffix("s"))
        deadline_s = Config.from_environment(environment(name)).event_deadline_s
        assert deadline_s + 30 <= timeout_s <= 540
        for given in told:
            assert timeout_s + 30 <= int(given["--ack-deadline"][0]) <= ACK_DEADLINE_S


def test_the_deadline_deployed_is_the_default_of_the_code(environment):
    assert (
        float(environment("process-upload")["EVENT_DEADLINE_SECONDS"])
        == SETTINGS["EVENT_DEADLINE_SECONDS"].default
    )


def test_the_attempts_outlast_the_age_at_which_the_code_gives_up_and_the_messages_outlast_the_attempts(
    values, run_step, flags
):
    given = flags(run_step("deliveries")[-1])
    attempts = int(values["_MAX_DELIVERY_ATTEMPTS"])
    assert given["--max-delivery-attempts"] == [str(attempts)]
    assert (given["--min-retry-delay"], given["--max-retry-delay"]) == (["10s"], ["600s"])
    waits_s = sum(min(10 * 2**n, 600) for n in range(attempts - 1))
    kept_s = int(given["--message-retention-duration"][0].removesuffix("d")) * 86_400
    assert waits_s > SETTINGS["MAX_EVENT_AGE"].default
    assert waits_s + attempts * ACK_DEADLINE_S < kept_s


@pytest.mark.parametrize("name", FUNCTIONS)
def test_there_is_a_thread_for_each_event_and_memory_for_its_image(deploy, environment, name):
    given = deploy(name)
    concurrency = int(given["--concurrency"][0])
    assert environment(name)["THREADS"] == str(concurrency)
    assert concurrency <= 4 * int(given["--cpu"][0])
    memory = int(given["--memory"][0].removesuffix("Gi")) * 2**30
    three_copies = 3 * 3 * Config.from_environment(environment(name)).max_image_pixels  # decoded, upright, drawn
    assert concurrency * three_copies + 2**30 <= memory


# --- topics and subscriptions


def test_missing_topics_and_subscriptions_are_made(run_step, values):
    made = [each[1:] for each in run_step("topics") if "create" in each]
    images, errors, dead = values["_IMAGE_TOPIC"], values["_ERROR_TOPIC"], values["_DEAD_LETTER_TOPIC"]
    assert made == [
        ["pubsub", "topics", "create", images],
        ["pubsub", "topics", "create", errors],
        ["pubsub", "topics", "create", dead],
        ["pubsub", "subscriptions", "create", f"{errors}-kept", f"--topic={errors}"],
        ["pubsub", "subscriptions", "create", f"{dead}-kept", f"--topic={dead}"],
    ]


def test_what_is_there_already_is_not_made_again_but_told_again(run_step, values):
    topics = [values[each] for each in ("_IMAGE_TOPIC", "_ERROR_TOPIC", "_DEAD_LETTER_TOPIC")]
    there = " ".join([*topics, *(f"{topic}-kept" for topic in topics)])
    ran = run_step("topics", THERE_ALREADY=there)
    assert not [each for each in ran if "create" in each]
    assert len([each for each in ran if "update" in each]) == 2


@pytest.mark.parametrize("step", ["topics", "deliveries"])
def test_no_subscription_expires(run_step, flags, step):
    told = [flags(each) for each in run_step(step) if each[1:4] == ["pubsub", "subscriptions", "update"]]
    assert len(told) == 2
    for given in told:
        assert given["--expiration-period"] == ["never"]
        assert int(given["--message-retention-duration"][0].removesuffix("d")) >= 7


def test_dead_letters_are_set_on_the_subscriptions_that_eventarc_made(run_step, values):
    ran = [each[1:] for each in run_step("deliveries")]
    for name in EVENT_FUNCTIONS:
        trigger = f"projects/demo-project/locations/eu/triggers/{name}-000001"
        assert [
            "eventarc",
            "triggers",
            "describe",
            trigger,
            "--format=value(transport.pubsub.subscription)",
        ] in ran
        subscription = f"projects/demo-project/subscriptions/eventarc-eu-{name}-000001-sub-001"
        (told,) = [each for each in ran if each[:4] == ["pubsub", "subscriptions", "update", subscription]]
        assert f"--dead-letter-topic={values['_DEAD_LETTER_TOPIC']}" in told


def test_only_the_two_event_functions_may_be_called_by_the_trigger(run_step, flags, values):
    bound = [each for each in run_step("deliveries") if "add-iam-policy-binding" in each]
    assert [each[4] for each in bound] == list(EVENT_FUNCTIONS)
    for each in bound:
        assert flags(each)["--role"] == ["roles/run.invoker"]
        assert flags(each)["--member"] == [f"serviceAccount:{values['_TRIGGER_SERVICE_ACCOUNT']}"]


# --- what is refused


@pytest.fixture
def judge(build, substitute, root):
    """Gives a function: what was said with --substitutions -> how the first step ends, and what it says."""
    step = build.steps["refuse-nonsense"]

    def run(folder=root, **given):
        env = dict(substitute(each, **given).split("=", 1) for each in step["env"])
        done = subprocess.run(
            [sys.executable, "-c", step["script"]],
            cwd=folder,
            env={"PATH": os.environ["PATH"], **env},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stderr

    return run


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"_TRIGGER_LOCATION": "eu"},
        {"_SETTINGS": "LOG_LEVEL=DEBUG,CONFIDENCE_THRESHOLD=0.4"},
        {"_SETTINGS": ""},
        {"_CPU": "4", "_CONCURRENCY": "16", "_MIN_INSTANCES": "2"},
        {"_UPLOAD_BUCKET": "demo-project-models"},
        {"_EVENT_DEADLINE": "60", "_TIMEOUT": "120"},
    ],
)
def test_good_sense_passes(judge, given):
    assert judge(**given) == (0, "")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"_RESULTS_BUCKET": "gs://results"}, "RESULTS_BUCKET='gs://results' is refused"),
        ({"_RESULTS_BUCKET": "demo/uploads"}, "RESULTS_BUCKET='demo/uploads' is refused"),
        ({"_GCS_BUCKET": ""}, "GCS_BUCKET is required"),
        ({"_RESULTS_BUCKET": "demo-project-uploads"}, "results would wake the function"),
        ({"_REGION": "Frankfurt"}, "'Frankfurt' is no location"),
        ({"_TRIGGER_LOCATION": ""}, "'' is no location"),
        ({"_IMAGE_TOPIC": "projects/p/topics/images"}, "is no topic's name"),
        ({"_IMAGE_TOPIC": "tenant-vision-errors"}, "three topics: else errors feed the functions"),
        ({"_DEAD_LETTER_TOPIC": "tenant-vision-images"}, "three topics"),
        ({"_SERVICE_ACCOUNT": "tenant-vision-run"}, "'tenant-vision-run' is no service account's address"),
        ({"_BUILD_SERVICE_ACCOUNT": ""}, "'' is no service account's address"),
        ({"_MEMORY": "4"}, "_MEMORY='4'"),
        ({"_CPU": "two"}, "_CPU='two': a whole number from 1 to 8"),
        ({"_CONCURRENCY": "80"}, "_CONCURRENCY=80: at most 4 for each CPU"),
        ({"_CONCURRENCY": "0"}, "_CONCURRENCY='0'"),
        ({"_MIN_INSTANCES": "11"}, "_MIN_INSTANCES='11': a whole number from 0 to 10"),
        ({"_TIMEOUT": "600"}, "_TIMEOUT='600': a whole number from 60 to 540"),
        ({"_TIMEOUT": "540s"}, "_TIMEOUT='540s'"),
        ({"_EVENT_DEADLINE": "520"}, "_EVENT_DEADLINE=520: at least 30 s before _TIMEOUT=540"),
        ({"_EVENT_DEADLINE": "soon"}, "EVENT_DEADLINE_SECONDS='soon' is refused"),
        ({"_MAX_DELIVERY_ATTEMPTS": "5"}, "before MAX_EVENT_AGE=21600"),
        ({"_MAX_DELIVERY_ATTEMPTS": "200"}, "_MAX_DELIVERY_ATTEMPTS='200'"),
        ({"_SETTINGS": "LOG_LEVEL=LOUD"}, "LOG_LEVEL='LOUD' is refused"),
        ({"_SETTINGS": "LOGLEVEL=INFO"}, "'LOGLEVEL' is no setting of the README"),
        ({"_SETTINGS": "GCS_BUCKET=other"}, "GCS_BUCKET has a substitution of its own"),
    ],
)
def test_nonsense_is_refused_with_a_sentence(judge, given, sentence):
    code, said = judge(**given)
    assert code == 1
    assert said.startswith("Refused: ")
    assert sentence in said


def test_a_source_without_its_tests_is_refused(judge, root, tmp_path):
    (tmp_path / "shared").symlink_to(root / "shared")
    code, said = judge(folder=tmp_path)
    assert (code, said) == (1, "Refused: There is no Makefile: submit with --ignore-file=.gitignore.\n")
