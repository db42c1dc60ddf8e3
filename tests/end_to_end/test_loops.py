"""One bucket for everything, and a notification for every object in it: nothing we write sets us going again."""

import os
from collections import Counter

import pytest

from local.stack import Stack
from testing import models
from testing.pictures import picture

pytestmark = pytest.mark.stack


@pytest.fixture
def shared():
    environment = dict(os.environ) | {"GCS_BUCKET": "one-for-all", "THUMBNAIL_SIZES": "32"}
    with Stack(targets=("process_upload",), environment=environment) as stack:
        yield stack


def test_with_one_bucket_for_all_each_object_wakes_us_once_and_then_there_is_silence(shared, tenant, wait):
    one = type(tenant)(shared, tenant.id)
    bucket = one.results()

    def settled(verdicts):
        """As many invocations as there are objects, one for each."""
        lines = wait(lambda: found if len(found := invocations(shared)) >= sum(verdicts.values()) else None)
        assert Counter(line["verdict"] for line in lines) == verdicts
        woken = sorted(line["image"] for line in lines)
        assert woken == sorted(f"gs://one-for-all/{blob.name}" for blob in bucket.list_blobs())

    one.put_model(models.detect())
    for number in range(3):
        one.upload(f"{number}.jpg", picture())
        one.wait_for_result(f"{number}.jpg")
    settled({"done": 3, "ignored": 1 + 3 * 3})
    for name in ("annotated.jpg", "thumbnail-32.jpg", "result.json"):
        ours = bucket.blob(f"results/{one.id}/0.jpg/{name}")
        bucket.copy_blob(ours, bucket, f"uploads/{one.id}/copy-of-{name}")
    settled({"done": 3, "ignored": 1 + 3 * 3 + 3})
    one.upload("last.jpg", picture())  # whatever else was on its way would be here before all of this is
    one.wait_for_result("last.jpg")
    settled({"done": 4, "ignored": 1 + 4 * 3 + 3})


def invocations(stack):
    return [line for line in stack.log_lines("process_upload") if "verdict" in line]
