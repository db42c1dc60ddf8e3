"""A proxy in front of a Pub/Sub server that fails what it is told to fail; bytes in, bytes out.

It counts the messages that were published, of each tenant, whether or not anybody was told so.

Kinds of faults: a gRPC status ("UNAVAILABLE"), and "stall" (no answer until the client has given up, or is
killed). `Fault.after` lets the message be published first.
"""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import grpc
from google.pubsub_v1 import types

LONGEST_STALL_S = 120


class PublishProxy(grpc.GenericRpcHandler):
    """Listens from the start of the `with` to its end; `to(host_port)` says where the Pub/Sub is."""

    def __init__(self, faults):
        self.published = Counter()
        self._faults = faults
        self._over = False
        self._channel = None
        self._workers = ThreadPoolExecutor(128, thread_name_prefix="publish-proxy")
        self._server = grpc.server(self._workers, handlers=[self])
        self._port = self._server.add_insecure_port("127.0.0.1:0")

    def to(self, host_port):
        self._channel = grpc.insecure_channel(host_port, options=[("grpc.enable_http_proxy", 0)])
        return f"127.0.0.1:{self._port}"

    def service(self, handler_call_details):
        method = handler_call_details.method
        return grpc.unary_unary_rpc_method_handler(lambda asked, context: self._serve(method, asked, context))

    def __enter__(self):
        self._server.start()
        return self

    def __exit__(self, *_):
        self._over = True
        self._server.stop(grace=None).wait()
        self._workers.shutdown()
        if self._channel:
            self._channel.close()

    def _serve(self, method, asked, context):
        if not method.endswith("/Publish"):
            return self._handed_on(method, asked, context)
        tenant_id = types.PublishRequest.deserialize(asked).messages[0].attributes.get("tenant_id", "")
        fault = self._faults.take("publish", tenant_id)
        answer = None
        if fault is None or fault.after:
            answer = self._handed_on(method, asked, context)
            self.published[tenant_id] += 1
        if fault is None:
            return answer
        if fault.kind == "stall":
            self._wait(context)
            return context.abort(grpc.StatusCode.UNAVAILABLE, "nobody waits")
        return context.abort(grpc.StatusCode[fault.kind], "as the test wants it")

    def _wait(self, context):
        """Until the client is gone, or has given up."""
        until = time.monotonic() + LONGEST_STALL_S
        while context.is_active() and not self._over and time.monotonic() < until:
            time.sleep(0.02)

    def _handed_on(self, method, asked, context):
        try:
            return self._channel.unary_unary(method)(asked, timeout=LONGEST_STALL_S)
        except grpc.RpcError as error:
            return context.abort(error.code(), error.details())
