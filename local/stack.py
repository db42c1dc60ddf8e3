"""The local stack: storage and Pub/Sub emulators, the bridge and the functions, started and stopped together.

    with Stack() as stack:
        stack.storage.bucket(stack.names.upload_bucket).blob("uploads/tenant-001/bed.jpg").upload_from_filename(…)

This module has the order in which the parts start; each part is a module of its own.
"""

import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from pathlib import Path
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
from local.server_process import ServerProcess, StackError, stop_processes
from local.storage_server import storage_server
from local.supervisor import Supervisor
from local.trigger import MESSAGE, REQUEST, TARGETS, UPLOAD, triggers
from local.upload_watcher import UploadWatcher
from pubsub_emulator import PubSubServer

DEFAULT_SOURCE = Path(__file__).resolve().parent.parent / "main.py"
START_TIMEOUT_S = 60.0


class Stack:
    """A local stack on 127.0.0.1, as a context manager.

    Args:
        source: Python file with the functions.
        targets: functions to start; a source need not have all of them.
        environment: environment variables that the functions inherit and that name the resources; by default
            those of this process. STORAGE_EMULATOR_HOST and PUBSUB_EMULATOR_HOST, if set, are used instead of
            emulators of the stack.
        redelivery: when Pub/Sub redelivers.
        remove_on_exit: files to remove when the stack ends, even by SIGKILL.
        wrap_settings: takes the settings of the functions and returns those they get, e.g. to put a proxy between
            them and the emulators.
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
        self.storage_url = clients.with_scheme(self._environment.get("STORAGE_EMULATOR_HOST", ""))
        self.pubsub_host = self._environment.get("PUBSUB_EMULATOR_HOST", "")
        self.folder = Path()

    def start(self) -> Self:
        """Start everything, and return when it is ready.

        Raises:
            StackError: a part cannot start; the others are stopped.
        """
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop everything, and remove the stack's folder."""
        self._exit.close()

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait until the time is over, or without end.

        Raises:
            StackError: the storage emulator died.
        """
        supervisor = self._require_supervisor()
        supervisor.failed.wait(timeout_s)
        if supervisor.failure is not None:
            raise supervisor.failure

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def env(self) -> dict[str, str]:
        """The environment variables with which another process can use this stack."""
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
        """A client of the storage emulator."""
        return clients.storage_client(self.storage_url, self.names.project)

    @cached_property
    def publisher(self) -> pubsub_v1.PublisherClient:
        """A publisher client of the Pub/Sub emulator."""
        return clients.publisher_client(self.pubsub_host)

    @cached_property
    def subscriber(self) -> pubsub_v1.SubscriberClient:
        """A subscriber client of the Pub/Sub emulator."""
        return clients.subscriber_client(self.pubsub_host)

    def read(
        self, subscription: str, *, count: int = 1, timeout_s: float = 10.0
    ) -> list[pubsub_v1.types.PubsubMessage]:
        """Pull and acknowledge `count` messages of a subscription, or fewer if the time is over."""
        return clients.read(self.subscriber, subscription, count=count, timeout_s=timeout_s)

    def url(self, name: str) -> str:
        """Return the URL of a function."""
        return self._functions[name].url

    def log_lines(self, name: str) -> list[dict[str, Any]]:
        """Return the JSON lines that a function has logged, also before it was restarted."""
        return self._functions[name].log.entries()

    def fresh_lines(self) -> list[tuple[str, str]]:
        """Return the log lines since the last call, as pairs of function and line."""
        return [(name, line) for name, process in self._functions.items() for line in process.log.fresh_lines()]

    def function_pid(self, name: str) -> int | None:
        """Return the process id of a function, or None if it is not running."""
        return self._functions[name].pid

    def kill_function(self, name: str) -> None:
        """Send SIGKILL to a function, which is not restarted until `start_function`."""
        self._require_supervisor().suspend(name)

    def start_function(self, name: str, timeout_s: float = START_TIMEOUT_S) -> None:
        """Start a function unless it is running, and wait until it is ready."""
        self._require_supervisor().resume(name)
        self._functions[name].wait_until_ready(timeout_s)

    def restart_function(self, name: str) -> None:
        """Replace a function's process by a new, cold instance at the same URL."""
        self.kill_function(name)
        self.start_function(name)

    def _start(self) -> None:
        # Each step registers its undoing before it begins: a signal handler may raise between any two lines.
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
        own_storage_servers = [] if self.storage_url else [self._start_storage(reaper)]
        self._start_functions(reaper)
        self._create_resources()
        for process in self._functions.values():
            process.wait_until_ready(START_TIMEOUT_S, port_retries=3)
        self._start_bridge()
        if not own_storage_servers:
            self._watch_uploads()
        self._supervisor = Supervisor(restarted=self._functions.values(), required=own_storage_servers)
        self._exit.callback(self._supervisor.stop)
        self._supervisor.start()

    def _settings(self) -> dict[str, str]:
        return {
            "STORAGE_EMULATOR_HOST": self.storage_url,
            "PUBSUB_EMULATOR_HOST": self.pubsub_host,
            **self.names.settings(),
        }

    def _start_storage(self, reaper: ProcessGroupReaper) -> ServerProcess:
        process = storage_server(
            self.names,
            pubsub_host=self.pubsub_host,
            environment=self._environment,
            folder=self.folder,
            reaper=reaper,
        )
        self._exit.callback(stop_processes, [process])
        process.start()
        process.wait_until_ready(START_TIMEOUT_S, port_retries=3)
        self.storage_url = process.url
        return process

    def _start_functions(self, reaper: ProcessGroupReaper) -> None:
        if not self._source.is_file():
            raise StackError(f"there is no source file {self._source}")
        environment = {**self._environment, **self._wrap_settings(self._settings())}
        self._functions = {
            target: function_server(
                target, source=self._source, environment=environment, folder=self.folder, reaper=reaper
            )
            for target in self._targets
        }
        self._exit.callback(stop_processes, list(self._functions.values()))
        for process in self._functions.values():
            process.start()

    def _create_resources(self) -> None:
        with _reporting_errors(f"create buckets in storage at {self.storage_url}"):
            resources.create_buckets(self.storage, self.names)
        with _reporting_errors(f"create topics in Pub/Sub at {self.pubsub_host}"):
            resources.create_topics(self.publisher, self.names)

    def _watch_uploads(self) -> None:
        watcher = UploadWatcher(
            self.storage_url, self.names.upload_bucket, self.publisher, self.names.upload_topic
        )
        self._exit.callback(watcher.stop)
        watcher.start()

    def _start_bridge(self) -> None:
        """Start the bridge, and create the push subscriptions of the functions that run."""
        active = [trigger for trigger in triggers(self.names) if trigger.function in self._functions]
        routes = {
            f"/{trigger.function}": Route(trigger.to_event, self.url(trigger.function)) for trigger in active
        }
        bridge = Bridge(routes, timeout_s=self._redelivery.ack_deadline_s)
        self._exit.callback(bridge.stop)
        bridge.start()
        push_subscriptions = [
            PushSubscription(trigger.subscription, trigger.topic, bridge.url(f"/{trigger.function}"))
            for trigger in active
        ]
        self._exit.callback(self._remove_push_subscriptions, push_subscriptions)
        with _reporting_errors(f"create subscriptions in Pub/Sub at {self.pubsub_host}"):
            resources.create_subscriptions(self.subscriber, self.names, push_subscriptions, self._redelivery)

    def _remove_push_subscriptions(self, push_subscriptions: Sequence[PushSubscription]) -> None:
        """Delete them from an emulator that outlives the stack, as it would push to a closed port for ever."""
        with suppress(GoogleAPICallError, RetryError):
            resources.remove_push_subscriptions(self.subscriber, push_subscriptions)

    def _require_supervisor(self) -> Supervisor:
        if self._supervisor is None:
            raise StackError("the stack is not running: call start() first")
        return self._supervisor

    def _close_clients(self) -> None:
        """Close the clients that were created: a cached property is in the instance's dictionary from then on."""
        if "storage" in self.__dict__:
            self.storage.close()
        if "publisher" in self.__dict__:
            self.publisher.stop()
            self.publisher.transport.close()
        if "subscriber" in self.__dict__:
            self.subscriber.close()
        for name in ("storage", "publisher", "subscriber"):
            self.__dict__.pop(name, None)


@contextmanager
def _reporting_errors(action: str) -> Iterator[None]:
    """Raise StackError for the errors of the client libraries."""
    try:
        yield
    except (RequestException, GoogleAPICallError, RetryError) as error:
        raise StackError(f"cannot {action}: {error}") from error
