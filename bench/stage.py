"""Everything that a measurement runs on: files, an upstream, the proxies."""

import http.client
import os
import secrets
import shutil
import signal
import socket
import ssl
import string
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import tools

CONF = Path(__file__).resolve().parent / "conf"
# The upstream shares the CPU of the proxies, so that the load generator is faster than they are.
PROXY_CPU, LOAD_CPU = "0", "1"
USER, PASSWORD = "user0", "correct horse battery staple"
TOKENGATE = "tokengate"

# Target: the program that serves it. Builds of tokengate are targets too, by the names that the command line gives them.
OTHERS = {"nginx": "nginx", "haproxy": "haproxy", "haproxy-map": "haproxy"}
FLOOR = "floor"
# The ports of the upstream: HTTP/1.1, HTTP/2, TLS, and an echo for WebSockets.
UPSTREAMS = ["upstream", "upstream-h2", "upstream-tls", "upstream-ws"]


class Proxy(NamedTuple):
    """A proxy that runs."""

    pid: int
    port: int


class Stage:
    """A folder with files and processes; leaving it ends the processes.

    `builds` has the programs that tokengate's configuration is for, by target: `tokengate` and others beside it.
    `workers` is the number of worker threads or processes of each proxy, `cpus` where they run. `origin`, `route` and
    `more` are more configuration of tokengate: keys of its upstream and of its route, and tables.
    """

    def __init__(self, folder, builds, floor=None, workers=1, cpus=PROXY_CPU, origin="", route="", more=""):
        self.folder, self.builds, self.floor, self.cpus = folder, builds, floor, cpus
        self.settings = {"workers": workers, "origin": origin, "route": route, "more": more}
        self.processes, self.token = {}, None
        names = [*UPSTREAMS, *OTHERS, FLOOR, *builds, *(f"{name} health" for name in builds)]
        self.ports = dict(zip(names, free_ports(len(names))))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes.values():
            signal_group(process, signal.SIGTERM)
        for process in self.processes.values():
            end(process, 5)

    def furnish(self, users):
        """Makes all files and starts the upstream. Returns the token that is used."""
        os.chmod(self.folder, 0o755)  # nginx drops its rights
        run([self.builds[TOKENGATE], "cert", "--dir", self.folder])
        cert, key = (self.folder / name for name in ("dev-cert.pem", "dev-key.pem"))
        both = self.folder / "both.pem"
        both.touch(mode=0o600)
        both.write_text(cert.read_text() + key.read_text())
        (self.folder / "big").write_bytes(os.urandom(1 << 20))
        small = '{"id": 1, "name": "' + "x" * 478 + '"}'
        authority = self.folder / "dev-ca.pem"
        values = {"folder": self.folder, "small": small, "cert": cert, "key": key, "authority": authority, **self.settings}
        values |= {name.replace("-", "_") + "_port": self.ports[name] for name in [*UPSTREAMS, *OTHERS]}
        for template in CONF.iterdir():
            if template.name != "gateway.toml":
                fill(template, self.folder / template.name, values)
        for name in self.builds:
            (self.folder / name).mkdir()
            ports = {"port": self.ports[name], "health_port": self.ports[f"{name} health"]}
            fill(CONF / "gateway.toml", self.folder / name / "gateway.toml", values | ports)

        # Only this user has a password: hashing one takes its time.
        self.tokengate("user", "create", USER, "--password-stdin", given=PASSWORD + "\n")
        for number in range(1, users):
            self.tokengate("user", "create", f"user{number}", "--no-password")
        self.token = self.tokengate("token", "create", USER).split()[2]
        others = [f"{secrets.token_hex(20)} user{number}\n" for number in range(1, users)]
        (self.folder / "tokens.map").write_text("".join([f"{self.token} {USER}\n", *others]))
        # The other builds have the same users and tokens, each in a store of its own.
        for name in self.builds:
            if name != TOKENGATE:
                for file in (self.folder / TOKENGATE).glob("tokengate.*"):
                    shutil.copy(file, self.folder / name)

        self.spawn("upstream", PROXY_CPU, ["nginx", "-c", self.folder / "upstream.conf"])
        self.await_port("upstream", "upstream")
        echo = Path(__file__).resolve().parent / "sockets.py"
        self.spawn("upstream-ws", PROXY_CPU, [sys.executable, "-B", echo, "echo", str(self.ports["upstream-ws"])])
        self.await_port("upstream-ws", "upstream-ws")
        return self.token

    def start(self, target, environment=None):
        """Starts the program of a target, unless it runs already."""
        program = OTHERS.get(target, target)
        if program not in self.processes:
            self.spawn(program, self.cpus, self.command(program), environment)
        self.await_port(program, target)
        return Proxy(self.processes[program].pid, self.ports[target])

    def command(self, program):
        match program:
            case "nginx":
                return ["nginx", "-c", self.folder / "nginx.conf"]
            case "haproxy":
                return ["haproxy", "-db", "-f", self.folder / "haproxy.cfg"]
            case "floor":
                cert, key = (self.folder / name for name in ("dev-cert.pem", "dev-key.pem"))
                return [self.floor, str(self.ports[FLOOR]), str(self.ports["upstream"]), cert, key, self.token, USER]
            case build:
                return [self.builds[build], "--config", self.folder / build / "gateway.toml", "serve"]

    def stop(self, target):
        """Ends the program of a target, and waits until it has ended."""
        process = self.processes.pop(OTHERS.get(target, target))
        signal_group(process, signal.SIGTERM)
        end(process, 60)

    def probe(self, target, proxy):
        """Makes sure that what is measured is what is claimed."""
        checks = target == "haproxy-map" or target not in OTHERS
        status, seen = get(proxy.port, "/whoami", self.token)
        expected = USER if checks else "nobody"
        if (status, seen) != (200, expected):
            raise tools.Trouble(f"{target} answers {status} {seen!r} where 200 {expected!r} is right")
        status, _ = get(proxy.port, "/small", None)
        if checks and status != 401:
            raise tools.Trouble(f"{target} answers {status} to a request without a token")

    def spawn(self, name, cpus, command, environment=None):
        """Starts a process of its own group on some CPUs; what it prints goes to a file, access log included."""
        with open(self.folder / f"{name}.out", "wb") as out, open(self.folder / f"{name}.err", "wb") as err:
            self.processes[name] = subprocess.Popen(
                ["taskset", "-c", cpus, *command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                env={**os.environ, **(environment or {})},
            )

    def await_port(self, name, port):
        process, deadline = self.processes[name], time.monotonic() + 10
        while process.poll() is None and time.monotonic() < deadline:
            try:
                return socket.create_connection(("127.0.0.1", self.ports[port]), 1).close()
            except OSError:
                time.sleep(0.02)
        raise tools.Trouble(f"{name} does not start:\n{(self.folder / f'{name}.err').read_text()}")

    def tokengate(self, *command, given=None):
        """Runs one command of tokengate on its store. Returns what it printed."""
        return run([self.builds[TOKENGATE], "--config", self.folder / TOKENGATE / "gateway.toml", *command], given)


def run(command, given=None):
    done = subprocess.run(command, input=given, capture_output=True, text=True)
    if done.returncode:
        raise tools.Trouble(f"`{' '.join(map(str, command))}` failed:\n{done.stderr}")
    return done.stdout


def fill(template, place, values):
    place.write_text(string.Template(template.read_text()).substitute(values))


def free_ports(count):
    """Ports of the loopback interface that nobody uses. All are held until the last one is known."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def get(port, path, token):
    """Status and body of one answer. The certificate is not what is probed."""
    return ask(port, "GET", path, {"Authorization": f"Token {token}"} if token else {})


def ask(port, method, path, headers, body=None):
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=ssl._create_unverified_context())
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    body = answer.read().decode(errors="replace")
    connection.close()
    return answer.status, body


def end(process, seconds):
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        pass
    # The group may outlive its leader.
    signal_group(process, signal.SIGKILL)
    process.wait()


def signal_group(process, number):
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        pass
