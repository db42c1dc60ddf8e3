"""The default names of resources, and those that the environment sets."""

import pytest

from local.resource_names import ResourceNames, full_name, short_name


def test_default_names_are_three_buckets_in_a_local_project() -> None:
    names = ResourceNames.from_environment({})
    assert names.project == "tenant-vision-local"
    assert len(names.buckets) == 3
    assert all(name.startswith("projects/tenant-vision-local/topics/") for name in names.topics)
    assert names.error_subscription.startswith("projects/tenant-vision-local/subscriptions/")


@pytest.mark.parametrize(
    ("environment", "buckets"),
    [
        ({"GCS_BUCKET": "m", "UPLOAD_BUCKET": "u", "RESULTS_BUCKET": "r"}, ("m", "u", "r")),
        ({"GCS_BUCKET": "m"}, ("m",)),
        ({"GCS_BUCKET": "m", "RESULTS_BUCKET": "r"}, ("m", "r")),
        ({"UPLOAD_BUCKET": "u", "GOOGLE_CLOUD_PROJECT": "p"}, ("p-models", "u", "p-results")),
        ({"GCS_BUCKET": "", "GOOGLE_CLOUD_PROJECT": "p"}, ("p-models", "p-uploads", "p-results")),
    ],
)
def test_bucket_names_come_from_the_environment(environment: dict[str, str], buckets: tuple[str, ...]) -> None:
    assert ResourceNames.from_environment(environment).buckets == buckets


@pytest.mark.parametrize("name", ["failures", "projects/p/topics/failures"])
def test_topic_may_be_given_by_id_or_full_name(name: str) -> None:
    names = ResourceNames.from_environment({"GOOGLE_CLOUD_PROJECT": "p", "ERROR_TOPIC": name})
    assert names.error_topic == "projects/p/topics/failures"


def test_short_name_is_the_inverse_of_full_name() -> None:
    assert short_name(full_name("a", "topics", "p")) == "a"
