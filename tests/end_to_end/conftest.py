"""The whole stack, once for all tests; each test has a tenant of its own, so that events do not mix."""

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from local.resources import RedeliveryPolicy
from local.stack import Stack
from testing.tenant import Tenant

_tenant_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """A stack that redelivers quickly and often, for a busy machine too."""
    policy = RedeliveryPolicy(min_backoff_s=0.1, max_backoff_s=0.5, max_delivery_attempts=100)
    with Stack(redelivery=policy) as stack:
        yield stack


@pytest.fixture
def tenant(stack: Stack) -> Tenant:
    return Tenant(stack, f"tenant-{next(_tenant_numbers):03}")


@pytest.fixture(scope="session")
def validate(root: Path) -> Callable[[Any], None]:
    """A function that raises ValidationError for a document that does not match the schema of results."""
    schema = json.loads((root / "shared/schemas/result.schema.json").read_text())
    return jsonschema.Draft202012Validator(schema).validate
