"""The server's own life: one port, many at once, and nothing left behind. Only ours."""

import asyncio
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from google.api_core import exceptions

from pubsub_emulator import PubSubServer
from pubsub_emulator.push import post
from tests.pubsub_emulator.clouds import connected
from tests.pubsub_emulator.endpoint import Endpoint
from tests.pubsub_emulator.test_push import push
from tests.pubsub_emulator.waiting import free_port, until

pytestmark = pytest.mark.filterwarnings("ignore:The return_immediately flag:DeprecationWarning")


def ours():
    return {thread for thread in threading.enumerate() if thread.name.startswith("pubsub")}


@pytest.fixture
def server(monkeypatch):
    with PubSubServer() as running:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", running.host_port)
        yield running


def test_server_listens_on_a_free_loopback_port():
    with PubSubServer() as one, PubSubServer(port=0) as other:
        assert one.host_port != other.host_port
        for server in (one, other):
            host, _, port = server.host_port.partition(":")
            assert host == "127.0.0.1"
            socket.create_connection((host, int(port)), timeout=1).close()


def test_server_uses_a_given_port_and_releases_it():
    port = free_port()
    for _ in range(2):
        with PubSubServer(port) as server:
            assert server.host_port == f"127.0.0.1:{port}"


def test_start_on_a_port_in_use_raises_oserror():
    with PubSubServer() as server:
        port = int(server.host_port.partition(":")[2])
        second = PubSubServer(port)
        with pytest.raises(OSError, match=f"127.0.0.1:{port}"):
            second.start()
        second.stop()


def test_stop_works_before_start_and_twice():
    server = PubSubServer()
    server.stop()
    server.stop()


def test_stop_ends_waiting_clients_and_all_threads(monkeypatch):
    before = ours()
    with PubSubServer() as server, Endpoint() as endpoint, ThreadPoolExecutor() as waiting:
        endpoint.release.clear()
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", server.host_port)
        with connected() as cloud:
            topic = cloud.topic()
            pulled, streamed = cloud.subscription(topic), cloud.subscription(topic)
            cloud.subscription(topic, push_config={"push_endpoint": endpoint.url})
            cloud.publish(topic)
            cloud.acknowledge(pulled, cloud.pull_one(pulled))
            until(lambda: endpoint.posted)
            pull = waiting.submit(cloud.subscriber.pull, subscription=pulled, max_messages=1, retry=None)
            with cloud.stream({"subscription": streamed, "stream_ack_deadline_seconds": 10}) as responses:
                assert next(responses).received_messages
                stream = waiting.submit(next, responses)
                began = time.monotonic()
                server.stop()
                assert time.monotonic() - began < 2
                assert ours() == before
                assert isinstance(pull.exception(timeout=5), exceptions.ServiceUnavailable)
                assert isinstance(stream.exception(timeout=5), exceptions.ServiceUnavailable)
            cloud.subscriptions.clear()


def test_many_open_streams_do_not_block_publish(server):
    with connected() as cloud:
        topic = cloud.topic()
        subscriptions = [cloud.subscription(topic) for _ in range(40)]
        received = []
        streams = [
            cloud.subscriber.subscribe(name, lambda message: (received.append(message.data), message.ack()))
            for name in subscriptions
        ]
        cloud.publish(topic, b"to all")
        until(lambda: len(received) == 40)
        for stream in streams:
            stream.cancel()
        for stream in streams:
            stream.result(timeout=10)


def test_unsupported_method_is_unimplemented(server):
    with connected() as cloud, pytest.raises(exceptions.MethodNotImplemented):
        cloud.subscriber.create_snapshot(
            name="projects/p/snapshots/abc", subscription="projects/p/subscriptions/abc"
        )


async def status_of(given):
    async with post(given) as status:
        return status


def test_push_times_out_without_a_response():
    with Endpoint() as endpoint:
        endpoint.release.clear()
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            asyncio.run(status_of(push(b"x", url=endpoint.url, timeout_s=0.2)))
        assert time.monotonic() - began < 2


@pytest.mark.parametrize("answer", [b"", b"\r\n", b"SSH-2.0-x\r\n", b"HTTP/1.1 many thanks\r\n\r\n", 2**17 * b"x"])
def test_push_to_endpoint_without_http_is_retried(server, answer):
    with socket.create_server(("127.0.0.1", 0)) as listening, connected() as cloud:
        asked = []

        def speak():
            for _ in range(2):
                connection, _ = listening.accept()
                with connection:
                    asked.append(connection.recv(65536))
                    connection.sendall(answer)

        speaking = threading.Thread(target=speak)
        speaking.start()
        topic = cloud.topic()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        cloud.subscription(topic, push_config={"push_endpoint": url})
        cloud.publish(topic)
        speaking.join(timeout=10)
        assert len(asked) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_command_serves_until_signal(number):
    command = [sys.executable, "-m", "pubsub_emulator", "--host-port", f"127.0.0.1:{free_port()}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == f"export PUBSUB_EMULATOR_HOST={command[-1]}\n"
        process.send_signal(number)
        assert process.wait(timeout=10) == 0


def test_command_rejects_a_host_other_than_loopback():
    command = [sys.executable, "-m", "pubsub_emulator", "--host-port", "0.0.0.0:8085"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert "127.0.0.1" in done.stderr
