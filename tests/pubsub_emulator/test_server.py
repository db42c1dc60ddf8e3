"""Start, stop, concurrency and command line of this repository's emulator."""

import asyncio
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from google.api_core import exceptions

from pubsub_emulator import PubSubServer
from pubsub_emulator.push import post
from pubsub_emulator.subscription import Push
from tests.pubsub_emulator.client import collect_and_ack, connected
from tests.pubsub_emulator.endpoint import Endpoint
from tests.pubsub_emulator.test_push import push
from tests.pubsub_emulator.waiting import free_port, wait_until

pytestmark = pytest.mark.filterwarnings("ignore:The return_immediately flag:DeprecationWarning")


def emulator_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("pubsub")}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[PubSubServer]:
    with PubSubServer() as running:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", running.host_port)
        yield running


def test_server_listens_on_a_free_loopback_port() -> None:
    with PubSubServer() as one, PubSubServer(port=0) as other:
        assert one.host_port != other.host_port
        for server in (one, other):
            host, _, port = server.host_port.partition(":")
            assert host == "127.0.0.1"
            socket.create_connection((host, int(port)), timeout=1).close()


def test_server_uses_a_given_port_and_releases_it() -> None:
    port = free_port()
    for _ in range(2):
        with PubSubServer(port) as server:
            assert server.host_port == f"127.0.0.1:{port}"


def test_start_on_a_port_in_use_raises_oserror() -> None:
    with PubSubServer() as server:
        port = int(server.host_port.partition(":")[2])
        second = PubSubServer(port)
        with pytest.raises(OSError, match=f"127.0.0.1:{port}"):
            second.start()
        second.stop()


def test_stop_works_before_start_and_twice() -> None:
    server = PubSubServer()
    server.stop()
    server.stop()


def test_stop_ends_waiting_clients_and_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    before = emulator_threads()
    with PubSubServer() as server, Endpoint() as endpoint, ThreadPoolExecutor() as waiting:
        endpoint.release.clear()
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", server.host_port)
        with connected() as pubsub:
            topic = pubsub.topic()
            pulled, streamed = pubsub.subscription(topic), pubsub.subscription(topic)
            pubsub.subscription(topic, push_config={"push_endpoint": endpoint.url})
            pubsub.publish(topic)
            pubsub.acknowledge(pulled, pubsub.pull_one(pulled))
            wait_until(lambda: endpoint.requests)
            pull = waiting.submit(pubsub.subscriber.pull, subscription=pulled, max_messages=1, retry=None)
            with pubsub.stream({"subscription": streamed, "stream_ack_deadline_seconds": 10}) as responses:
                assert next(responses).received_messages
                stream = waiting.submit(next, responses)
                began = time.monotonic()
                server.stop()
                assert time.monotonic() - began < 2
                assert emulator_threads() == before
                assert isinstance(pull.exception(timeout=5), exceptions.ServiceUnavailable)
                assert isinstance(stream.exception(timeout=5), exceptions.ServiceUnavailable)
            pubsub.subscriptions.clear()


def test_many_open_streams_do_not_block_publish(server: PubSubServer) -> None:
    with connected() as pubsub:
        topic = pubsub.topic()
        subscriptions = [pubsub.subscription(topic) for _ in range(40)]
        received: list[bytes] = []
        streams = [pubsub.subscriber.subscribe(name, collect_and_ack(received)) for name in subscriptions]
        pubsub.publish(topic, b"to all")
        wait_until(lambda: len(received) == 40)
        for stream in streams:
            stream.cancel()
        for stream in streams:
            stream.result(timeout=10)


def test_unsupported_method_is_unimplemented(server: PubSubServer) -> None:
    with connected() as pubsub, pytest.raises(exceptions.MethodNotImplemented):
        pubsub.subscriber.create_snapshot(
            name="projects/p/snapshots/abc", subscription="projects/p/subscriptions/abc"
        )


async def status_of(given: Push) -> int:
    async with post(given) as status:
        return status


def test_push_times_out_without_a_response() -> None:
    with Endpoint() as endpoint:
        endpoint.release.clear()
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            asyncio.run(status_of(push(b"x", url=endpoint.url, timeout_s=0.2)))
        assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    "response", [b"", b"\r\n", b"SSH-2.0-x\r\n", b"HTTP/1.1 many thanks\r\n\r\n", 2**17 * b"x"]
)
def test_push_to_endpoint_without_http_is_retried(server: PubSubServer, response: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, connected() as pubsub:
        received: list[bytes] = []

        def respond() -> None:
            for _ in range(2):
                connection, _ = listening.accept()
                with connection:
                    received.append(connection.recv(65536))
                    connection.sendall(response)

        thread = threading.Thread(target=respond)
        thread.start()
        topic = pubsub.topic()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        pubsub.subscription(topic, push_config={"push_endpoint": url})
        pubsub.publish(topic)
        thread.join(timeout=10)
        assert len(received) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_command_serves_until_signal(number: int) -> None:
    command = [sys.executable, "-m", "pubsub_emulator", "--host-port", f"127.0.0.1:{free_port()}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"export PUBSUB_EMULATOR_HOST={command[-1]}\n"
        process.send_signal(number)
        assert process.wait(timeout=10) == 0


def test_command_rejects_a_host_other_than_loopback() -> None:
    command = [sys.executable, "-m", "pubsub_emulator", "--host-port", "0.0.0.0:8085"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert "127.0.0.1" in done.stderr
