"""docs/deploy.md uses the names of the build, grants least privilege, and alerts on existing subscriptions."""

import json
from pathlib import Path
from typing import Final

import pytest

from testing.cloud_build import Command, flags

RUN, TRIGGER, BUILD, DEPLOY = (
    f"serviceAccount:tenant-vision-{name}@demo-project.iam.gserviceaccount.com"
    for name in ("run", "trigger", "build", "deploy")
)
TOO_BROAD_FOR_A_PROJECT: Final = {
    "roles/owner",
    "roles/editor",
    "roles/storage.admin",
    "roles/pubsub.admin",
    "roles/iam.serviceAccountUser",
}

Grants = set[tuple[str, str, str, str]]  # kind of resource, its name, member, role


@pytest.fixture(scope="module")
def session(documented: list[Command]) -> list[Command]:
    """The commands, with the project that the other tests use."""
    return [[argument.replace("my-project", "demo-project") for argument in command] for command in documented]


@pytest.fixture(scope="module")
def grants(session: list[Command]) -> Grants:
    bindings = set()
    for command in session:
        if "add-iam-policy-binding" in command:
            verb = command.index("add-iam-policy-binding")
            given = flags(command)
            bindings.add((" ".join(command[1:verb]), command[verb + 1], given["--member"][0], given["--role"][0]))
    return bindings


def identities_table(root: Path) -> str:
    return (root / "docs" / "deploy.md").read_text().split("| service account |")[1].split("\n\n")[0]


def test_each_identity_gets_only_the_roles_it_needs(grants: Grants) -> None:
    project, bucket, topic = ("projects", "demo-project"), "storage buckets", "pubsub topics"
    storage_agent = "serviceAccount:service-123456789012@gs-project-accounts.iam.gserviceaccount.com"
    pubsub_agent = "serviceAccount:service-123456789012@gcp-sa-pubsub.iam.gserviceaccount.com"
    caller = "serviceAccount:backend@demo-project.iam.gserviceaccount.com"
    assert grants == {
        (bucket, "gs://demo-project-models", RUN, "roles/storage.objectViewer"),
        (bucket, "gs://demo-project-uploads", RUN, "roles/storage.objectViewer"),
        (bucket, "gs://demo-project-results", RUN, "roles/storage.objectUser"),
        (topic, "tenant-vision-errors", RUN, "roles/pubsub.publisher"),
        (*project, TRIGGER, "roles/eventarc.eventReceiver"),
        (*project, BUILD, "roles/logging.logWriter"),
        (*project, BUILD, "roles/artifactregistry.writer"),
        (*project, BUILD, "roles/storage.objectViewer"),
        (*project, DEPLOY, "roles/logging.logWriter"),
        (*project, DEPLOY, "roles/cloudfunctions.admin"),
        (*project, DEPLOY, "roles/pubsub.editor"),
        (bucket, "gs://demo-project-source", DEPLOY, "roles/storage.objectViewer"),
        *(
            (
                "iam service-accounts",
                member.removeprefix("serviceAccount:"),
                DEPLOY,
                "roles/iam.serviceAccountUser",
            )
            for member in (RUN, TRIGGER, BUILD)
        ),
        (*project, storage_agent, "roles/pubsub.publisher"),
        (topic, "tenant-vision-dead-letters", pubsub_agent, "roles/pubsub.publisher"),
        (*project, pubsub_agent, "roles/pubsub.subscriber"),
        ("run services", "process-request", caller, "roles/run.invoker"),
    }


def test_no_broad_role_is_granted_on_the_project(grants: Grants) -> None:
    assert not [grant for grant in grants if grant[0] == "projects" and grant[3] in TOO_BROAD_FOR_A_PROJECT]


def test_table_of_identities_names_every_role_granted(grants: Grants, root: Path) -> None:
    table = identities_table(root)
    roles = {role.removeprefix("roles/") for _, _, _, role in grants}

    assert {role for role in roles if f"`{role}`" in table} == roles


def test_created_resources_have_the_default_names_of_the_build(
    session: list[Command], values: dict[str, str]
) -> None:
    created = {command[4] for command in session if command[3:4] == ["create"]}

    assert {f"gs://{values[name]}" for name in ("_GCS_BUCKET", "_UPLOAD_BUCKET", "_RESULTS_BUCKET")} <= created
    assert {values[name] for name in ("_IMAGE_TOPIC", "_ERROR_TOPIC", "_DEAD_LETTER_TOPIC")} <= created
    for name in ("_SERVICE_ACCOUNT", "_TRIGGER_SERVICE_ACCOUNT", "_BUILD_SERVICE_ACCOUNT"):
        assert values[name].split("@")[0] in created


def test_build_is_submitted_with_gitignore_and_its_own_identity(session: list[Command]) -> None:
    (submit,) = [command for command in session if command[1:3] == ["builds", "submit"]]

    assert flags(submit)["--ignore-file"] == [".gitignore"]
    assert "tenant-vision-deploy@" in flags(submit)["--service-account"][0]


def test_alert_watches_the_subscriptions_that_the_build_creates(root: Path, values: dict[str, str]) -> None:
    policy = json.loads((root / "docs" / "deploy" / "alert.json").read_text())
    filters = " ".join(condition["conditionThreshold"]["filter"] for condition in policy["conditions"])

    for topic in ("_DEAD_LETTER_TOPIC", "_ERROR_TOPIC"):
        assert f'subscription_id = "{values[topic]}-kept"' in filters
