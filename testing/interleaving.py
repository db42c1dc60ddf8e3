"""A scheduler of threads that explores interleavings: a small, stateless model checker.

Every storage call is a step, and only one thread runs at a time, from one step to the next. A schedule is a list
of choices of the next thread, so a scenario can be replayed, explored in every order, and crashed at every step.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Any

STEP_TIMEOUT_S = 30

Option = tuple[int, bool]  # the number of an actor, and whether it crashes there
Choose = Callable[[Sequence[Option]], Option]


class Crash(BaseException):
    """The process is killed: no code under test may catch this."""


class _ScheduleEnded(BaseException):
    """Ends the threads that still wait for a step."""


class _Actor:
    def __init__(self, number: int, action: Callable[[], object]) -> None:
        self.number, self.action = number, action
        self.resume = threading.Semaphore(0)
        self.killable = self.crashes = self.waits_for_others = self.cancelled = self.ended = False
        self.failure: BaseException | None = None


class Schedule:
    """Runs actions in threads, one step at a time.

    Args:
        choose: picks one of the options for the next step.
        observe: called between any two steps: what a reader could see.
        max_crashes: how many crashes there may be.
        max_switches: how many times an actor that could go on may be preempted; None for no limit.
        restart_crashed_last: whether a crashed actor goes on only when all others have ended, as if there were a
            long pause before the redelivery.
    """

    def __init__(
        self,
        choose: Choose,
        observe: Callable[[], object] = lambda: None,
        *,
        max_crashes: int = 0,
        max_switches: int | None = None,
        restart_crashed_last: bool = False,
    ) -> None:
        self._choose, self._observe = choose, observe
        self._crashes_left = max_crashes
        self._switches_left = max_switches
        self._restart_crashed_last = restart_crashed_last
        self._actors: dict[threading.Thread, _Actor] = {}
        self._yielded = threading.Semaphore(0)

    def step(self, *, killable: bool = False) -> None:
        """Wait until this thread is chosen; raise Crash if it is chosen to crash here, which takes `killable`."""
        actor = self._actors.get(threading.current_thread())
        if actor is None:
            return  # the reader, or a call before the schedule begins
        actor.killable = killable
        self._yielded.release()
        assert actor.resume.acquire(timeout=STEP_TIMEOUT_S)
        if actor.cancelled:
            raise _ScheduleEnded
        if actor.crashes:
            actor.crashes = False
            raise Crash

    def run(self, *actions: Callable[[], object]) -> None:
        """Run the actions until all have ended; raise what one of them, or `observe`, raised."""
        actors = [_Actor(number, action) for number, action in enumerate(actions)]
        for actor in actors:
            thread = threading.Thread(target=self._run_actor, args=(actor,), daemon=True)
            self._actors[thread] = actor
            thread.start()
            assert self._yielded.acquire(timeout=STEP_TIMEOUT_S)
        try:
            self._run_steps(actors)
        finally:
            for actor in actors:
                actor.cancelled = True
                actor.resume.release()
            for thread in self._actors:
                thread.join(STEP_TIMEOUT_S)

    def _run_steps(self, actors: Sequence[_Actor]) -> None:
        last = actors[0]
        while True:
            self._observe()
            options = self._options(actors, last)
            if not options:
                return
            number, crashes = self._choose(options)
            actor = actors[number]
            if self._switches_left and actor is not last and not last.ended:
                self._switches_left -= 1
            self._crashes_left -= crashes
            actor.crashes, last = crashes, actor
            actor.waits_for_others = crashes and self._restart_crashed_last
            actor.resume.release()
            assert self._yielded.acquire(timeout=STEP_TIMEOUT_S)
            if actor.failure:
                raise actor.failure

    def _options(self, actors: Sequence[_Actor], last: _Actor) -> list[Option]:
        """Return the choices for the next step: first to go on with `last`."""
        ready = [actor for actor in actors if not actor.ended]
        if not all(actor.waits_for_others for actor in ready):
            ready = [actor for actor in ready if not actor.waits_for_others]
        if self._switches_left == 0 and last in ready:
            ready = [last]
        options = [(actor.number, False) for actor in sorted(ready, key=lambda actor: actor is not last)]
        if self._crashes_left:
            options += [(actor.number, True) for actor in ready if actor.killable]
        return options

    def _run_actor(self, actor: _Actor) -> None:
        try:
            self.step()
            actor.action()
        except _ScheduleEnded:
            pass
        except BaseException as failure:  # noqa: BLE001 - raised by `run`
            actor.failure = failure
        finally:
            actor.ended = True
            self._yielded.release()


def explore_schedules(scenario: Callable[[Choose], object]) -> int:
    """Run `scenario` with a new `choose` until all choices have been made; return how many runs there were.

    This is a depth-first search: each run repeats a prefix of the last one's choices and takes the next option at
    its end.
    """
    prefix: list[int] = []
    count = 0
    while True:
        chosen: list[tuple[int, int]] = []  # index of the option, how many options there were

        def choose(
            options: Sequence[Option],
            *,
            prefix: Sequence[int] = tuple(prefix),
            chosen: list[tuple[int, int]] = chosen,
        ) -> Option:
            index = prefix[len(chosen)] if len(chosen) < len(prefix) else 0
            chosen.append((index, len(options)))
            return options[index]

        scenario(choose)
        count += 1
        while chosen and chosen[-1][0] + 1 == chosen[-1][1]:
            chosen.pop()
        if not chosen:
            return count
        prefix = [index for index, _ in chosen[:-1]] + [chosen[-1][0] + 1]


class SteppedStore:
    """A store in which every call on a name with one of the prefixes is a step of a schedule."""

    def __init__(self, store: Any, *prefixes: str) -> None:
        self._store = store
        self._prefixes = prefixes
        self.schedule: Schedule | None = None

    def stat(self, bucket: str, name: str, **options: Any) -> Any:
        return self._call("stat", bucket, name, **options)

    def changed(self, bucket: str, name: str, **options: Any) -> Any:
        return self._call("changed", bucket, name, **options)

    def read(self, bucket: str, name: str, **options: Any) -> Any:
        return self._call("read", bucket, name, **options)

    def write(self, bucket: str, name: str, data: bytes, **options: Any) -> Any:
        return self._call("write", bucket, name, data, **options)

    def _call(self, verb: str, bucket: str, name: str, *data: bytes, **options: Any) -> Any:
        if self.schedule and name.startswith(self._prefixes):
            self.schedule.step(killable=True)
        return getattr(self._store, verb)(bucket, name, *data, **options)
