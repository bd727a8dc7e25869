"""A gRPC server without generated code: messages are bytes. Writes its port to the file that the argument names."""

import os
import sys
import threading
import time
from concurrent import futures

import grpc
from grpc_reflection.v1alpha import reflection


# How many calls of each method that does not end by itself were begun, and how many of them the server was told are over.
lock, begun, over = threading.Lock(), {}, {}


def watch(method, context):
    def count(calls):
        with lock:
            calls[method] = calls.get(method, 0) + 1

    count(begun)
    if not context.add_callback(lambda: count(over)):
        count(over)


def calls(request, context):
    method = request.decode()
    with lock:
        return f"{begun.get(method, 0)} {over.get(method, 0)}".encode()


def metadata(context):
    return dict(context.invocation_metadata())


def unary(request, context):
    forged = (("x-user-id", "forged"), ("x_user_id", "forged"), ("set-cookie", "a=b"), ("x-request-id", "mine"))
    context.set_trailing_metadata((*forged, ("x-cost", "7"), ("trace-bin", b"\0\xff")))
    return request + b" by " + metadata(context).get("x-user-name", "nobody").encode()


def fail(request, context):
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not now: é")


def slow(request, context):
    watch("Slow", context)
    time.sleep(30)
    return request


def server_stream(request, context):
    for number in range(int(request)):
        yield str(number).encode()


def client_stream(requests, context):
    return b",".join(requests)


def listen(requests, context):
    watch("Listen", context)
    for _ in requests:
        yield b"heard"


def bidi(requests, context):
    for request in requests:
        yield request[::-1]


def endless(request, context):
    watch("Endless", context)
    number = 0
    while context.is_active():
        yield str(number).encode()
        number += 1
        time.sleep(0.02)


handlers = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "Slow": grpc.unary_unary_rpc_method_handler(slow),
    "ServerStream": grpc.unary_stream_rpc_method_handler(server_stream),
    "ClientStream": grpc.stream_unary_rpc_method_handler(client_stream),
    "Bidi": grpc.stream_stream_rpc_method_handler(bidi),
    "Calls": grpc.unary_unary_rpc_method_handler(calls),
    "Listen": grpc.stream_stream_rpc_method_handler(listen),
    "Endless": grpc.unary_stream_rpc_method_handler(endless),
}
server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", handlers),))
reflection.enable_server_reflection(("test.Echo", reflection.SERVICE_NAME), server)
port = server.add_insecure_port("127.0.0.1:0")
server.start()
with open(sys.argv[1] + ".new", "w") as file:
    file.write(str(port))
os.rename(sys.argv[1] + ".new", sys.argv[1])
server.wait_for_termination()
