"""`Play`: carries commands out in a world, checks it after each step, and brings it to rest in the end."""

from __future__ import annotations

from typing import Final

from simulation.checks import check_counts, check_probes, check_rest
from simulation.clients import Fate, ProcessKilled
from simulation.commands import (
    COMMIT_FATES,
    Command,
    Enqueue,
    Grace,
    Move,
    Revoke,
    Step,
    Trouble,
    Work,
    WorkAlone,
    Write,
)
from simulation.liveness import check_flowing, freeze, over, thaw
from simulation.processes import SimProcess
from simulation.virtual_time import CLOCK
from simulation.world import PARTITIONS, Shape, World
from stoker.consumers.progress.assignment import Assignment

INSTEAD_OF = ("rewind", "cut_tail", "leave_gap", "remove_complete")
"""Where offsets go back, they do so in place of these, or it would be too seldom."""
WAITS_S = (0.3, 1.1, 3.0, 11.0)
MOST_PROCESSES = 3
MOST_JOBS = 30
MOST_ROUNDS = 400
QUIET_ROUNDS = 3

KEYED: Final = 0
"""Of the world's keys: "a", on partition 0, whose jobs are those of the tenant "a"."""


class Play:
    """Processes of one group, at work on two partitions with their tiers. `steps` counts what was done."""

    def __init__(self, shape: Shape, chance: float = 0.0) -> None:
        self.world = World(shape)
        self.steps = 0
        self.turn(self.world.join(chance))

    @property
    def alive(self) -> list[SimProcess]:
        """The processes that live."""
        return [process for process in self.world.processes if process.is_alive]

    def carry_out(self, command: Command) -> None:
        """Do it, and look whether all is well."""
        match command:
            case Enqueue():
                self._enqueue(command)
            case Work(steps):
                for step in steps:
                    self._step(step)
            case WorkAlone(choice, moves):
                for at, move in enumerate(moves):
                    self._step((choice, move, choice + at))
            case Trouble():
                self._make_trouble(command)
            case Write(choice, fates, meanwhile):
                if self.alive:
                    self.world.settle(self._one(choice), fates, lambda: self._move_another(meanwhile))
            case Revoke():
                self._revoke(command)
        self.check()

    def check(self) -> None:
        """What must hold between any two steps."""
        self.steps += 1
        for process in self.alive:
            check_counts(process)
        check_probes(self.alive)

    def _one(self, choice: int) -> SimProcess:
        return self.alive[choice % len(self.alive)]

    def _enqueue(self, command: Enqueue) -> None:
        choices = command.choices if len(self.world.account.jobs) < MOST_JOBS else []
        for choice in choices:
            self.world.enqueue(choice)
        match command.special if choices else "":
            case "later":
                self.world.enqueue(choices[0], due_in_s=3.0)
            case "never":
                self.world.enqueue(choices[0], due_in_s=40.0, expires_in_s=30.0)
            case "again":
                self.world.repeat(choices[0])

    # ---- work

    def turn(self, process: SimProcess) -> None:
        """The poll thread turns once, all answers at hand, and what nobody has is assigned to it."""
        for partition in range(PARTITIONS):
            self.world.assign(process, partition, in_parts=False)
        process.completion.note_settled()
        while process.unrestored:
            self.world.restore(process)
        process.begin_restored()
        process.commit()
        while process.unanswered:
            process.answer_commit("done")
        process.begin_restored()
        process.assignments.forget_old()
        self.world.learn(process)
        process.take_due()
        if not self._reread(process):
            return
        process.fetch_delayed(20)
        process.fetch(20)

    def _reread(self, process: SimProcess) -> bool:
        """Bring back what lanes want, and carry forward what is old; False where the process dies by that."""
        try:
            process.reread()
        except ProcessKilled:
            self.world.kill(process)
        return process.is_alive

    def _step(self, step: Step) -> None:
        self._move_another(step)
        self.check()

    def _move_another(self, step: Step) -> None:
        choice, move, picked = step
        if self.alive:
            self._move(self._one(choice), move, picked)

    def _move(self, process: SimProcess, move: Move, picked: int) -> None:
        world = self.world
        match move:
            case "turn":
                self.turn(process)
            case "assign":
                world.assign(process, picked % PARTITIONS, in_parts=picked % 3 > 0)
            case "start":
                world.start(process, picked)
            case "settle":
                world.settle(process, [], lambda: None)
            case "settle_done":
                world.settle_done(process)
            case "learn":
                world.learn(process)
            case "wait":
                CLOCK.advance(WAITS_S[picked % len(WAITS_S)])
            case "done" | "fail" | "permanent" | "discard" | "snooze" | "ask":
                world.end(process, picked, move, is_kept=picked % 4 > 0)
                if not process.is_alive and picked % 4:
                    self._restart(process)
            case _:
                self._turn_partly(process, move, picked)

    def _turn_partly(self, process: SimProcess, move: Move, picked: int) -> None:
        match move:
            case "restore":
                self.world.restore(process, lambda: self._meddle(process, picked))
            case "note_settled":
                process.completion.note_settled()
            case "fetch":
                process.fetch(1 + picked % 4)
            case "fetch_delayed":
                process.fetch_delayed(1 + picked % 4)
            case "take":
                if process.ready.records:
                    process.take(process.ready.records[picked % len(process.ready.records)])
            case "gate":
                process.change_gate(picked)
                process.turn_breakers(picked)
                self._order(process, picked)
            case "answer":
                if process.unanswered:
                    process.answer_commit(COMMIT_FATES[picked % len(COMMIT_FATES)])
            case _:
                self._do(process, move)

    def _order(self, process: SimProcess, picked: int) -> None:
        """An operator gives an order, or a process takes those that are there."""
        if picked % 2:
            self.world.order(picked)
        else:
            process.take_orders(picked)

    def _do(self, process: SimProcess, move: Move) -> None:
        if move == "reread":
            self._reread(process)
        else:
            getattr(process, move)()

    def _restart(self, process: SimProcess) -> None:
        """Another takes the place of one that has died; its session is over by then."""
        self.world.expire(process)
        self.turn(self.world.join(0.0))

    def _meddle(self, reading: SimProcess, picked: int) -> None:
        """While one restores, another may go on settling."""
        others = [process for process in self.alive if process is not reading]
        if others and picked % 2:
            self.world.settle(others[picked % len(others)], [], lambda: None)

    # ---- trouble

    def _make_trouble(self, trouble: Trouble) -> None:
        choice = trouble.choice
        process = self.world.processes[choice % len(self.world.processes)]
        match trouble.what:
            case "join":
                self._join(choice)
            case "kill":
                self.world.kill(process)
            case "kill_and_expire":
                self.world.kill(process)
                self.world.expire(process)
            case "expire":
                self.world.expire(process)
                if trouble.fate == "refused":
                    self._notice(process)
            case "notice":
                self._notice(process)
            case "spill":
                process.spill_fates.append(trouble.fate)
            case "carry":
                process.carry_fates.append("killed" if choice % 3 == 0 else trouble.fate)
            case "answer_commit":
                self._answer_commit(process, trouble.fate)
            case what:
                is_instead = self.world.shape.goes_back and what in INSTEAD_OF
                getattr(self.world, "go_back" if is_instead else what)(choice)

    def _join(self, choice: int) -> None:
        if len(self.alive) < MOST_PROCESSES:
            self.turn(self.world.join(choice % 2))

    def _answer_commit(self, process: SimProcess, fate: Fate) -> None:
        if process.unanswered:
            process.answer_commit(fate)

    def _notice(self, process: SimProcess) -> None:
        if process.is_alive and process.is_fenced:
            process.lose()

    def _revoke(self, command: Revoke) -> None:
        partition = command.partition % PARTITIONS
        process = self.world.owners.get(partition)
        if process is not None:
            process.commit_fates.append(command.fate)
            self.world.revoke(partition, lambda leaving: self._use_grace(process, leaving, command.grace))
            process.commit_fates.clear()

    def _use_grace(self, process: SimProcess, leaving: list[Assignment], grace: list[Grace]) -> None:
        process.completion.note_settled()
        for what in grace:
            if process.is_alive and any(assignment.unsettled for assignment in leaving):
                self._spend_grace(process, what)
                process.completion.note_settled()

    def _spend_grace(self, process: SimProcess, what: Grace) -> None:
        match what:
            case "end":
                self.world.end(process, 0, "done")
            case "settle":
                while process.startable:
                    self.world.start(process, 0)
                self.world.settle(process, [], lambda: None)
            case "refuse":
                self.world.settle(process, ["refused"], lambda: None)

    # ---- the end

    def finish(self) -> None:
        """All faults end, and everything comes to rest."""
        self.world.is_ending = True
        self.world.set_registry(is_away=False, has_newer=True)
        self.world.end_transactions()
        for process in self.world.processes:
            self._notice(process)
            process.open_gate()
        self._lift_orders()
        self._close_breakers()
        self._stand_still()
        self._drain()
        check_rest(self.world)

    def _lift_orders(self) -> None:
        """Nothing is held back any more, and all have answered that."""
        if self.world.control is not None:
            self.world.control.lift_all()
        for process in self.alive:
            if process.orders is not None:
                process.orders.take_all()

    def _close_breakers(self) -> None:
        """What the processes know by now stands in the log, and then an operator closes the breaker."""
        for process in self.alive:
            process.turn_breakers(3)
        if self.world.breaker_log is not None:
            self.world.breaker_log.close(b"open/type/work")
        for process in self.alive:
            process.turn_breakers(3)

    def _stand_still(self) -> None:
        """What runs goes on for good; whatever may run beside it, runs."""
        freeze(self.alive)
        quiet = 0
        for _ in range(MOST_ROUNDS):
            before = over(self.world)
            self._add_dead()
            has_due = [self._go_on(process) is not None for process in self.alive]
            is_busy = any(has_due) or any(process.startable for process in self.alive)
            quiet = 0 if is_busy or over(self.world) > before else quiet + 1
            if quiet == QUIET_ROUNDS:
                break
        check_flowing(self.world)
        thaw(self.alive)

    def _add_dead(self) -> None:
        for process in self.world.processes:
            if not process.is_alive:
                self.world.expire(process)
        if not self.alive:
            self.world.join(0.0)

    def _drain(self) -> None:
        for _ in range(MOST_ROUNDS):
            self._add_dead()
            more = [self._drain_one(process) for process in self.alive]
            if not any(more):
                return
        raise AssertionError("it does not come to rest")

    def _drain_one(self, process: SimProcess) -> bool:
        """Let one process go on; whether there may be more to do."""
        has_more = bool(process.startable or process.running or process.unsettled or process.failed)
        has_more = has_more or process.is_carrying or bool(process.parts.lanes.waiting or process.restored)
        due_s = self._go_on(process)
        return has_more or not process.is_alive or due_s is not None or bool(process.memory_bounds.in_flight)

    def _go_on(self, process: SimProcess) -> float | None:
        """Let one process start, end and settle what it can, and wait for what is due next; when that is."""
        self.turn(process)
        process.turn_breakers(3)
        while process.startable or process.running or process.done:
            if process.startable or process.running:
                self.world.start(process, 0)
                self.world.end(process, 0, "done", is_kept=process.number % 2 == 1)
            else:
                self.world.settle_done(process)
            if not process.is_alive:
                return CLOCK.time()
        CLOCK.advance(1.0 if process.failed else 0.0)
        self.world.settle_all(process)
        self.turn(process)
        self.turn(process)
        self.check()
        due_s = min(
            filter(None, [process.calendar.next_due_at_s, process.gates.next_at_s, process.retakes_at_s]),
            default=None,
        )
        if due_s is not None:
            CLOCK.advance(max(0.0, due_s - CLOCK.time()) + 0.01)
        return due_s


def begin(shape: Shape, jobs: int) -> tuple[Play, SimProcess]:
    """A play with a process that has got so many jobs of one key, and has begun none."""
    play = Play(shape)
    play.carry_out(Enqueue([KEYED] * jobs, ""))
    process = play.alive[0]
    play.turn(process)
    return play, process
