"""docs/deploy.md: the same names as the build, least privilege, and an alert on subscriptions that exist."""

import json

import pytest

RUN, TRIGGER, BUILD, DEPLOY = (
    f"serviceAccount:tenant-vision-{name}@demo-project.iam.gserviceaccount.com"
    for name in ("run", "trigger", "build", "deploy")
)
TOO_MUCH = {
    "roles/owner",
    "roles/editor",
    "roles/storage.admin",
    "roles/pubsub.admin",
    "roles/iam.serviceAccountUser",
}


@pytest.fixture(scope="module")
def session(documented):
    """The commands, with the project that the other tests use."""
    return [[each.replace("my-project", "demo-project") for each in command] for command in documented]


@pytest.fixture(scope="module")
def grants(session, flags):
    """(kind of resource, its name, who, role) of every binding."""
    found = set()
    for command in session:
        if "add-iam-policy-binding" in command:
            at = command.index("add-iam-policy-binding")
            given = flags(command)
            found.add((" ".join(command[1:at]), command[at + 1], given["--member"][0], given["--role"][0]))
    return found


def test_each_identity_gets_what_the_table_says_and_no_more(grants):
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
                who.removeprefix("serviceAccount:"),
                DEPLOY,
                "roles/iam.serviceAccountUser",
            )
            for who in (RUN, TRIGGER, BUILD)
        ),
        (*project, storage_agent, "roles/pubsub.publisher"),
        (topic, "tenant-vision-dead-letters", pubsub_agent, "roles/pubsub.publisher"),
        (*project, pubsub_agent, "roles/pubsub.subscriber"),
        ("run services", "process-request", caller, "roles/run.invoker"),
    }


def test_nobody_gets_a_whole_project(grants):
    assert not [each for each in grants if each[0] == "projects" and each[3] in TOO_MUCH]


def test_every_role_given_is_in_the_table_and_every_role_in_the_table_is_given(grants, root):
    table = (root / "docs" / "deploy.md").read_text().split("| service account |")[1].split("\n\n")[0]
    given = {role.removeprefix("roles/") for _, _, _, role in grants}
    assert {role for role in given if f"`{role}`" in table} == given


def test_what_is_made_once_has_the_names_the_build_takes_for_granted(session, values):
    made = {command[4] for command in session if command[3:4] == ["create"]}
    assert {f"gs://{values[each]}" for each in ("_GCS_BUCKET", "_UPLOAD_BUCKET", "_RESULTS_BUCKET")} <= made
    assert {values[each] for each in ("_IMAGE_TOPIC", "_ERROR_TOPIC", "_DEAD_LETTER_TOPIC")} <= made
    for each in ("_SERVICE_ACCOUNT", "_TRIGGER_SERVICE_ACCOUNT", "_BUILD_SERVICE_ACCOUNT"):
        assert values[each].split("@")[0] in made


def test_the_build_is_submitted_with_what_git_takes_and_under_its_own_identity(session, flags):
    (submitted,) = [command for command in session if command[1:3] == ["builds", "submit"]]
    assert flags(submitted)["--ignore-file"] == [".gitignore"]
    assert "tenant-vision-deploy@" in flags(submitted)["--service-account"][0]


def test_the_alert_watches_the_subscriptions_that_the_build_makes(root, values):
    policy = json.loads((root / "docs" / "deploy" / "alert.json").read_text())
    watched = " ".join(each["conditionThreshold"]["filter"] for each in policy["conditions"])
    for topic in ("_DEAD_LETTER_TOPIC", "_ERROR_TOPIC"):
        assert f'subscription_id = "{values[topic]}-kept"' in watched
