"""One bucket for everything, with a notification for every object in it: outputs cause no further events."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping

import pytest

from local.stack import Stack
from testing import models
from testing.pictures import picture
from testing.tenant import Document, Tenant, wait_for

pytestmark = pytest.mark.stack

BUCKET = "one-for-all"
OUTPUTS = ("annotated.jpg", "thumbnail-32.jpg", "result.json")


@pytest.fixture
def one_bucket_stack() -> Iterator[Stack]:
    environment = dict(os.environ) | {"GCS_BUCKET": BUCKET, "THUMBNAIL_SIZES": "32"}
    with Stack(targets=("process_upload",), environment=environment) as stack:
        yield stack


def summaries(stack: Stack) -> list[Document]:
    return [line for line in stack.log_lines("process_upload") if "verdict" in line]


def assert_one_event_per_object(stack: Stack, tenant: Tenant, verdicts: Mapping[str, int]) -> None:
    """Wait for as many events as `verdicts` has, and check them and that each object has exactly one."""

    def read() -> list[Document] | None:
        lines = summaries(stack)
        return lines if len(lines) >= sum(verdicts.values()) else None

    lines = wait_for(read)
    objects = [f"gs://{BUCKET}/{stored_object.name}" for stored_object in tenant.results_bucket().list_blobs()]
    assert Counter(line["verdict"] for line in lines) == verdicts
    assert sorted(line["image"] for line in lines) == sorted(objects)


def test_one_bucket_for_all_causes_one_event_per_object_and_no_loop(
    one_bucket_stack: Stack, tenant: Tenant
) -> None:
    stack, tenant = one_bucket_stack, Tenant(one_bucket_stack, tenant.id)
    bucket = tenant.results_bucket()

    tenant.put_model(models.detect())
    for number in range(3):
        tenant.upload(f"{number}.jpg", picture())
        tenant.wait_for_result(f"{number}.jpg")
    assert_one_event_per_object(stack, tenant, {"done": 3, "ignored": 1 + 3 * 3})

    for name in OUTPUTS:
        output = bucket.blob(f"results/{tenant.id}/0.jpg/{name}")
        bucket.copy_blob(output, bucket, f"uploads/{tenant.id}/copy-of-{name}")
    assert_one_event_per_object(stack, tenant, {"done": 3, "ignored": 1 + 3 * 3 + 3})

    tenant.upload("last.jpg", picture())  # any further event would arrive before all of this one's
    tenant.wait_for_result("last.jpg")
    assert_one_event_per_object(stack, tenant, {"done": 4, "ignored": 1 + 4 * 3 + 3})
