"""Everything that a comparison runs on: files, an upstream, the proxies."""

import http.client
import os
import secrets
import signal
import socket
import ssl
import string
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

import tools

CONF = Path(__file__).resolve().parent / "conf"
PROXY_CPU, LOAD_CPU = "0", "1"
USER = "user0"

# Target: the program that serves it.
TARGETS = {"nginx": "nginx", "haproxy": "haproxy", "haproxy-map": "haproxy", "tokengate": "tokengate"}
# Those that refuse a request without a token, and tell the upstream whose token it was.
CHECKING = {"haproxy-map", "tokengate"}


class Proxy(NamedTuple):
    """A proxy that runs."""

    pid: int
    port: int


class Stage:
    """A folder with files and processes; leaving it ends the processes."""

    def __init__(self, folder, binary):
        self.folder, self.binary = folder, binary
        self.processes, self.token = {}, None
        self.ports = dict(zip(["upstream", "health", *TARGETS], free_ports(len(TARGETS) + 2)))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes.values():
            signal_group(process, signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                pass
            # The group may outlive its leader.
            signal_group(process, signal.SIGKILL)

    def furnish(self, users):
        """Makes all files and starts the upstream. Returns the token that is used."""
        os.chmod(self.folder, 0o755)  # nginx drops its rights
        self.tokengate("cert", "--dir", self.folder, config=False)
        cert, key = (self.folder / name for name in ("dev-cert.pem", "dev-key.pem"))
        both = self.folder / "both.pem"
        both.touch(mode=0o600)
        both.write_text(cert.read_text() + key.read_text())
        (self.folder / "big").write_bytes(os.urandom(1 << 20))
        small = '{"id": 1, "name": "' + "x" * 478 + '"}'
        values = {"folder": self.folder, "small": small, "cert": cert, "key": key}
        values |= {name.replace("-", "_") + "_port": port for name, port in self.ports.items()}
        for template in CONF.iterdir():
            text = string.Template(template.read_text()).substitute(values)
            (self.folder / template.name).write_text(text)

        for number in range(users):
            self.tokengate("user", "create", f"user{number}", "--no-password")
        self.token = self.tokengate("token", "create", USER).split()[2]
        others = [f"{secrets.token_hex(20)} user{number}\n" for number in range(1, users)]
        (self.folder / "tokens.map").write_text("".join([f"{self.token} {USER}\n", *others]))

        self.spawn("upstream", LOAD_CPU, ["nginx", "-c", self.folder / "upstream.conf"])
        self.await_port("upstream", "upstream")
        return self.token

    def start(self, target):
        """Starts the program of a target, unless it runs already."""
        program = TARGETS[target]
        commands = {
            "nginx": ["nginx", "-c", self.folder / "nginx.conf"],
            "haproxy": ["haproxy", "-db", "-f", self.folder / "haproxy.cfg"],
            "tokengate": [self.binary, "--config", self.folder / "gateway.toml", "serve"],
        }
        if program not in self.processes:
            self.spawn(program, PROXY_CPU, commands[program])
        self.await_port(program, target)
        return Proxy(self.processes[program].pid, self.ports[target])

    def probe(self, target, proxy):
        """Makes sure that what is measured is what is claimed."""
        status, seen = get(proxy.port, "/whoami", self.token)
        expected = USER if target in CHECKING else "nobody"
        if (status, seen) != (200, expected):
            raise tools.Trouble(f"{target} answers {status} {seen!r} where 200 {expected!r} is right")
        status, _ = get(proxy.port, "/small", None)
        if target in CHECKING and status != 401:
            raise tools.Trouble(f"{target} answers {status} to a request without a token")

    def spawn(self, name, cpu, command):
        """Starts a process of its own group on one CPU; what it prints goes to a file, access log included."""
        with open(self.folder / f"{name}.out", "wb") as out, open(self.folder / f"{name}.err", "wb") as err:
            self.processes[name] = subprocess.Popen(
                ["taskset", "-c", cpu, *command], stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
            )

    def await_port(self, name, port):
        process, deadline = self.processes[name], time.monotonic() + 10
        while process.poll() is None and time.monotonic() < deadline:
            try:
                return socket.create_connection(("127.0.0.1", self.ports[port]), 1).close()
            except OSError:
                time.sleep(0.02)
        raise tools.Trouble(f"{name} does not start:\n{(self.folder / f'{name}.err').read_text()}")

    def tokengate(self, *command, config=True):
        """Runs one command of tokengate. Returns what it printed."""
        config = ["--config", self.folder / "gateway.toml"] if config else []
        done = subprocess.run([self.binary, *config, *command], capture_output=True, text=True)
        if done.returncode:
            raise tools.Trouble(f"`tokengate {' '.join(map(str, command))}` failed:\n{done.stderr}")
        return done.stdout


def free_ports(count):
    """Ports of the loopback interface that nobody uses. All are held until the last one is known."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def get(port, path, token):
    """Status and body of one answer. The certificate is not what is probed."""
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=ssl._create_unverified_context())
    connection.request("GET", path, headers={"Authorization": f"Token {token}"} if token else {})
    answer = connection.getresponse()
    body = answer.read().decode(errors="replace")
    connection.close()
    return answer.status, body


def signal_group(process, number):
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        pass
