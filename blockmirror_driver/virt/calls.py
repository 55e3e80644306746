# Copyright the Blockmirror contributors
#
# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.
"""A bounded pool for calls that may never return.

libvirt has no timeout per call: a call on a domain whose destination hangs blocks as long
as that does. Each call runs in a daemon thread; after the caller's timeout it is left
there, counted in :attr:`CallPool.hanging`, and does not hold up the interpreter's exit. A
thread whose call has returned takes the next one, and ends when there is none for a while.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from blockmirror_driver import exception
from blockmirror_driver.model import Seconds

_T = TypeVar('_T')

#: Each takes one of libvirtd's workers (``max_workers``, 20) while it hangs.
DEFAULT_SIZE = 4
#: Of these no more than two may wait for one domain, so that the others stay reachable.
PER_KEY = 2
#: Seconds that a thread without a call stays.
IDLE = Seconds(10.0)


@dataclass(frozen=True, slots=True)
class HangingCall:
    """A call that has outlived its timeout; ``since`` is of ``time.monotonic()``."""

    name: str
    since: Seconds


@dataclass(eq=False, slots=True)
class _Call(Generic[_T]):
    name: str
    key: str | None
    function: Callable[[], _T]
    since: Seconds
    overdue: bool = False
    #: One item: the value, or what was raised.
    outcome: queue.SimpleQueue[tuple[_T | None, BaseException | None]] = field(
        default_factory=queue.SimpleQueue
    )


class _Worker:
    """A daemon thread for one call after another."""

    def __init__(self, work: Callable[[_Worker, _Call[Any]], None]) -> None:
        #: Calls that it is to run.
        self.inbox: queue.SimpleQueue[_Call[Any]] = queue.SimpleQueue()
        self._work = work

    def start(self, may_end: Callable[[_Worker], bool]) -> None:
        """Begin; ``may_end`` is asked when there was no call for :data:`IDLE` seconds."""
        threading.Thread(target=self._run, args=(may_end,), daemon=True).start()

    def _run(self, may_end: Callable[[_Worker], bool]) -> None:
        me = threading.current_thread()
        while True:
            try:
                call = self.inbox.get(timeout=IDLE)
            except queue.Empty:
                if may_end(self):
                    return
                continue
            me.name = f'blockmirror-{call.name}'
            self._work(self, call)
            del call  # what it holds need not stay as long as this waits


class CallPool:
    """Runs at most ``size`` calls at a time, each in a daemon thread that has no other.

    Nothing is queued behind a call that hangs: while every place is taken by one of
    those, a new call fails at once. Behind calls that are merely under way it waits, as
    part of its own timeout. Any thread may use it.
    """

    def __init__(self, size: int = DEFAULT_SIZE, *, per_key: int = PER_KEY) -> None:
        self.size = size
        self._per_key = per_key
        self._changed = threading.Condition()
        self._calls: list[_Call[Any]] = []
        #: Threads without a call, the last that had one at the end.
        self._idle: list[_Worker] = []

    @property
    def hanging(self) -> tuple[HangingCall, ...]:
        """The calls that nobody waits for any more, oldest first."""
        with self._changed:
            return tuple(HangingCall(c.name, c.since) for c in self._calls if c.overdue)

    def call(
        self,
        name: str,
        function: Callable[..., _T],
        *args: object,
        timeout: Seconds,
        key: str | None = None,
        patience: Seconds | None = None,
    ) -> _T:
        """Return what ``function(*args)`` returns, or raise what it raises.

        :param name: of the libvirt call, for reports and messages.
        :param patience: seconds for a place to become free, before ``timeout`` begins; by
            default waiting is a part of ``timeout``.
        :param key: what the call may hang on, for example a domain's uuid.
        :raise HypervisorUnavailable: no place was free (nothing was called), or, with
            ``outcome_unknown``, the call did not return within ``timeout`` seconds. It
            then goes on in its thread, and its outcome is dropped.
        """
        deadline = time.monotonic() + (timeout if patience is None else patience)
        call = self._admit(name, key, lambda: function(*args), deadline)
        if patience is not None:
            deadline = call.since + timeout
        self._worker().inbox.put(call)
        try:
            value, error = call.outcome.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            return self._give_up(call, timeout)
        except BaseException:
            # ^C in the waiting thread: nobody will look at the outcome.
            self._abandon(call)
            raise
        return self._settle(value, error)

    def _admit(
        self, name: str, key: str | None, function: Callable[[], _T], deadline: float
    ) -> _Call[_T]:
        with self._changed:
            while self._is_full(key):
                self._refuse_behind_hanging(name, key)
                if not self._changed.wait(deadline - time.monotonic()):
                    raise exception.HypervisorUnavailable(
                        f'{name}: all {self.size} places for libvirt calls stayed taken'
                    )
            call = _Call(name, key, function, Seconds(time.monotonic()))
            self._calls.append(call)
            return call

    def _is_full(self, key: str | None) -> bool:
        same = sum(1 for c in self._calls if key is not None and c.key == key)
        return len(self._calls) >= self.size or same >= self._per_key

    def _refuse_behind_hanging(self, name: str, key: str | None) -> None:
        overdue = [c for c in self._calls if c.overdue]
        same = sum(1 for c in overdue if key is not None and c.key == key)
        if len(overdue) >= self.size or same >= self._per_key:
            names = ', '.join(c.name for c in overdue)
            raise exception.HypervisorUnavailable(
                f'{name}: not called, since {len(overdue)} libvirt calls hang: {names}',
                hint='the storage of a block job, or libvirtd itself, does not answer',
            )

    def _worker(self) -> _Worker:
        with self._changed:
            if self._idle:
                return self._idle.pop()
        worker = _Worker(self._work)
        worker.start(self._may_end)
        return worker

    def _may_end(self, worker: _Worker) -> bool:
        with self._changed:
            if worker not in self._idle:
                return False  # it has just got a call
            self._idle.remove(worker)
            return True

    def _work(self, worker: _Worker, call: _Call[Any]) -> None:
        value: Any = None
        error: BaseException | None = None
        try:
            value = call.function()
        except BaseException as raised:  # noqa: BLE001 - handed to the caller's thread
            error = raised
        # The place is free before the caller goes on, so that its next call finds one.
        with self._changed:
            self._calls.remove(call)
            self._idle.append(worker)
            self._changed.notify_all()
        call.outcome.put((value, error))

    def _give_up(self, call: _Call[_T], timeout: Seconds) -> _T:
        if not self._abandon(call):
            # It returned in this very moment, and its outcome is on the queue or about to be.
            return self._settle(*call.outcome.get())
        raise exception.HypervisorUnavailable(
            f'{call.name}: libvirt did not answer within {timeout:g} s', outcome_unknown=True
        )

    def _abandon(self, call: _Call[Any]) -> bool:
        with self._changed:
            call.overdue = call in self._calls
            self._changed.notify_all()
            return call.overdue

    @staticmethod
    def _settle(value: _T | None, error: BaseException | None) -> _T:
        if error is not None:
            raise error
        return value  # type: ignore[return-value]


def beside(function: Callable[[], _T]) -> Future[_T]:
    """Run something in a daemon thread while the caller does something else.

    What it raises is raised by the future's ``result``. It has to end by itself.
    """
    future: Future[_T] = Future()

    def work() -> None:
        try:
            future.set_result(function())
        except BaseException as error:  # noqa: BLE001 - handed to whoever wants the result
            future.set_exception(error)

    threading.Thread(target=work, name='blockmirror-beside', daemon=True).start()
    return future
