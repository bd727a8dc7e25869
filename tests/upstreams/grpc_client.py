"""Calls a gRPC server through the gateway, as an ordinary client does. Arguments: address, CA file, key."""

import sys
import threading
import time

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

address, authority, key = sys.argv[1:]
with open(authority, "rb") as file:
    encrypted = grpc.ssl_channel_credentials(file.read())


def channel(credential):
    def add(context, callback):
        callback((("authorization", credential),), None)

    if not credential:
        return grpc.secure_channel(address, encrypted)
    return grpc.secure_channel(
        address, grpc.composite_channel_credentials(encrypted, grpc.metadata_call_credentials(add))
    )


def status(call):
    try:
        call()
    except grpc.RpcError as error:
        return error.code(), error.details()
    return grpc.StatusCode.OK, ""


good = channel("Token " + key)
unary = good.unary_unary("/test.Echo/Unary")
assert unary(b"hello", timeout=60) == b"hello by alice"
response, call = unary.with_call(b"x" * 1_000_000, timeout=60)
assert len(response) == 1_000_000 + len(b" by alice") and call.code() == grpc.StatusCode.OK
assert sorted(call.trailing_metadata()) == [("trace-bin", b"\0\xff"), ("x-cost", "7")], call.trailing_metadata()

fail = good.unary_unary("/test.Echo/Fail")
assert status(lambda: fail(b"", timeout=60)) == (grpc.StatusCode.FAILED_PRECONDITION, "not now: é")
missing = good.unary_unary("/test.Echo/Missing")
assert status(lambda: missing(b"", timeout=60))[0] == grpc.StatusCode.UNIMPLEMENTED

numbers = list(good.unary_stream("/test.Echo/ServerStream")(b"1000", timeout=60))
assert numbers == [str(number).encode() for number in range(1000)]
assert good.stream_unary("/test.Echo/ClientStream")(iter([b"a", b"b", b"c"]), timeout=60) == b"a,b,c"

# Each message is sent when the answer to the last one has arrived.
turn, messages = threading.Semaphore(1), [b"one", b"two", b"three"]


def one_by_one():
    for message in messages:
        turn.acquire()
        yield message


answers = []
for answer in good.stream_stream("/test.Echo/Bidi")(one_by_one(), timeout=60):
    answers.append(answer)
    turn.release()
assert answers == [b"eno", b"owt", b"eerht"], answers

slow = good.unary_unary("/test.Echo/Slow")
assert status(lambda: slow(b"", timeout=0.5))[0] == grpc.StatusCode.DEADLINE_EXCEEDED

def has_calls(method, begun, over):
    calls, end = good.unary_unary("/test.Echo/Calls"), time.monotonic() + 60
    while (seen := calls(method, timeout=60)) != f"{begun} {over}".encode():
        assert time.monotonic() < end, (method, seen)
        time.sleep(0.02)


# The server was told of the end of the call: its client's deadline is the gateway's as well.
has_calls(b"Slow", 1, 1)

# A cancelled call ends at the server, while it sends, while it computes, and while it waits for a message.
endless = good.unary_stream("/test.Echo/Endless")(b"", timeout=60)
assert next(endless) == b"0"
has_calls(b"Endless", 1, 0)
endless.cancel()
assert status(lambda: list(endless))[0] == grpc.StatusCode.CANCELLED
has_calls(b"Endless", 1, 1)

computing = slow.future(b"", timeout=60)
has_calls(b"Slow", 2, 1)
computing.cancel()
has_calls(b"Slow", 2, 2)

hold = threading.Event()


def one_and_silence():
    yield b"one"
    hold.wait(60)


listening = good.stream_stream("/test.Echo/Listen")(one_and_silence(), timeout=60)
assert next(listening) == b"heard"
has_calls(b"Listen", 1, 0)
listening.cancel()
has_calls(b"Listen", 1, 1)
hold.set()

# As grpcurl does: the server describes its service, and the call is made from the description alone.
described = ProtoReflectionDescriptorDatabase(good)
assert "test.Echo" in described.get_services()
service = DescriptorPool(described).FindServiceByName("grpc.reflection.v1alpha.ServerReflection")
method = service.methods_by_name["ServerReflectionInfo"]
question, answer = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
call = good.stream_stream(f"/{service.full_name}/{method.name}", question.SerializeToString, answer.FromString)
[listed] = call(iter([question(list_services="")]), timeout=60)
assert "test.Echo" in [one.name for one in listed.list_services_response.service], listed

for credential, code, details in [
    ("", grpc.StatusCode.UNAUTHENTICATED, "Authentication credentials were not provided."),
    ("Token 1234567890123456789012345678901234567890", grpc.StatusCode.UNAUTHENTICATED, "Invalid token."),
]:
    call = channel(credential).unary_unary("/test.Echo/Unary")
    assert status(lambda: call(b"", timeout=60)) == (code, details), status(lambda: call(b"", timeout=60))
    stream = channel(credential).stream_stream("/test.Echo/Bidi")
    assert status(lambda: list(stream(iter([b"a"]), timeout=60))) == (code, details)
scoped = good.unary_unary("/scoped.Echo/Unary")
assert status(lambda: scoped(b"", timeout=60))[0] == grpc.StatusCode.PERMISSION_DENIED
dead = good.unary_unary("/dead.Echo/Unary")
assert status(lambda: dead(b"", timeout=60)) == (
    grpc.StatusCode.UNAVAILABLE,
    "The upstream cannot be reached.",
)
print("OK")
