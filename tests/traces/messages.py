"""Reads the body of one OTLP request (protobuf, perhaps compressed) from standard input, and prints it as JSON.

The messages are those of the official package, so a body that is not OTLP is an error.
"""

import gzip
import sys

from google.protobuf.json_format import MessageToJson
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

body = sys.stdin.buffer.read()
if body.startswith(b"\x1f\x8b"):
    body = gzip.decompress(body)
print(MessageToJson(ExportTraceServiceRequest.FromString(body)))
