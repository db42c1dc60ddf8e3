"""WorkerPool: a worker that overruns, dies or babbles costs its caller an error, and nobody else anything."""

from __future__ import annotations

import os
import resource
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from shared.errors import DeadlineExceeded, StorageUnavailable
from shared.runtime import deadline
from shared.workers.channel import Channel, InvalidMessage, close_all, memory_file, read_memory_file
from shared.workers.fork_server import OUT_OF_MEMORY, ForkServer
from shared.workers.worker_pool import WorkerLost, WorkerPool

MEMORY_BYTES = 256 * 2**20


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    server = ForkServer("testing.worker_handler:handle")
    yield server
    server.close()


@pytest.fixture
def pool(server: ForkServer) -> Iterator[WorkerPool]:
    pool = WorkerPool(server, size=2, memory_bytes=MEMORY_BYTES)
    yield pool
    pool.close()


def call(pool: WorkerPool, *files: bytes, key: str = "", **request: Any) -> tuple[dict[str, Any], list[bytes]]:
    """Call with memory files, and read those of the reply."""
    descriptors = [memory_file(each) for each in files]
    try:
        reply, replied = pool.call(request, descriptors, key=key)
    finally:
        close_all(descriptors)
    data = [read_memory_file(each, max_bytes=2**24) for each in replied]
    close_all(replied)
    return reply, data


@pytest.mark.parametrize(
    "files", [(), (b"",), (b"one",), (b"one", b"two" * 10**6)], ids=["none", "empty", "one", "two"]
)
def test_memory_files_arrive_and_return_unchanged(pool: WorkerPool, files: tuple[bytes, ...]) -> None:
    reply, data = call(pool, *files)

    assert data == list(files)
    assert reply["pid"] != os.getpid()


def test_one_caller_at_a_time_uses_one_worker(pool: WorkerPool) -> None:
    assert len({call(pool)[0]["pid"] for _ in range(5)}) == 1


def test_two_calls_at_once_use_two_workers(pool: WorkerPool) -> None:
    with ThreadPoolExecutor() as threads:
        calls = [threads.submit(call, pool, do="sleep", seconds=0.2) for _ in range(2)]

        assert len({each.result()[0]["pid"] for each in calls}) == 2


def test_third_call_waits_for_a_free_worker(pool: WorkerPool) -> None:
    with ThreadPoolExecutor() as threads:
        calls = [threads.submit(call, pool, do="sleep", seconds=0.1) for _ in range(6)]

        assert len({each.result()[0]["pid"] for each in calls}) == 2


def test_call_that_finds_no_free_worker_in_time_raises_deadline_exceeded(pool: WorkerPool) -> None:
    with ThreadPoolExecutor() as threads:
        calls = [threads.submit(call, pool, do="sleep", seconds=1) for _ in range(2)]
        time.sleep(0.2)

        with pytest.raises(DeadlineExceeded), deadline.fail_after(0.1):
            call(pool)

        assert all(each.result() for each in calls)


def test_worker_that_served_the_key_before_is_preferred(pool: WorkerPool) -> None:
    with ThreadPoolExecutor() as threads:
        first, second = (
            each.result()[0]["pid"]
            for each in [threads.submit(call, pool, do="sleep", seconds=0.2, key=key) for key in ("a", "b")]
        )

    assert [call(pool, key=key)[0]["pid"] for key in ("a", "b", "a", "b")] == [first, second, first, second]


@pytest.mark.parametrize(
    ("request_", "cause", "exit_code"),
    [
        ({"do": "fault"}, "crash", -signal.SIGSEGV),
        ({"do": "exit"}, "crash", 3),
        ({"do": "sleep", "seconds": 30}, "deadline", -signal.SIGKILL),
        ({"do": "sleep", "seconds": 30, "limit_s": 0.2}, "overrun", -signal.SIGKILL),
        ({"do": "allocate", "bytes": 2 * MEMORY_BYTES}, "memory", OUT_OF_MEMORY),
        ({"do": "share", "bytes": 2 * MEMORY_BYTES}, "memory", -signal.SIGKILL),
    ],
    ids=["segmentation fault", "exit", "endless", "longer than its limit", "memory", "shared memory"],
)
def test_lost_worker_raises_its_cause_and_last_activity(
    pool: WorkerPool, request_: dict[str, Any], cause: str, exit_code: int
) -> None:
    with pytest.raises(WorkerLost) as raised, deadline.fail_after(2):
        call(pool, activity="run detect", **request_)

    assert (raised.value.cause, raised.value.activity, raised.value.exit_code) == (cause, "run detect", exit_code)


def test_worker_killed_from_outside_is_told_apart_from_a_crash(pool: WorkerPool) -> None:
    pid = call(pool)[0]["pid"]
    threading.Timer(0.2, os.kill, (pid, signal.SIGKILL)).start()

    with pytest.raises(WorkerLost) as raised:
        call(pool, do="sleep", seconds=30)

    assert raised.value.cause == "killed"


def test_call_after_a_lost_worker_gets_a_new_one(pool: WorkerPool) -> None:
    before = call(pool)[0]["pid"]
    with pytest.raises(WorkerLost):
        call(pool, do="exit")

    assert call(pool)[0]["pid"] != before


def test_idle_worker_that_died_is_replaced_unseen(pool: WorkerPool) -> None:
    before = call(pool)[0]["pid"]
    os.kill(before, signal.SIGKILL)
    time.sleep(0.1)

    assert call(pool)[0]["pid"] != before


def test_question_of_a_worker_is_answered_while_it_computes(pool: WorkerPool) -> None:
    reply, files = pool.call(
        {"do": "ask", "question": "model?"},
        answer=lambda question: ({"echo": question["ask"]}, [memory_file(b"data")]),
    )

    assert reply == {"echo": "model?"}
    assert [read_memory_file(each, max_bytes=10) for each in files] == [b"data"]
    close_all(files)


def test_error_of_the_answer_ends_the_call_and_the_worker(pool: WorkerPool) -> None:
    def fail(_: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
        raise StorageUnavailable("no storage")

    with pytest.raises(StorageUnavailable):
        pool.call({"do": "ask", "question": "model?"}, answer=fail)

    assert call(pool)[0]["pid"]


def test_worker_that_asks_without_reading_the_answers_is_ended(pool: WorkerPool) -> None:
    with pytest.raises(WorkerLost) as raised, deadline.fail_after(10):
        pool.call({"do": "flood"}, answer=lambda _: ({"answer": "x" * 1000}, []))

    assert raised.value.cause == "protocol"


def test_waiting_threads_are_served_in_their_order(pool: WorkerPool) -> None:
    ends_at = time.monotonic() + 1

    def count_calls() -> int:
        count = 0
        while time.monotonic() < ends_at:
            call(pool, do="sleep", seconds=0.01)
            count += 1
        return count

    with ThreadPoolExecutor(8) as threads:
        counts = [each.result() for each in [threads.submit(count_calls) for _ in range(8)]]

    assert min(counts) >= max(counts) - 2


def test_fresh_worker_is_forked_even_if_all_idle_ones_have_the_key(pool: WorkerPool) -> None:
    with ThreadPoolExecutor() as threads:
        calls = [threads.submit(call, pool, do="sleep", seconds=0.2, key="a") for _ in range(2)]
        before = {each.result()[0]["pid"] for each in calls}

    assert pool.call({}, key="a", fresh=True)[0]["pid"] not in before
    assert call(pool, key="a")[0]["pid"]


def test_worker_ignores_the_sigterm_of_its_process_group(pool: WorkerPool) -> None:
    pid = call(pool)[0]["pid"]
    threading.Timer(0.1, os.kill, (pid, signal.SIGTERM)).start()

    assert call(pool, do="sleep", seconds=0.3)[0]["pid"] == pid


def test_neighbour_of_a_lost_worker_is_served(pool: WorkerPool) -> None:
    with ThreadPoolExecutor() as threads:
        neighbour = threads.submit(call, pool, b"data", do="sleep", seconds=0.5)
        for _ in range(5):
            with pytest.raises(WorkerLost):
                call(pool, do="fault")

        assert neighbour.result()[1] == [b"data"]


def test_worker_with_a_descriptor_above_1023_is_served(server: ForkServer) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 4096), hard), hard))
    descriptors = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    pool = WorkerPool(server, size=1, memory_bytes=MEMORY_BYTES)
    try:
        assert [call(pool, b"data")[1] for _ in range(2)] == [[b"data"], [b"data"]]
    finally:
        pool.close()
        close_all(descriptors)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_hundred_calls_and_lost_workers_leak_no_descriptor(pool: WorkerPool) -> None:
    call(pool, b"data")
    before = len(list(Path("/proc/self/fd").iterdir()))

    for _ in range(50):
        call(pool, b"data")
        with pytest.raises(WorkerLost):
            call(pool, b"data", do="exit")
    call(pool, b"data")

    assert len(list(Path("/proc/self/fd").iterdir())) <= before
    assert call(pool, do="count")[0]["descriptors"] < 20


def test_workers_end_with_their_fork_server() -> None:
    server = ForkServer("testing.worker_handler:handle")
    pool = WorkerPool(server, size=1, memory_bytes=MEMORY_BYTES)
    pid = call(pool)[0]["pid"]

    server.close()
    pool.close()

    for _ in range(100):
        if not Path(f"/proc/{pid}").exists():
            return
        time.sleep(0.02)
    pytest.fail(f"worker {pid} still runs")


def test_fork_server_that_was_killed_is_replaced() -> None:
    server = ForkServer("testing.worker_handler:handle")
    pool = WorkerPool(server, size=2, memory_bytes=MEMORY_BYTES)
    call(pool)
    threading.Timer(0.2, os.kill, (server._pid, signal.SIGKILL)).start()

    with pytest.raises(WorkerLost) as raised:
        call(pool, do="sleep", seconds=30)

    assert raised.value.cause == "killed"
    assert [call(pool, b"data")[1] for _ in range(3)] == [[b"data"]] * 3
    server.close()
    pool.close()


def test_message_that_is_no_json_object_is_invalid() -> None:
    ours, theirs = Channel.pair()
    for data in (b"[]", b"\xff", b"[" * 10_000, b"{"):
        os.write(theirs.fileno(), data)

        with pytest.raises(InvalidMessage):
            ours.receive()
    ours.close()
    theirs.close()


def test_memory_file_larger_than_the_reader_allows_is_invalid() -> None:
    descriptor = memory_file(b"12345")

    with pytest.raises(InvalidMessage, match="5 bytes"):
        read_memory_file(descriptor, max_bytes=4)

    os.close(descriptor)
