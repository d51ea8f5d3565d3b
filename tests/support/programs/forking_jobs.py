"""Runners whose jobs fork, in a program of their own; run by the tests of what becomes of the copies."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import threading
from collections import deque
from pathlib import Path
from typing import Any

from confluent_kafka import Message

from stoker.consumers.progress.assignment import Assignment
from stoker.consumers.records.record import Record
from stoker.consumers.runners.async_runners import AsyncRunners
from stoker.consumers.runners.async_slots import AsyncSlot
from stoker.consumers.runners.slots import Slot
from stoker.consumers.runners.thread_runners import ThreadRunners
from stoker.consumers.steps.run_step import run_async, run_sync
from support.programs.isolated_jobs import note
from support.scenes.deliveries import STEP_CONTEXT, declare
from support.waiting import wait_until

FORKING = 10
JOBS = 21


def fork(file: str) -> bool:
    """Fork, and say whether this is the copy."""
    pid = os.fork()
    if pid:
        Path(f"{file}.forked").write_text(json.dumps(pid))
        _, status = os.waitpid(pid, 0)
        Path(f"{file}.code").write_text(json.dumps(os.waitstatus_to_exitcode(status)))
    return not pid


def act(how: str, file: str) -> bool:
    """Fork in one of the ways that come back into a runner; whether this is the copy."""
    match how:
        case "multiprocessing":
            process = multiprocessing.get_context("fork").Process(target=os.getpid)
            process.start()
            Path(f"{file}.forked").write_text(json.dumps(process.pid))
            process.join()
            return False
        case "thread return":
            thread = threading.Thread(target=fork, args=(file,))
            thread.start()
            thread.join()
            return False
    is_copy = fork(file)
    if is_copy and how == "exit":
        raise SystemExit(3)
    if is_copy and how == "raise":
        raise ValueError
    return is_copy


async def act_async(how: str, file: str) -> bool:
    """The same on an event loop."""
    match how:
        case "async await":
            is_copy = fork(file)
            await asyncio.sleep(0.1)
            return is_copy
        case "async task":
            return await asyncio.create_task(_fork_in_task(file))
        case "async to_thread":
            return await asyncio.to_thread(fork, file)
        case "async callback":
            asyncio.get_running_loop().call_soon(fork, file)
            await asyncio.sleep(0.2)
            return False
        case _:
            return act(how.removeprefix("async "), file)


async def _fork_in_task(file: str) -> bool:
    is_copy = fork(file)
    await asyncio.sleep(0.1)
    return is_copy


def record(offset: int) -> Record:
    """A record with nothing but its offset."""
    message = Message(topic="t", partition=0, offset=offset, key=None, value=b"", headers=[], timestamp=(1, 0))
    return Record(message, Assignment(1, "t", 0))


def run(how: str, file: str) -> None:
    """Run ten jobs, one that forks, and ten more, and end."""
    ended: deque[int] = deque()

    def handler(number: int) -> None:
        if number == FORKING and act(how, file):
            return
        note(file, f"{_name(number)} {os.getpid()}")

    async def async_handler(number: int) -> None:
        if number == FORKING and await act_async(how, file):
            return
        note(file, f"{_name(number)} {os.getpid()}")

    def run_one(found: Record, slot: Slot) -> None:
        run_sync(_job(declare(handler), found.offset), slot, STEP_CONTEXT)
        ended.append(found.offset)

    async def run_one_async(found: Record, slot: AsyncSlot) -> None:
        await run_async(_job(declare(async_handler), found.offset), slot, STEP_CONTEXT)
        ended.append(found.offset)

    runners: Any = AsyncRunners(2, run_one_async, "q") if how.startswith("async") else ThreadRunners(2, run_one, "q")
    runners.start()
    for numbers in (range(FORKING), range(FORKING, FORKING + 1), range(FORKING + 1, JOBS)):
        done = len(ended) + len(numbers)
        runners.make_ready([record(number) for number in numbers])
        wait_until(lambda: len(ended) == done, 60, "the jobs' ends")  # noqa: B023  # called at once
    note(file, f"ended {os.getpid()}")


def _name(number: int) -> str:
    return "fork" if number == FORKING else str(number if number < FORKING else number - 1)


def _job(delivery: Any, number: int) -> Any:
    job = delivery.job()
    job.args = (number,)
    return job


def run_here() -> list[str]:
    """Run a job on runners that are made in this process."""
    ran: list[str] = []

    def handler(number: int) -> None:
        ran.append("ran")

    run_sync(declare(handler).job(), Slot(), STEP_CONTEXT)
    return ran
