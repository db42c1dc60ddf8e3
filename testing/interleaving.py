"""Threads that take turns as they are told: every storage call is a step, and between two steps anybody may go.

A schedule is a list of choices, so a story can be told again, in every order there is, and broken off anywhere.
"""

import threading


class Crash(BaseException):
    """The process is killed: nothing of ours may catch this."""


class _Over(BaseException):
    """The schedule is ended: whoever still waits for a turn goes home."""


class _Actor:
    def __init__(self, number, act):
        self.number, self.act = number, act
        self.turn = threading.Semaphore(0)
        self.mortal = self.crash = self.rests = self.over = self.ended = False
        self.failure = None


class Schedule:
    """Runs actors (functions without arguments, in threads) one step at a time.

    `choose` is given the options, (number of an actor, whether it is killed there), and gives one of them.
    `look` is called between any two steps: what a reader could see. `crashes`, `switches`: how often somebody is
    killed at most, and how often the turn is taken from one who could go on (None: ever so often). `patient`:
    who was killed comes again when all others have ended, as it is with a pause between deliveries.
    """

    def __init__(self, choose, look=lambda: None, *, crashes=0, switches=None, patient=False):
        self._choose, self._look = choose, look
        self._crashes = crashes
        self._switches = switches
        self._patient = patient
        self._actors = {}
        self._back = threading.Semaphore(0)

    def step(self, *, mortal=False):
        """What an actor does before each of its steps: wait for its turn, or be killed there if it is mortal."""
        actor = self._actors.get(threading.current_thread())
        if actor is None:
            return  # the reader, or somebody before the story begins
        actor.mortal = mortal
        self._back.release()
        assert actor.turn.acquire(timeout=30)
        if actor.over:
            raise _Over
        if actor.crash:
            actor.crash = False
            raise Crash

    def run(self, *acts):
        """Until all have ended. Raises what any of them failed with, or `look`."""
        actors = [_Actor(number, act) for number, act in enumerate(acts)]
        for actor in actors:
            thread = threading.Thread(target=self._live, args=(actor,), daemon=True)
            self._actors[thread] = actor
            thread.start()
            assert self._back.acquire(timeout=30)
        try:
            self._take_turns(actors)
        finally:
            for actor in actors:
                actor.over = True
                actor.turn.release()
            for thread in self._actors:
                thread.join(30)

    def _take_turns(self, actors):
        last = actors[0]
        while True:
            self._look()
            waiting = [actor for actor in actors if not actor.ended]
            if not waiting:
                return
            if not all(actor.rests for actor in waiting):
                waiting = [actor for actor in waiting if not actor.rests]
            if self._switches == 0 and last in waiting:
                waiting = [last]
            options = [(actor.number, False) for actor in sorted(waiting, key=lambda actor: actor is not last)]
            if self._crashes:
                options += [(actor.number, True) for actor in waiting if actor.mortal]
            number, crash = self._choose(options)
            actor = actors[number]
            if self._switches and actor is not last and not last.ended:
                self._switches -= 1
            self._crashes -= crash
            actor.crash, last = crash, actor
            actor.rests = crash and self._patient
            actor.turn.release()
            assert self._back.acquire(timeout=30)
            if actor.failure:
                raise actor.failure

    def _live(self, actor):
        try:
            self.step()
            actor.act()
        except _Over:
            pass
        except BaseException as failure:  # noqa: BLE001 - raised where the story is told
            actor.failure = failure
        finally:
            actor.ended = True
            self._back.release()


def in_every_order(tell):
    """Call `tell` with a `choose` again and again, until it has chosen in every way it can. Gives how often."""
    beginning, count = [], 0
    while True:
        chosen = []

        def choose(options, *, beginning=beginning, chosen=chosen):
            index = beginning[len(chosen)] if len(chosen) < len(beginning) else 0
            chosen.append((index, len(options)))
            return options[index]

        tell(choose)
        count += 1
        while chosen and chosen[-1][0] + 1 == chosen[-1][1]:
            chosen.pop()
        if not chosen:
            return count
        beginning = [index for index, _ in chosen[:-1]] + [chosen[-1][0] + 1]


class Stepwise:
    """A store whose every call on a name that begins in one of these ways is a step of a schedule's."""

    def __init__(self, store, *beginnings):
        self._store = store
        self._beginnings = beginnings
        self.schedule = None

    def stat(self, bucket, name, **how):
        return self._stepping("stat", bucket, name, **how)

    def changed(self, bucket, name, **how):
        return self._stepping("changed", bucket, name, **how)

    def read(self, bucket, name, **how):
        return self._stepping("read", bucket, name, **how)

    def write(self, bucket, name, data, **how):
        return self._stepping("write", bucket, name, data, **how)

    def _stepping(self, verb, bucket, name, *data, **how):
        if self.schedule and name.startswith(self._beginnings):
            self.schedule.step(mortal=True)
        return getattr(self._store, verb)(bucket, name, *data, **how)
