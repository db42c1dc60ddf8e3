"""gunzip: complete, within a limit of bytes, and harmless on what is no gzip."""

import gzip
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.cloud.content_encoding import MAX_GZIP_MEMBERS, gunzip
from shared.errors import DeadlineExceeded
from shared.runtime import deadline

MEGABYTE = 2**20


@pytest.mark.parametrize(
    "content",
    [b"", b"x", bytes(300_000), b"".join(i.to_bytes(4, "big") for i in range(100_000))],
    ids=["empty", "one byte", "zeros", "numbers"],
)
def test_content_is_decompressed_up_to_exactly_the_limit(content: bytes) -> None:
    data = gzip.compress(content)

    assert gunzip(data) == content
    assert gunzip(data, max_bytes=len(content)) == content
    assert len(content) == 0 or gunzip(data, max_bytes=len(content) - 1) is None


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=5))
def test_members_are_concatenated(contents: list[bytes]) -> None:
    assert gunzip(b"".join(map(gzip.compress, contents))) == b"".join(contents)


@given(st.binary())
def test_any_bytes_are_decompressed_or_returned_as_they_are(data: bytes) -> None:
    assert gunzip(data, max_bytes=100) == data


@pytest.mark.parametrize("end", [1, 9, 10, 20, -9, -8, -1])
def test_truncated_gzip_is_returned_as_it_is(end: int) -> None:
    data = gzip.compress(b"content" * 100)[:end]

    assert gunzip(data) == data


def test_gzip_with_bytes_after_it_or_a_wrong_checksum_is_returned_as_it_is() -> None:
    data = gzip.compress(b"content")

    for damaged in (data + b"\0", data + b"more", data[:-8] + b"?" + data[-7:]):
        assert gunzip(damaged) == damaged


def test_bomb_is_decompressed_no_further_than_the_limit() -> None:
    bomb = gzip.compress(gzip.compress(bytes(200 * MEGABYTE)) + bytes(200 * MEGABYTE))
    tracemalloc.start()
    try:
        assert gunzip(bomb, max_bytes=MEGABYTE) is None
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak_bytes < 3 * MEGABYTE


def test_more_members_than_the_limit_are_returned_as_they_are() -> None:
    empty = gzip.compress(b"")

    assert gunzip(empty * MAX_GZIP_MEMBERS) == b""
    assert gunzip(empty * (MAX_GZIP_MEMBERS + 1)) == empty * (MAX_GZIP_MEMBERS + 1)


def test_decompression_ends_with_the_event_deadline() -> None:
    data = gzip.compress(b"content")

    with deadline.fail_after(0), pytest.raises(DeadlineExceeded):
        gunzip(data)
