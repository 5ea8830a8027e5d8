"""The command line: results on stdout, progress and warnings on stderr."""

from __future__ import annotations

import asyncio
import re
import shlex
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from .cli_input import check_stdin, named, read
from .errors import ConfigError
from .signals import stop_on_signals

if TYPE_CHECKING:
    from .ensemble import Ensemble
    from .run import Run
    from .runner import Runner
    from .settings import Settings

INVALID, USAGE, WITH_ERRORS, FAILED, INTERRUPTED, TERMINATED = 1, 2, 3, 4, 130, 143
_CODES = {"completed": 0, "completed_with_errors": WITH_ERRORS, "failed": FAILED, "timed_out": FAILED}
_PLACED = re.compile(r".+?:\d+: ")
_EPILOG = (
    "Exit codes: 0 completed, 1 invalid or missing file, 2 usage, 3 completed with errors, 4 failed or timed out, "
    "130 interrupted, 143 terminated."
)


class _Commands(click.Group):
    """The commands, and what becomes of what they raise."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            ctx.exit(_fail(error))
        except KeyboardInterrupt:  # before or after a run; click alone would exit with 1
            ctx.exit(INTERRUPTED)


@click.group(cls=_Commands, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="stretto")
def main() -> None:
    """Run ensembles of LLM agents: phases in parallel, every call through one pipeline of middleware."""


def _fail(error: ConfigError) -> int:
    from .terminal import visible

    for one in error.errors or (error,):
        click.echo(visible(str(one)), err=True)
    return INVALID


def _warn(text: str) -> None:
    from .show import one_line

    click.echo(one_line(f"warning: {text}"), err=True)


def _write(text: str) -> None:
    """Write a result to stdout: untouched when piped, with what could steer a terminal written out on one."""
    from .terminal import visible

    shown = visible(text) if sys.stdout.isatty() else text
    click.echo(shown.encode("utf-8", "backslashreplace"))  # of a text, click would take escape sequences out


def _origins(ctx: click.Context, option: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    from .address import check_base_url

    for value in values:
        try:
            check_base_url(value, agent=None)
        except ConfigError as error:
            raise click.BadParameter(error.message.replace("base_url", "it"), ctx, option) from None
    return values


_FILE = click.argument("file", metavar="FILE")
_INPUT = click.argument("input", metavar="[INPUT]", required=False)
_TRUST = click.option(
    "--trust",
    metavar="ORIGIN",
    multiple=True,
    callback=_origins,
    help="An address that keys of the environment may go to.",
)


@main.command()
@_FILE
@_INPUT
@click.option("--input", "inputs", metavar="NAME=TEXT", multiple=True, help="Input of one agent; NAME=@FILE reads it.")
@click.option(
    "--format", "form", type=click.Choice(["text", "json", "jsonl", "llm-orc"]), default="text", show_default=True
)
@click.option("--timeout", type=float, metavar="SECONDS", help="For the whole run.")
@click.option("--max-concurrent", type=int, metavar="N", help="Agents at work at once; 0: no limit.")
@click.option("--schedule", type=click.Choice(["phases", "ready"]), help="Instead of the file's.")
@_TRUST
@click.option("--allow-scripts", is_flag=True, help="Let agents start scripts, without asking.")
@click.option("--tolerate-errors", is_flag=True, help="Exit with 0 when some agents have no result.")
@click.option("-v", "--verbose", is_flag=True, help="Show texts as they come, and the trace as a tree.")
def run(
    file: str,
    input: str | None,
    inputs: tuple[str, ...],
    form: str,
    timeout: float | None,
    max_concurrent: int | None,
    schedule: Any,
    trust: tuple[str, ...],
    allow_scripts: bool,
    tolerate_errors: bool,
    verbose: bool,
) -> None:
    """Run the ensemble in FILE.

    INPUT is a text, @FILE, or - for stdin; without it the file's default_input is used.
    """
    from .loading import load
    from .runner import Runner

    settings = _settings(timeout, max_concurrent)
    warning = check_stdin(input, inputs)
    if warning is not None:
        _warn(warning)
    file = _found(file)
    ensemble = load(file)
    own = named(inputs, ensemble)
    text = None if input is None else read(input, "INPUT")
    if schedule is not None:
        ensemble = replace(ensemble, schedule=schedule)
    allowed: bool | Literal["known"] = allow_scripts or ("known" if _may_start(ensemble, file, trust) else False)
    runner = Runner(settings=settings, trusted_origins=trust, allow_scripts=allowed)

    def start() -> Run:
        return runner.start(ensemble, text, inputs=own, stream=verbose or form == "jsonl")

    code = asyncio.run(_run(runner, start, form, verbose))
    raise SystemExit(0 if tolerate_errors and code == WITH_ERRORS else code)


main.add_command(run, "invoke")  # llm-orc's word for it


def _may_start(ensemble: Ensemble, file: str, trust: tuple[str, ...]) -> bool:
    """Ask once, on a terminal, whether what an ensemble would start may be started."""
    from .runner import Runner
    from .show import one_line

    if not (sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    scripts = _scripts(Runner(trusted_origins=trust).describe(ensemble))
    if not scripts:
        return False
    for agent in scripts:
        told = f", with {', '.join(agent['env'])} of the environment" if agent["env"] else ""
        click.echo(one_line(f"  {agent['name']}: {shlex.join(agent['script'])}{told}"), err=True)
    return click.confirm(f"{file} starts what is listed above. Start it?", err=True)


def _scripts(described: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Give the agents with scripts; what a dispatch chooses is not known yet, so it may start none."""
    found: list[Mapping[str, Any]] = []
    left, seen = [described], set[int]()
    while left:
        one = left.pop()
        if id(one) not in seen:
            seen.add(id(one))
            found += [agent for agent in one["agents"] if agent["script"]]
            left += [agent["ensemble"] for agent in one["agents"] if agent["ensemble"] is not None]
    return found


def _settings(timeout: float | None, max_concurrent: int | None) -> Settings:
    from .settings import settings_from

    given: dict[str, Any] = {"tune_gc": True}
    for option, name, value in (
        ("--timeout", "run_timeout", timeout),
        ("--max-concurrent", "max_concurrent_agents", max_concurrent),
    ):
        if value is None:
            continue
        try:
            settings_from({name: value})
        except ConfigError as error:
            raise click.UsageError(error.message.replace(f"Settings.{name}", option)) from None
        given[name] = value
    return settings_from(given)


async def _run(runner: Runner, start: Callable[[], Run], form: str, verbose: bool) -> int:
    from .show import Progress, console, json_text, summary

    to, tree = console(stderr=True), None
    if verbose:
        from .span_tree import collect

        tree = collect()
    async with runner:
        live = start()
        stopped_by = stop_on_signals(live)
        progress = Progress(to, pieces=verbose)
        async for event in live.events():
            if form == "jsonl":
                _write(json_text(event.to_dict(), indent=None))
            else:
                progress.show(event)
        await live.wait()
    live.raise_for_crash()
    if form != "jsonl":
        summary(live, to)
        if tree is not None:
            to.print("\n".join(["", *tree.lines(), ""]))
    if form in ("json", "llm-orc"):
        _write(json_text(live.to_dict("stretto" if form == "json" else "llm-orc")))
    elif form == "text" and live.terminal is not None and live.terminal.text:
        _write(live.terminal.text)
    if stopped_by:
        return INTERRUPTED if stopped_by[0] == signal.SIGINT else TERMINATED
    return _CODES.get(live.status, FAILED)


@main.command()
@_FILE
@_INPUT
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@_TRUST
def plan(file: str, input: str | None, form: str, trust: tuple[str, ...]) -> None:
    """Show what a run of FILE would do: phases, models, which key goes to which host, the layers. No call is made."""
    from .key_shapes import clean
    from .loading import load
    from .runner import Runner
    from .show import console, json_text, show_plan

    if input is not None:
        read(input, "INPUT")
    file = _found(file)
    described = Runner(trusted_origins=trust).describe(load(file))
    if form == "json":
        _write(clean(json_text(described)))  # shell text of a file may hold a key
        return
    show_plan(described, console(stderr=False))
    for warning in described["warnings"]:
        _warn(warning)


def _found(file: str) -> str:
    """Give the path of a file, or of an ensemble that `list` shows under that name."""
    from .lookup import find_top

    return str(find_top(file))


@main.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("--strictness", type=click.Choice(["compat", "strict"]), help="Instead of what the file says.")
@_TRUST
def validate(files: tuple[str, ...], strictness: Any, trust: tuple[str, ...]) -> None:
    """Check FILEs; each error is file:line:column: message."""
    from .loading import load
    from .runner import Runner

    code = 0
    for name in files:
        file = name
        try:
            file = _found(name)
            described = Runner(trusted_origins=trust).describe(load(file, strictness=strictness))
        except ConfigError as error:
            code = _fail(error)
            continue
        for warning in described["warnings"]:
            _warn(warning if _PLACED.match(warning) else f"{file}: {warning}")  # it may be in a profile's file
        click.echo(f"{file}: ok")
    raise SystemExit(code)


@main.command("list")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def listed(form: str) -> None:
    """Show the ensembles, profiles and settings that are found from here: what stands where, and what shadows what."""
    from .listing import listing, show_listing
    from .show import console, json_text

    found = listing(Path())
    if form == "json":
        _write(json_text(found))
        return
    show_listing(found, console(stderr=False))
    for warning in found["warnings"]:
        _warn(warning)
