"""Which names the box gives, and which it takes from the environment."""

import pytest

from local.layout import Layout, full_name, short_name


def test_by_default_three_buckets_and_everything_in_a_project_of_its_own():
    layout = Layout.from_environment({})
    assert layout.project == "tenant-vision-local"
    assert len(layout.buckets) == 3
    assert all(name.startswith("projects/tenant-vision-local/topics/") for name in layout.topics)
    assert layout.error_subscription.startswith("projects/tenant-vision-local/subscriptions/")


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
def test_buckets_that_are_named_are_used(environment, buckets):
    assert Layout.from_environment(environment).buckets == buckets


@pytest.mark.parametrize("name", ["failures", "projects/p/topics/failures"])
def test_a_topic_may_be_named_short_or_in_full(name):
    layout = Layout.from_environment({"GOOGLE_CLOUD_PROJECT": "p", "ERROR_TOPIC": name})
    assert layout.error_topic == "projects/p/topics/failures"


def test_short_and_full_names_go_there_and_back():
    assert short_name(full_name("a", "topics", "p")) == "a"
