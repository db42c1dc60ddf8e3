"""The cloud in a box: storage, Pub/Sub, the bridge and the functions, up together and gone together.

    with Stack() as stack:
        stack.storage.bucket(stack.names.upload_bucket).blob("uploads/tenant-001/bed.jpg").upload_from_filename(…)

It knows what runs and in which order; what each part is, the part says.
"""

import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from google.api_core.exceptions import GoogleAPICallError, RetryError
from google.cloud import pubsub_v1, storage
from requests.exceptions import RequestException

from local import clients, resources
from local.bridge import Bridge, Route
from local.function_server import function_server
from local.process_group_reaper import ProcessGroupReaper
from local.resource_names import ResourceNames
from local.resources import PushSubscription, RedeliveryPolicy
from local.server_process import ServerProcess, StackError
from local.storage_server import storage_server
from local.supervisor import Supervisor
from local.trigger import MESSAGE, REQUEST, TARGETS, UPLOAD, triggers
from local.upload_watcher import UploadWatcher
from pubsub_emulator import PubSubServer

DEFAULT_SOURCE = Path(__file__).resolve().parent.parent / "main.py"
START_TIMEOUT_S = 60.0
GRACE_S = 1.0


class Stack:
    """One cloud for one machine, on 127.0.0.1 only.

    `environment` is what the functions inherit and where names and emulators are looked up; by default this
    process's own. STORAGE_EMULATOR_HOST and PUBSUB_EMULATOR_HOST in it are used instead of emulators of ours.
    `targets` may leave functions out, for a source that does not have them all. `wrap_settings` takes the settings
    of the functions and returns those they get, so that a proxy can stand between them and the emulators.
    """

    def __init__(
        self,
        *,
        source: Path = DEFAULT_SOURCE,
        targets: Sequence[str] = TARGETS,
        environment: Mapping[str, str] | None = None,
        redelivery: RedeliveryPolicy | None = None,
        remove_on_exit: Sequence[Path] = (),
        wrap_settings: Callable[[dict[str, str]], dict[str, str]] = dict,
    ) -> None:
        self._source = source.resolve()
        self._targets = tuple(targets)
        self._environment = dict(os.environ if environment is None else environment)
        self._redelivery = redelivery or RedeliveryPolicy()
        self._remove_on_exit = tuple(remove_on_exit)
        self._wrap_settings = wrap_settings
        self._exit = ExitStack()
        self._functions: dict[str, ServerProcess] = {}
        self._supervisor: Supervisor | None = None
        self.names = ResourceNames.from_environment(self._environment)
        self.storage_url = _http(self._environment.get("STORAGE_EMULATOR_HOST", ""))
        self.pubsub_host = self._environment.get("PUBSUB_EMULATOR_HOST", "")
        self.folder = Path()

    # Up and down

    def start(self) -> Self:
        """Return when everything answers, or raise StackError and leave nothing behind."""
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        self._exit.close()

    def wait(self, timeout_s: float | None = None) -> None:
        """Until a part that nothing works without has died (StackError), or the time is over."""
        supervisor = self._running()
        supervisor.failed.wait(timeout_s)
        if supervisor.failure is not None:
            raise supervisor.failure

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    # What a caller does with it

    @property
    def env(self) -> dict[str, str]:
        """What `up` writes to its file: all that another process needs to use this stack."""
        urls = {UPLOAD: "UPLOAD_URL", MESSAGE: "MESSAGE_URL", REQUEST: "REQUEST_URL"}
        return {
            **self._settings(),
            "IMAGE_TOPIC": self.names.image_topic,
            "ERROR_SUBSCRIPTION": self.names.error_subscription,
            "DEAD_LETTER_SUBSCRIPTION": self.names.dead_letter_subscription,
            **{urls[target]: self.url(target) for target in self._targets},
        }

    @cached_property
    def storage(self) -> storage.Client:
        return clients.storage_client(self.storage_url, self.names.project)

    @cached_property
    def publisher(self) -> pubsub_v1.PublisherClient:
        return clients.publisher_client(self.pubsub_host)

    @cached_property
    def subscriber(self) -> pubsub_v1.SubscriberClient:
        return clients.subscriber_client(self.pubsub_host)

    def read(
        self, subscription: str, *, count: int = 1, timeout_s: float = 10.0
    ) -> list[pubsub_v1.types.PubsubMessage]:
        """Take and acknowledge `count` messages of a pull subscription; fewer when the time is over."""
        return clients.read(self.subscriber, subscription, count=count, timeout_s=timeout_s)

    def url(self, name: str) -> str:
        return self._functions[name].url

    def log_lines(self, name: str) -> list[dict[str, Any]]:
        """The JSON lines that the function wrote, all its lives long."""
        return self._functions[name].log.entries()

    def fresh_lines(self) -> list[tuple[str, str]]:
        """(function, line) of what was written since the last call."""
        return [(name, line) for name, process in self._functions.items() for line in process.log.fresh_lines()]

    def function_pid(self, name: str) -> int | None:
        return self._functions[name].pid

    def kill_function(self, name: str) -> None:
        """SIGKILL; it stays down until `start_function`."""
        self._running().rest(name)

    def start_function(self, name: str, timeout_s: float = START_TIMEOUT_S) -> None:
        self._running().wake(name)
        self._functions[name].wait_until_ready(timeout_s)

    def restart_function(self, name: str) -> None:
        """A new, cold instance at the same address."""
        self.kill_function(name)
        self.start_function(name)

    # Step by step

    def _start(self) -> None:
        # What must be undone is noted before it is done: a signal may raise between any two lines.
        self.folder = Path(tempfile.gettempdir()) / f"tenant-vision-{secrets.token_hex(4)}"
        self._exit.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.folder.mkdir(mode=0o700)
        reaper = ProcessGroupReaper()
        self._exit.callback(reaper.close)
        for path in (self.folder, *self._remove_on_exit):
            reaper.remove_on_exit(path)
        if not self.pubsub_host:
            server = PubSubServer(port=0)
            self._exit.callback(server.stop)
            server.start()
            self.pubsub_host = server.host_port
        self._exit.callback(self._close_clients)
        own_storage = [] if self.storage_url else [self._start_storage(reaper)]
        self._start_functions(reaper)
        self._create_resources()
        for process in self._functions.values():
            process.wait_until_ready(START_TIMEOUT_S, port_retries=3)
        self._open_the_bridge()
        if not own_storage:
            self._watch_uploads()
        self._supervisor = Supervisor(restarted=self._functions.values(), needed=own_storage)
        self._exit.callback(self._supervisor.stop)
        self._supervisor.start()

    def _settings(self) -> dict[str, str]:
        return {
            "STORAGE_EMULATOR_HOST": self.storage_url,
            "PUBSUB_EMULATOR_HOST": self.pubsub_host,
            "GOOGLE_CLOUD_PROJECT": self.names.project,
            "GCS_BUCKET": self.names.models_bucket,
            "UPLOAD_BUCKET": self.names.upload_bucket,
            "RESULTS_BUCKET": self.names.results_bucket,
            "ERROR_TOPIC": self.names.error_topic,
        }

    def _start_storage(self, reaper: ProcessGroupReaper) -> ServerProcess:
        process = storage_server(
            self.names,
            pubsub_host=self.pubsub_host,
            environment=self._environment,
            folder=self.folder,
            reaper=reaper,
        )
        self._exit.callback(_end, [process])
        process.start()
        process.wait_until_ready(START_TIMEOUT_S, port_retries=3)
        self.storage_url = process.url
        return process

    def _start_functions(self, reaper: ProcessGroupReaper) -> None:
        if not self._source.is_file():
            raise StackError(f"there is no {self._source}")
        environment = {**self._environment, **self._wrap_settings(self._settings())}
        self._functions = {
            target: function_server(
                target, source=self._source, environment=environment, folder=self.folder, reaper=reaper
            )
            for target in self._targets
        }
        self._exit.callback(_end, list(self._functions.values()))
        for process in self._functions.values():
            process.start()

    def _create_resources(self) -> None:
        try:
            resources.create_buckets(self.storage, self.names)
        except (RequestException, GoogleAPICallError) as error:
            raise StackError(f"storage at {self.storage_url} creates no buckets: {error}") from error
        try:
            resources.create_topics(self.publisher, self.names)
        except (GoogleAPICallError, RetryError) as error:
            raise StackError(f"Pub/Sub at {self.pubsub_host} creates no topics: {error}") from error

    def _watch_uploads(self) -> None:
        watcher = UploadWatcher(
            self.storage_url, self.names.upload_bucket, self.publisher, self.names.upload_topic
        )
        self._exit.callback(watcher.stop)
        watcher.start()

    def _open_the_bridge(self) -> None:
        """Each function that is here gets what its subscription is pushed."""
        here = [trigger for trigger in triggers(self.names) if trigger.function in self._functions]
        routes = {f"/{one.function}": Route(one.envelope, self.url(one.function)) for one in here}
        bridge = Bridge(routes, timeout_s=self._redelivery.ack_deadline_s)
        self._exit.enter_context(bridge)
        pushes = [PushSubscription(one.subscription, one.topic, bridge.url(f"/{one.function}")) for one in here]
        self._exit.callback(self._remove_pushes, pushes)
        try:
            resources.create_subscriptions(self.subscriber, self.names, pushes, self._redelivery)
        except (GoogleAPICallError, RetryError) as error:
            raise StackError(f"Pub/Sub at {self.pubsub_host} creates no subscriptions: {error}") from error

    def _remove_pushes(self, pushes: Sequence[PushSubscription]) -> None:
        """In a Pub/Sub of others they would push to nobody for ever."""
        with suppress(GoogleAPICallError, RetryError):
            resources.remove_pushes(self.subscriber, pushes)

    def _running(self) -> Supervisor:
        if self._supervisor is None:
            raise StackError("the stack is not up")
        return self._supervisor

    def _close_clients(self) -> None:
        """Those that were asked for: a cached property is in the instance's dictionary once it was."""
        if "storage" in self.__dict__:
            self.storage.close()
        if "publisher" in self.__dict__:
            self.publisher.stop()
            self.publisher.transport.close()
        if "subscriber" in self.__dict__:
            self.subscriber.close()
        for name in ("storage", "publisher", "subscriber"):
            self.__dict__.pop(name, None)


def _end(processes: Sequence[ServerProcess]) -> None:
    deadline = time.monotonic() + GRACE_S
    for process in processes:
        process.terminate()
    for process in processes:
        process.kill(grace_s=max(0.0, deadline - time.monotonic()))
        process.release_port()


def _http(host: str) -> str:
    """STORAGE_EMULATOR_HOST is seen with and without its scheme; the Python client needs it."""
    host = host.rstrip("/")
    return host if not host or "://" in host else f"http://{host}"
