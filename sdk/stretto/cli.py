"""The command line: results on stdout, progress and warnings on stderr."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .errors import ConfigError

if TYPE_CHECKING:
    from .ensemble import Ensemble
    from .run import Run
    from .settings import Settings

INVALID, USAGE, WITH_ERRORS, FAILED, INTERRUPTED, TERMINATED = 1, 2, 3, 4, 130, 143
_CODES = {"completed": 0, "completed_with_errors": WITH_ERRORS, "failed": FAILED, "timed_out": FAILED}
_EPILOG = (
    "Exit codes: 0 completed, 1 invalid or missing file, 2 usage, 3 completed with errors, 4 failed or timed out, "
    "130 interrupted, 143 terminated."
)


@click.group(epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="stretto")
def main() -> None:
    """Run ensembles of LLM agents: phases in parallel, every call through one pipeline of middleware."""


def _input(value: str | None, what: str) -> str | None:
    """Read a text, @FILE, or - for stdin."""
    if value is None:
        return None
    if value == "-":
        return sys.stdin.read()
    if value.startswith("@"):
        try:
            return Path(value[1:]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise click.UsageError(f"{what}: cannot read {value[1:]}: {error}") from None
    if len(value) < 256 and "\n" not in value and Path(value).is_file():
        raise click.UsageError(
            f"{what} {value!r} is the name of a file: write '@{value}' for what the file holds, "
            f"or pipe the text itself: printf %s '{value}' | stretto run FILE -"
        )
    return value


def _inputs(values: tuple[str, ...]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not equals or not name:
            raise click.UsageError(f"--input must be NAME=TEXT or NAME=@FILE, got {value!r}")
        given[name] = _input(text, f"--input {name}")
    return given


def _fail(error: ConfigError) -> int:
    from .terminal import visible

    for one in error.errors or (error,):
        click.echo(visible(str(one)), err=True)
    return INVALID


def _warn_of_a_pipe(given: str | None) -> None:
    if given is not None:
        return
    try:
        piped = stat.S_ISFIFO(os.fstat(sys.stdin.fileno()).st_mode)
    except (OSError, ValueError, AttributeError):
        return
    if piped:
        click.echo("warning: stdin is a pipe and is not read: write - as INPUT to read it", err=True)


_FILE = click.argument("file", metavar="FILE")
_INPUT = click.argument("input", metavar="[INPUT]", required=False)


@main.command()
@_FILE
@_INPUT
@click.option("--input", "inputs", metavar="NAME=TEXT", multiple=True, help="Input of one agent; NAME=@FILE reads it.")
@click.option("--format", "form", type=click.Choice(["text", "json", "jsonl"]), default="text", show_default=True)
@click.option("--timeout", type=float, metavar="SECONDS", help="For the whole run.")
@click.option("--max-concurrent", type=int, metavar="N", help="Agents at work at once; 0: no limit.")
@click.option("--schedule", type=click.Choice(["phases", "ready"]), help="Instead of the file's.")
@click.option("--trust", metavar="ORIGIN", multiple=True, help="An address that keys of the environment may go to.")
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
    tolerate_errors: bool,
    verbose: bool,
) -> None:
    """Run the ensemble in FILE.

    INPUT is a text, @FILE, or - for stdin; without it the file's default_input is used.
    """
    from .loading import load

    _warn_of_a_pipe(input)
    text, named = _input(input, "INPUT"), _inputs(inputs)
    try:
        ensemble = load(file)
        if schedule is not None:
            ensemble = replace(ensemble, schedule=schedule)
        settings = _settings(timeout, max_concurrent)
        code = asyncio.run(_run(ensemble, text, named, form, settings, trust, verbose))
    except ConfigError as error:
        code = _fail(error)
    raise SystemExit(0 if tolerate_errors and code == WITH_ERRORS else code)


main.add_command(run, "invoke")  # llm-orc's word for it


def _settings(timeout: float | None, max_concurrent: int | None) -> Settings:
    from .settings import Settings, settings_from

    given: dict[str, Any] = {"tune_gc": True}
    if timeout is not None:
        given["run_timeout"] = timeout
    if max_concurrent is not None:
        given["max_concurrent_agents"] = max_concurrent
    try:
        return settings_from(given)
    except ConfigError as error:
        if error.key in ("run_timeout", "max_concurrent_agents"):
            raise click.UsageError(error.message) from None
        return Settings()


async def _run(
    ensemble: Ensemble,
    text: str | None,
    inputs: dict[str, Any],
    form: str,
    settings: Settings,
    trust: tuple[str, ...],
    verbose: bool,
) -> int:
    from .runner import Runner
    from .show import Progress, console, json_text, summary

    to = console()
    tree = None
    if verbose:
        from .span_tree import collect

        tree = collect()
    async with Runner(settings=settings, trusted_origins=trust) as runner:
        live = runner.start(ensemble, text, inputs=inputs, stream=verbose or form == "jsonl")
        stopped_by = _stop_on_signals(live)
        progress = Progress(to, pieces=verbose)
        async for event in live.events():
            if form == "jsonl":
                click.echo(json_text(event.to_dict(), indent=None))
            else:
                progress.show(event)
        await live.wait()
    if form == "json":
        click.echo(json_text(live.to_dict()))
    elif form == "text":
        summary(live, to)
        if tree is not None:
            to.print("\n".join(["", *tree.lines(), ""]), markup=False)
        _print_output(live)
    live.raise_for_crash()
    if stopped_by:
        return TERMINATED if stopped_by[0] == signal.SIGTERM else INTERRUPTED
    return _CODES.get(live.status, FAILED)


def _print_output(live: Run) -> None:
    from .terminal import visible

    outcome = live.terminal
    if outcome is None or not outcome.text:
        return
    click.echo(visible(outcome.text) if sys.stdout.isatty() else outcome.text)


def _stop_on_signals(live: Run) -> list[int]:
    """Let the first Ctrl-C or SIGTERM cancel the run, and the second kill."""
    received: list[int] = []
    loop = asyncio.get_running_loop()

    def stop(number: int) -> None:
        received.append(number)
        for one in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(one)
            signal.signal(one, signal.SIG_DFL)
        live.cancel()

    for one in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(one, stop, one)
    return received


@main.command()
@_FILE
@_INPUT
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--trust", metavar="ORIGIN", multiple=True, help="An address that keys of the environment may go to.")
def plan(file: str, input: str | None, form: str, trust: tuple[str, ...]) -> None:
    """Show what a run of FILE would do: phases, models, which key goes to which host, the layers. No call is made."""
    from .loading import load, located
    from .runner import Runner
    from .show import json_text

    _input(input, "INPUT")
    try:
        ensemble = load(file)
        try:
            described = Runner(trusted_origins=trust).describe(ensemble)
        except ConfigError as error:
            raise located(error, file) from None
    except ConfigError as error:
        raise SystemExit(_fail(error)) from None
    if form == "json":
        click.echo(json_text(described))
        return
    _print_plan(described)


def _print_plan(described: dict[str, Any]) -> None:
    from rich.console import Console

    from .show import phases_table
    from .terminal import visible

    plain = not sys.stdout.isatty() or "NO_COLOR" in os.environ
    to = Console(highlight=False, no_color=plain, width=120 if plain else None)
    to.print(visible(f"{described['ensemble']}: {len(described['phases'])} phases, {described['schedule']}"), markup=False)
    rows = [
        (
            str(agent["phase"]),
            agent["name"],
            agent["model"] or "function",
            ", ".join(agent["depends_on"]),
            agent["host"] or "",
            agent["key"] or "",
        )
        for agent in described["agents"]
    ]
    phases_table(rows, to)
    to.print(f"layers: {', '.join(described['middleware'])}", markup=False)
    given = ", ".join(f"{name} {value}" for name, value in described["settings"].items() if value is not None)
    to.print(f"settings: {given}", markup=False)
    for warning in described["warnings"]:
        click.echo(f"warning: {visible(warning)}", err=True)


@main.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("--strictness", type=click.Choice(["compat", "strict"]), help="Instead of what the file says.")
def validate(files: tuple[str, ...], strictness: Any) -> None:
    """Check FILEs; each error is file:line:column: message."""
    from .loading import load, located
    from .runner import Runner
    from .terminal import visible

    code = 0
    for file in files:
        try:
            ensemble = load(file, strictness=strictness)
            try:
                Runner().describe(ensemble)
            except ConfigError as error:
                raise located(error, file) from None
        except ConfigError as error:
            code = _fail(error)
        else:
            for warning in ensemble.warnings:
                click.echo(f"{file}: warning: {visible(warning)}", err=True)
            click.echo(f"{file}: ok")
    raise SystemExit(code)
