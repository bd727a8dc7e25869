"""The programs that the bench needs: found, installed, built."""

import os
import re
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / os.environ.get("CARGO_TARGET_DIR", "target")

# Program: Debian package.
PROGRAMS = {
    "nginx": "nginx-light",
    "haproxy": "haproxy",
    "wrk": "wrk",
    "h2load": "nghttp2-client",
    "taskset": "util-linux",
    "redis-server": "redis-server",
}


class Trouble(Exception):
    """Something that keeps the bench from running, with what to do about it."""


def install():
    """Installs what is missing, if this may be done; says what it does."""
    missing = {program: package for program, package in PROGRAMS.items() if not shutil.which(program)}
    if not missing:
        return
    packages = sorted(set(missing.values()))
    command = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Trouble(f"{', '.join(missing)} not found; install them first (Debian: {' '.join(command)})")
    print(f"bench: installing {' '.join(packages)}")
    quiet = {"stdout": subprocess.DEVNULL, "env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}}
    try:
        subprocess.run(["apt-get", "update"], check=True, **quiet)
        subprocess.run(command, check=True, **quiet)
    except subprocess.CalledProcessError as error:
        raise Trouble(f"`{' '.join(error.cmd)}` failed; install {' '.join(packages)} by hand") from error


def build():
    """The release build of this tree."""
    cargo("--release")
    return TARGET / "release" / "tokengate"


def build_floor():
    """The release build of the floor program, a package of its own."""
    cargo("--release", "--manifest-path", ROOT / "bench/floor/Cargo.toml", "--target-dir", TARGET / "floor")
    return TARGET / "floor" / "release" / "floor"


def cargo(*arguments):
    command = ["cargo", "build", "--locked", *map(str, arguments)]
    try:
        subprocess.run(command, cwd=ROOT, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Trouble(f"`{' '.join(command)}` failed; mend it, or name a program with --tokengate") from error


def versions(programs):
    """One short line for each program."""
    commands = {"nginx": "-v", "haproxy": "-v", "wrk": "-v", "h2load": "--version"}
    for name, program in [*((name, name) for name in commands), *programs.items()]:
        command = [program, commands.get(name, "--version")]
        answer = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        number = re.search(r"\d+\.\d+(\.\d+)?", answer.stdout)
        yield f"{name} {number[0] if number else '(version unknown)'}"
