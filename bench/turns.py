"""What the commands of this folder share: arguments, slices that take turns, the machine, and how a command ends."""

import argparse
import os
import platform
import signal
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import stage
import tools

REFERENCE = "nginx"


class Named(argparse.Action):
    """`NAME=PROGRAM` arguments, collected."""

    def __call__(self, parser, chosen, value, option=None):
        name, found, program = value.partition("=")
        if not found or not name.isidentifier() or name in (*stage.OTHERS, stage.FLOOR, stage.TOKENGATE):
            parser.error(f"{option} needs NAME=PROGRAM, such as `pgo=target/pgo/release/tokengate`")
        getattr(chosen, self.dest)[name] = Path(program).resolve()


def parser(text, rounds, seconds, targets):
    """The arguments that every command has, with its own defaults. `targets` are those that run by default."""
    made = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = ", ".join([*stage.OTHERS, stage.TOKENGATE, stage.FLOOR])
    made.add_argument("--targets", default=",".join(targets), help=f"of {known}, and the names of --also (%(default)s)")
    made.add_argument("--rounds", type=int, default=rounds, help="rounds (%(default)s)")
    if seconds:
        made.add_argument("--slice", type=int, default=seconds, help="seconds per slice (%(default)s)")
    made.add_argument("--users", type=int, default=1000, help="users in the store, each with a token (%(default)s)")
    made.add_argument("--tokengate", type=Path, help="the program; without it target/release/tokengate, built first")
    made.add_argument(
        "--also", action=Named, default={}, metavar="NAME=PROGRAM", help="another build of tokengate, as a target of its own"
    )
    return made


def parse(made):
    """The chosen arguments, checked. `builds` has all builds of tokengate."""
    chosen = made.parse_args()
    chosen.targets = [*chosen.targets.split(","), *chosen.also]
    for name in chosen.targets:
        if name not in (*stage.OTHERS, stage.TOKENGATE, stage.FLOOR, *chosen.also):
            made.error(f"there is no target `{name}`")
    chosen.targets = list(dict.fromkeys([REFERENCE, *chosen.targets]))
    if min(chosen.rounds, getattr(chosen, "slice", 1), chosen.users) < 1:
        made.error("--rounds, --slice and --users must be at least 1")
    if (os.cpu_count() or 1) < 2:
        sys.exit("two CPUs are needed: one for the proxies, one for load and upstream")
    tools.install()
    program = chosen.tokengate.resolve() if chosen.tokengate else tools.build()
    chosen.builds = {stage.TOKENGATE: program, **chosen.also}
    chosen.floor = tools.build_floor() if stage.FLOOR in chosen.targets else None
    return chosen


@contextmanager
def furnished(chosen, **more):
    """A stage with its files, an upstream that runs, and a token."""
    with tempfile.TemporaryDirectory(prefix="tokengate-bench-") as folder:
        with stage.Stage(Path(folder), chosen.builds, chosen.floor, **more) as built:
            built.furnish(chosen.users)
            yield built


def started(built, targets):
    """The proxies of all targets, each probed."""
    proxies = {name: built.start(name) for name in targets}
    for name, proxy in proxies.items():
        built.probe(name, proxy)
    return proxies


def take(label, targets, rounds, run):
    """Results of `run(target)` by target. Each round begins with another target."""
    results = {name: [] for name in targets}
    for number in range(rounds):
        turn = number % len(targets)
        for name in targets[turn:] + targets[:turn]:
            results[name].append(run(name))
            print(f"\r{label}: round {number + 1} of {rounds}, {name:12}", end="", file=sys.stderr, flush=True)
    print("\r" + " " * 60 + "\r", end="", file=sys.stderr)
    return results


def machine(chosen):
    """Says what is measured on what."""
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if "model name" in line), "unknown CPU")
    print(f"{os.cpu_count()} cores, {model}, Linux {platform.release()}")
    print(", ".join(tools.versions(chosen.builds)))
    seconds = f", slices of {chosen.slice} s" if "slice" in chosen else ""
    print(f"{chosen.rounds} rounds{seconds}, {chosen.users} tokens\n", flush=True)


def command(main):
    """Runs a command of this folder."""
    # So that `kill` ends the bench as Ctrl-C does: with everything that it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except tools.Trouble as trouble:
        sys.exit(f"bench: {trouble}")
