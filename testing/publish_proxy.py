"""A proxy in front of a Pub/Sub server that makes calls to publish fail, and forwards all others as bytes.

It counts the messages that were published for each tenant, whether or not the client got the response.

Kinds of faults: a gRPC status ("UNAVAILABLE"), and "stall": no response until the client has given up or is
killed. With `Fault.after` the message is published first.
"""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, Self

import grpc
from google.pubsub_v1 import types

from testing.fault_plan import FaultSource

MAX_STALL_S: Final = 120
MAX_CALLS: Final = 128  # at once


class PublishProxy(grpc.GenericRpcHandler):  # type: ignore[misc]
    """A context manager that listens while it is open; `forward_to(host_port)` names the server behind it."""

    def __init__(self, faults: FaultSource) -> None:
        self.published: Counter[str] = Counter()
        self._faults = faults
        self._closing = False
        self._channel: Any = None
        self._workers = ThreadPoolExecutor(MAX_CALLS, thread_name_prefix="publish-proxy")
        self._server = grpc.server(self._workers, handlers=[self])
        self._port = self._server.add_insecure_port("127.0.0.1:0")

    def forward_to(self, host_port: str) -> str:
        """Forward calls to a server; return the proxy's own address."""
        self._channel = grpc.insecure_channel(host_port, options=[("grpc.enable_http_proxy", 0)])
        return f"127.0.0.1:{self._port}"

    def service(self, handler_call_details: Any) -> Any:
        method: str = handler_call_details.method
        return grpc.unary_unary_rpc_method_handler(partial(self._serve, method))

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        self._server.stop(grace=None).wait()
        self._workers.shutdown()
        if self._channel:
            self._channel.close()

    def _serve(self, method: str, request: bytes, context: Any) -> Any:
        if not method.endswith("/Publish"):
            return self._forward(method, request, context)
        tenant_id = types.PublishRequest.deserialize(request).messages[0].attributes.get("tenant_id", "")
        fault = self._faults.take("publish", tenant_id)
        response = None
        if fault is None or fault.after:
            response = self._forward(method, request, context)
            self.published[tenant_id] += 1
        if fault is None:
            return response
        if fault.kind == "stall":
            self._wait_for_client(context)
            return context.abort(grpc.StatusCode.UNAVAILABLE, "stalled by the test")
        return context.abort(grpc.StatusCode[fault.kind], "failed by the test")

    def _wait_for_client(self, context: Any) -> None:
        """Return when the client has gone or given up."""
        deadline = time.monotonic() + MAX_STALL_S
        while context.is_active() and not self._closing and time.monotonic() < deadline:
            time.sleep(0.02)

    def _forward(self, method: str, request: bytes, context: Any) -> Any:
        try:
            return self._channel.unary_unary(method)(request, timeout=MAX_STALL_S)
        except grpc.RpcError as error:
            return context.abort(error.code(), error.details())
