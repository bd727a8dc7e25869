"""One slice of load on one proxy, and what it cost that proxy."""

import os
import re
import subprocess
import time
from typing import NamedTuple

import tools

LOAD_CPU = "1"

# Mode: path, and the load generator with what distinguishes the mode.
MODES = {
    "h1": ("/small", ["wrk", "-t1", "-c64"]),
    "h2": ("/small", ["h2load", "-t1", "-c16", "-m10"]),
    "close": ("/small", ["wrk", "-t1", "-c64", "-H", "Connection: close"]),
    "big": ("/big", ["wrk", "-t1", "-c64"]),
}


class Slice(NamedTuple):
    """What was measured."""

    cpu_us: float
    rate: float
    requests: int
    errors: int
    p50: str
    p99: str


def run(mode, proxy, token, seconds):
    """Runs one slice against a proxy that has been started."""
    path, command = MODES[mode]
    duration = ["-D", str(seconds)] if command[0] == "h2load" else [f"-d{seconds}s", "--latency"]
    url = f"https://127.0.0.1:{proxy.port}{path}"
    command = ["taskset", "-c", LOAD_CPU, *command, *duration, "-H", f"Authorization: Token {token}", url]

    cpu, began = cpu_seconds(proxy.pid), time.monotonic()
    output = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
    cpu, took = cpu_seconds(proxy.pid) - cpu, time.monotonic() - began

    requests, errors, p50, p99 = (of_h2load if "h2load" in command else of_wrk)(output)
    if not requests:
        raise tools.Trouble(f"no request got an answer on {url}:\n{output}")
    return Slice(cpu / requests * 1e6, requests / took, requests, errors, p50, p99)


def of_wrk(output):
    """Requests, errors and latencies as wrk reports them."""
    requests = number(r"(\d+) requests in", output)
    errors = number(r"Non-2xx or 3xx responses: (\d+)", output)
    sockets = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output)
    errors += sum(map(int, sockets.groups())) if sockets else 0
    latency = dict(re.findall(r"^\s+(50|99)%\s+(\S+)", output, re.MULTILINE))
    return requests, errors, latency.get("50", "-"), latency.get("99", "-")


def of_h2load(output):
    """Requests, errors and latencies as h2load reports them; it knows no percentiles: mean and longest."""
    requests = number(r"(\d+) succeeded", output)
    errors = sum(number(rf"(\d+) {kind}", output) for kind in ("failed", "errored", "timeout", "3xx", "4xx", "5xx"))
    times = re.search(r"time for request:\s+\S+\s+(\S+)\s+(\S+)", output)
    return requests, errors, f"mean {times[2]}" if times else "-", f"max {times[1]}" if times else "-"


def number(pattern, text):
    found = re.search(pattern, text)
    return int(found[1]) if found else 0


def cpu_seconds(pid):
    """CPU time that a process and its children have used so far, all threads, as the scheduler counts it."""
    total = 0
    for process in family(pid):
        try:
            for thread in os.listdir(f"/proc/{process}/task"):
                with open(f"/proc/{process}/task/{thread}/schedstat") as file:
                    total += int(file.read().split()[0])
        except OSError:
            continue  # ended meanwhile
    return total / 1e9


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
