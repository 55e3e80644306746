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
"""Watches one block job: hears events, takes readings, carries out what the rules ask.

The rules are in :mod:`blockmirror_driver.mirror.machine`. The queue's ``get`` with a timeout
is the only wait. The world is looked at

* at once, when an event says that the job ended, after a reconnect, and after a refusal;
* every ``poll_interval`` seconds (every :data:`IMPATIENCE` while a start, a pivot or an
  abort is under way): the slow reading, which needs no event to have arrived;
* every :data:`IMPATIENCE` seconds while data is moved: the cursor alone, one cheap call,
  for the progress and for noticing a stall. Near the end a reading follows where the cursor
  does not prove that the copy is not ready yet, so that READY tells of an answer that is young.

Where a process watches many copies, those two come less often for a copy that moves and has a
while to go (:mod:`blockmirror_driver.mirror.turns`).
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from blockmirror_driver import exception
from blockmirror_driver.mirror import events as ev
from blockmirror_driver.mirror import machine
from blockmirror_driver.mirror.convergence import Convergence
from blockmirror_driver.mirror.machine import Action, MirrorModel
from blockmirror_driver.mirror.options import CopyOptions
from blockmirror_driver.mirror.progress import ProgressMeter
from blockmirror_driver.mirror.snapshot import MirrorSnapshot, snapshot
from blockmirror_driver.mirror.states import TERMINAL, JobState
from blockmirror_driver.mirror.tuning import DEFAULT_BUF_SIZE
from blockmirror_driver.mirror.turns import IMPATIENCE, TURNS
from blockmirror_driver.mirror.witness import Witness, is_unready
from blockmirror_driver.model import BytesPerSecond, Seconds
from blockmirror_driver.virt.domain import Domain
from blockmirror_driver.virt.events import HypervisorEvent

if TYPE_CHECKING:
    from blockmirror_driver.virt.connection import Hypervisor
    from blockmirror_driver.virt.subscriptions import Subscription

#: Seconds after which a reading that was asked for "shortly" is taken.
SOON = 0.5
#: The least time (seconds) between two reports of mere progress.
REPORT_INTERVAL = 0.5
#: What our requests are called in the list of hanging calls.
_REQUESTS = frozenset({'blockCopy', 'blockRebase', 'blockJobAbort'})
#: ``VIR_ERR_OPERATION_INVALID``: the answer to a second abort; ``VIR_ERR_INVALID_ARG``:
#: there is no job. A reading decides what that means.
_ABORT_ARRIVED = frozenset({55, 8})

NEVER = float('inf')


@dataclass(frozen=True, slots=True)
class _Wake:
    """Put on the queue so that a waiting thread looks up."""


class Watch:
    """What :class:`~blockmirror_driver.mirror.engine.Mirror` is made of; one thread.

    Only :meth:`wake` and :meth:`snapshot` are for any thread.
    """

    def __init__(
        self,
        hypervisor: Hypervisor,
        domain: Domain,
        dev: str,
        *,
        witness: Witness,
        options: CopyOptions,
        on_change: Callable[[MirrorSnapshot], None] | None,
        clock: Callable[[], float],
    ) -> None:
        self._hypervisor = hypervisor
        self._domain = domain
        self._dev = dev
        self._witness = witness
        self._options = options
        self._on_change = on_change
        self._clock = clock
        self._bandwidth: int = options.bandwidth
        self._subscription: Subscription | None = None
        self._offline = False
        self._next_reading = NEVER
        self._next_cursor = NEVER
        self._near_end = False
        self._reported_at = -NEVER
        self._stalled_since = NEVER
        #: The last look at the cursor: when it was asked for (seconds), and where it was.
        self.last_look: tuple[float, int] | None = None
        self._not_ready_at = -NEVER
        #: The destination is known to have answered at this moment (seconds) or later.
        self.answered_since = -NEVER
        self.model = MirrorModel()
        self.meter = ProgressMeter()
        self.convergence = Convergence(options.convergence_window)

    # Listening

    def listen(self) -> None:
        """Subscribe to the domain's events, and forget those of an earlier job."""
        if self._subscription is None:
            self._subscription = self._hypervisor.subscribe(self._domain.uuid)
            TURNS.enter(self)
        while self._next_item(0.0) is not None:
            pass

    def close(self) -> None:
        """Stop listening; a second call does nothing."""
        if self._subscription is not None:
            self._subscription.close()
            TURNS.leave(self)

    def wake(self) -> None:
        """Make :meth:`run` look at its conditions at once. Any thread may call."""
        subscription = self._subscription
        if subscription is not None:
            cast('queue.SimpleQueue[object]', subscription.queue).put(_Wake())

    def run(
        self,
        done: Callable[[], bool],
        timeout: float | None,
        look_every: Seconds | None = IMPATIENCE,
    ) -> None:
        """Turn until ``done()``, a final state or the timeout (seconds).

        :param look_every: seconds between two looks at ``done()``; None: no other looks than
            after all that happens.
        """
        deadline = NEVER if timeout is None else self._clock() + timeout
        while True:
            self.drain()
            self._look_if_due()
            if self.model.state in TERMINAL or done():
                return
            now = self._clock()
            if now >= deadline:
                return
            look = NEVER if look_every is None else now + look_every
            due = min(self._next_reading, self._next_cursor, deadline, look)
            self._take(self._next_item(max(0.0, due - now)))

    def drain(self) -> None:
        """Take all events that wait."""
        while (item := self._next_item(0.0)) is not None:
            self._take(item)

    def _next_item(self, timeout: float) -> HypervisorEvent | _Wake | None:
        if self._subscription is None:
            return None
        try:
            return self._subscription.queue.get(timeout=timeout)
        except queue.Empty:
            return None

    def _take(self, item: HypervisorEvent | _Wake | None) -> None:
        if item is None or isinstance(item, _Wake):
            return
        event = ev.translate(item, self._domain.uuid, self._dev)
        if isinstance(event, ev.ConnectionLost | ev.Reconnected):
            # In between every call would wait for the new connection, and we with it.
            self._offline = isinstance(event, ev.ConnectionLost)
        if event is not None:
            self.feed(event)

    # Rules and actions

    def feed(self, event: ev.MirrorEvent) -> None:
        """Apply one event, and carry out what follows.

        :raise WrongState: the request does not fit the state.
        """
        before = self.model.state
        if isinstance(event, ev.Accepted):
            self._not_ready_at = self._clock()
        elif isinstance(event, ev.Reading) and event.evidence is ev.Evidence.COPYING:
            self._not_ready_at = event.at
        self.model, actions = machine.step(self.model, event)
        try:
            if self.model.state is not before:
                self._entered(self.model.state)
        finally:
            # Even if a callback failed: the model says that these were asked for.
            for action in actions:
                self._act(action)

    def _entered(self, state: JobState) -> None:
        now = self._clock()
        if state is JobState.STALLED:
            self._stalled_since = now
        elif state is JobState.READY:
            # QEMU says so after a flush of the destination (mirror_flush, block/mirror.c),
            # which it made after the last evidence that the job was not ready yet.
            self.answered_since = max(self.answered_since, self._not_ready_at)
        moving = state in (JobState.COPYING, JobState.STALLED)
        self._next_cursor = now + IMPATIENCE if moving else NEVER
        self._next_reading = min(self._next_reading, now + self._patience())
        self._publish()

    def _act(self, action: Action) -> None:
        if action is Action.READ:
            self.read()
        elif action is Action.READ_SOON:
            self._next_reading = min(self._next_reading, self._clock() + SOON)
        elif action is Action.PIVOT:
            self._ask_pivot()
        else:
            self._ask_abort()

    def _ask_pivot(self) -> None:
        try:
            self._domain.pivot(self._dev)
        except exception.HypervisorUnavailable as error:
            if not error.outcome_unknown:
                self.feed(ev.PivotRefused(str(error)))
        except exception.Refused as error:
            self.feed(ev.PivotRefused(str(error)))
        else:
            self.feed(ev.Answered())

    def _ask_abort(self) -> None:
        try:
            self._domain.abort(self._dev)
        except exception.HypervisorUnavailable as error:
            if not error.outcome_unknown and error.code not in _ABORT_ARRIVED:
                self.feed(ev.AbortRefused())
        except exception.Refused:
            pass  # being ended already, or the guest is gone: a reading tells
        self._act(Action.READ_SOON)

    # Looking

    def read(self) -> None:
        """Take a reading now, unless libvirt is away or does not answer."""
        self._next_reading = self._clock() + IMPATIENCE
        if self._offline:
            return
        self._notice_a_late_answer()
        try:
            reading = self._witness.read(
                Seconds(self._clock()), with_job=not self._call_may_hang()
            )
        except exception.BlockmirrorError:
            return  # the deadlines of whoever waits decide
        self._next_reading = self._clock() + self._patience()
        self.feed(reading)
        if reading.job is not None and not reading.foreign:
            self._measure(reading)

    def _call_may_hang(self) -> bool:
        asking = self.model.state is JobState.PIVOTING or self.model.asked
        return asking and not self.model.answered and self.model.state is not JobState.READY

    def _notice_a_late_answer(self) -> None:
        if not self._call_may_hang():
            return
        if not any(call.name in _REQUESTS for call in self._hypervisor.hanging):
            self.feed(ev.Answered())

    def _patience(self) -> float:
        hurry = self.model.state in (JobState.NONE, JobState.PIVOTING, JobState.ABORTING)
        interval = float(self._options.poll_interval)
        if hurry or interval <= IMPATIENCE:
            return min(IMPATIENCE, interval)
        return TURNS.between_readings(self._options.poll_interval)

    def _plan_look(self) -> None:
        look = TURNS.next_look(
            self.meter.progress,
            bandwidth=self._bandwidth,
            poll_interval=self._options.poll_interval,
        )
        stands = self.model.state is JobState.STALLED
        self._next_cursor = self._clock() + (IMPATIENCE if stands else look.after)
        self._near_end = look.near_end

    def _look_if_due(self) -> None:
        now = self._clock()
        if now >= self._next_reading:
            self.read()
        elif now >= self._next_cursor:
            self._look_at_cursor()

    def _look_at_cursor(self) -> None:
        asked = self._clock()
        self._next_cursor = asked + IMPATIENCE
        if self._offline:
            return
        try:
            job = self._witness.cursor()
        except exception.Refused:
            job = None
        if job is None or job.type != ev.JOB_TYPE_COPY:
            self.read()
            return
        unready = is_unready(job)
        if unready:
            self._not_ready_at = asked
        self._measure(ev.Reading(at=Seconds(asked), guest='running', job=job))
        # Also when the end is known to be near just now: it may come before the next look.
        if self._near_end and not unready:
            self.read()

    def _measure(self, reading: ev.Reading) -> None:
        assert reading.job is not None
        if self.model.state in TERMINAL:
            return
        if reading.job.bandwidth != self._bandwidth:
            self.speed_changed(reading.job.bandwidth)  # by another tool
        self._saw_cursor(reading.at, reading.job.cur)
        before = self.meter.progress
        progress = self.meter.feed(reading.at, reading.job)
        if self._next_cursor is not NEVER:
            self._plan_look()
        self.convergence.feed(reading.at, progress.cur, progress.left)
        self.feed(ev.Tick(stalled=progress.stalled_for >= self._stall_after()))
        if progress != before and self._clock() - self._reported_at >= REPORT_INTERVAL:
            self._publish()

    def _saw_cursor(self, asked: float, cur: int) -> None:
        """Take note of a cursor: one that went on since the last look tells of an answer.

        :param asked: when it was asked for (seconds), which is before it was read.
        """
        last = self.last_look
        if last is not None and cur > last[1]:
            self.answered_since = max(self.answered_since, last[0])
        self.last_look = (asked, cur)

    # Stalls and speed

    def speed_changed(self, bandwidth: BytesPerSecond) -> None:
        """Take note that the job may move ``bandwidth`` from now on; 0 is unlimited."""
        self._bandwidth = bandwidth
        self.meter.restart()
        self.convergence.restart()

    def throttled(self, bandwidth: BytesPerSecond) -> None:
        """Take note of a limit that is ours and follows the guest: the measurement goes on."""
        self._bandwidth = bandwidth

    def stalled_too_long(self) -> bool:
        """Tell whether the copy has been STALLED for ``stall_timeout`` seconds."""
        if self.model.state is not JobState.STALLED:
            return False
        return self._clock() - self._stalled_since >= self._options.stall_timeout

    @property
    def diverges(self) -> bool:
        """Whether the guest dirties the disk as fast as the copy moves it, for a while now."""
        return self.model.state is JobState.COPYING and self.convergence.diverges

    def _stall_after(self) -> float:
        """Return the seconds of stillness that are no longer normal.

        QEMU moves a whole buffer and then pauses for as long as the bandwidth wants.
        """
        allowed = float(self._options.stall_after)
        if self._bandwidth:
            allowed = max(allowed, 2 * self._buffer / self._bandwidth)
        return allowed

    @property
    def _buffer(self) -> int:
        """What QEMU moves at once, bytes."""
        return self._options.buf_size or DEFAULT_BUF_SIZE

    # Telling

    def snapshot(self) -> MirrorSnapshot:
        """Return what is known. Any thread may call."""
        return snapshot(self.model, self.meter.progress, diverges=self.diverges)

    def _publish(self) -> None:
        self._reported_at = self._clock()
        if self._on_change is not None:
            self._on_change(self.snapshot())
