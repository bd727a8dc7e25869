"""One slice of load on one proxy, and what it cost that proxy."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import tools
from stage import LOAD_CPU


SOCKETS = Path(__file__).resolve().parent / "sockets.py"


class Mode(NamedTuple):
    """Path, load generator, connections, and what else distinguishes the mode."""

    path: str
    program: str
    connections: int
    more: list
    body: bytes = b""


# A message of gRPC: not compressed, its length, its bytes.
CALL = b"\0\0\0\0\x20" + b"x" * 32

MODES = {
    "h1": Mode("/small", "wrk", 64, []),
    "h2": Mode("/small", "h2load", 16, ["-m10"]),
    "close": Mode("/small", "wrk", 64, ["-H", "Connection: close"]),
    "big": Mode("/big", "wrk", 64, []),
    "tls": Mode("/tls/small", "wrk", 64, []),
    "h2-h2": Mode("/h2/small", "h2load", 16, ["-m10"]),
    "grpc": Mode("/bench.Call/Unary", "h2load", 16, ["-m10", "-Hcontent-type: application/grpc", "-Hte: trailers"], CALL),
    "ws": Mode("/ws/echo", "sockets.py", 64, []),
}
# What the floor program can do.
OF_FLOOR = ("h1", "close", "big")
# The same load as `h1` by the other generator, which can also send at a fixed rate.
PACED = {"h1": Mode("/small", "h2load", 64, ["--h1"]), "h2": MODES["h2"]}
# At a fixed rate, connections of one h2load send at the same moment if their handshakes ended at the same moment, so a proxy
# whose handshakes are slow would get smaller bursts. With so many processes the moments are random for every proxy.
PROCESSES = 16


class Slice(NamedTuple):
    """What was measured. Latencies are in milliseconds, `sleeps` is how often the proxy waited for work per request."""

    cpu_us: float
    sleeps: float
    rate: float
    requests: int
    errors: int
    p50: float
    p99: float


def run(mode, proxy, token, seconds, rate=None):
    """Runs one slice against a proxy that has been started: `rate` requests per second, or as many as there can be."""
    if mode.program == "wrk":
        return measure(mode, proxy, token, [["--latency", f"-d{seconds}s"]], lambda outputs: of_wrk(*outputs))
    if mode.program == "sockets.py":
        return measure(mode, proxy, token, [[f"-d{seconds}s"]], lambda outputs: of_sockets(*outputs))
    pace = [f"--rps={rate / mode.connections:.3f}"] if rate else []
    with ExitStack() as files:
        times = [files.enter_context(times_file()) for _ in range(PROCESSES if rate else 1)]
        pace += [f"--data={files.enter_context(body_file(mode)).name}"] if mode.body else []
        options = [["-D", str(seconds), f"--log-file={file.name}", *pace] for file in times]
        return measure(mode, proxy, token, options, lambda outputs: of_h2load(outputs, times))


def measure(mode, proxy, token, options, read):
    """Runs one process of the load generator for each list of options; they share the connections."""
    url = f"https://127.0.0.1:{proxy.port}{mode.path}"
    program = [sys.executable, "-B", SOCKETS, "load"] if mode.program == SOCKETS.name else [mode.program]
    command = ["taskset", "-c", LOAD_CPU, *program, "-t1", f"-c{mode.connections // len(options)}", *mode.more]
    rest = ["-H", f"Authorization: Token {token}", url]
    cpu, slept, began = cpu_seconds(proxy.pid), sleeps(proxy.pid), time.monotonic()
    processes = [
        subprocess.Popen([*command, *own, *rest], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for own in options
    ]
    outputs = [process.communicate()[0] for process in processes]
    cpu, slept, took = cpu_seconds(proxy.pid) - cpu, sleeps(proxy.pid) - slept, time.monotonic() - began
    requests, errors, p50, p99 = read(outputs)
    if not requests:
        raise tools.Trouble(f"no request got an answer on {url}:\n{''.join(outputs)}")
    return Slice(cpu / requests * 1e6, slept / requests, requests / took, requests, errors, p50, p99)


def times_file():
    """A file for the times of all requests of one process."""
    return tempfile.NamedTemporaryFile(mode="r", prefix="tokengate-bench-")


def body_file(mode):
    """The body of the requests of a mode, in a file."""
    file = tempfile.NamedTemporaryFile(prefix="tokengate-bench-")
    file.write(mode.body)
    file.flush()
    return file


def of_sockets(output):
    """Messages, errors and latencies as `sockets.py` reports them."""
    found = re.search(r"(\d+) messages, (\d+) errors, p50 ([\d.]+) ms, p99 ([\d.]+) ms", output)
    return (int(found[1]), int(found[2]), float(found[3]), float(found[4])) if found else (0, 0, 0.0, 0.0)


def steady(mode, proxy, upstream, token, seconds):
    """CPU time of a proxy per request, in microseconds, while all its connections exist, and how many requests failed.

    Unlike `run`, it does not count the handshakes. The upstream counts the requests.
    """
    command = ["taskset", "-c", LOAD_CPU, mode.program, "-t1", f"-c{mode.connections}", *mode.more, "--timeout", "60s", "-d600s"]
    command += ["-H", f"Authorization: Token {token}", f"https://127.0.0.1:{proxy.port}{mode.path}"]
    load = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        late = time.monotonic() + 60
        while established(proxy.port) < mode.connections and time.monotonic() < late:
            time.sleep(0.1)
        time.sleep(1 + mode.connections / 1000)  # the handshakes of the last ones
        cpu, served = cpu_seconds(proxy.pid), requests_of(upstream)
        time.sleep(seconds)
        cpu, served = cpu_seconds(proxy.pid) - cpu, requests_of(upstream) - served
    finally:
        load.send_signal(signal.SIGINT)  # wrk then prints its summary
        output = load.communicate()[0]
    if served < 2:
        raise tools.Trouble(f"the upstream got no request:\n{output}")
    return cpu / served * 1e6, of_wrk(output)[1]


def requests_of(upstream):
    """How many requests the upstream has served."""
    with urllib.request.urlopen(f"http://127.0.0.1:{upstream}/status", timeout=10) as answer:
        return int(answer.read().split()[9])


def established(port):
    """How many connections to this local port there are."""
    with open("/proc/net/tcp") as file:
        lines = (line.split(None, 4) for line in file)
        return sum(local.endswith(f":{port:04X}") and state == "01" for _, local, _, state, _ in lines)


def of_wrk(output):
    """Requests, errors and latencies as wrk reports them."""
    requests = number(r"(\d+) requests in", output)
    errors = number(r"Non-2xx or 3xx responses: (\d+)", output)
    sockets = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output)
    errors += sum(map(int, sockets.groups())) if sockets else 0
    unit = {"us": 1e-3, "ms": 1, "s": 1e3, "m": 60e3}
    latency = re.findall(r"^\s+(50|99)%\s+([\d.]+)(\w+)", output, re.MULTILINE)
    latency = {percent: float(value) * unit[its] for percent, value, its in latency}
    return requests, errors, latency.get("50", 0.0), latency.get("99", 0.0)


def of_h2load(outputs, times):
    """Requests and errors as h2load reports them; latencies from its files, which have one line for each request."""
    requests = sum(number(r"(\d+) succeeded", output) for output in outputs)
    kinds = ("failed", "errored", "timeout", "3xx", "4xx", "5xx")
    errors = sum(number(rf"(\d+) {kind}", output) for kind in kinds for output in outputs)
    took = sorted(int(line.rsplit("\t", 1)[1]) for file in times for line in file)
    p50, p99 = (took[int(len(took) * share)] / 1e3 if took else 0.0 for share in (0.5, 0.99))
    return requests, errors, p50, p99


def number(pattern, text):
    found = re.search(pattern, text)
    return int(found[1]) if found else 0


def cpu_seconds(pid):
    """CPU time that a process and its children have used so far, all threads, as the scheduler counts it."""
    return sum(int(text.split()[0]) for text in of_threads(pid, "schedstat")) / 1e9


def sleeps(pid):
    """How often the threads of a process and its children have waited so far: voluntary context switches."""
    return sum(number(r"\bvoluntary_ctxt_switches:\s+(\d+)", text) for text in of_threads(pid, "status"))


def of_threads(pid, name):
    """One file of /proc for each thread of a process and its children."""
    for process in family(pid):
        try:
            for thread in os.listdir(f"/proc/{process}/task"):
                with open(f"/proc/{process}/task/{thread}/{name}") as file:
                    yield file.read()
        except OSError:
            continue  # ended meanwhile


def memory(pid):
    """Proportional set size of a process and its children, in bytes."""
    total = 0
    for process in family(pid):
        with open(f"/proc/{process}/smaps_rollup") as file:
            total += next(int(line.split()[1]) for line in file if line.startswith("Pss:")) << 10
    return total


def family(pid):
    """A process with all its children, and theirs."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as file:
                    parent = int(file.read().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry))
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        found.append(one)
        waiting += children.get(one, [])
    return found
