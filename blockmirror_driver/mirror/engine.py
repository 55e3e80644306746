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
"""One block job, driven: start it or take it up, wait, pivot, abort.

The rules are in :mod:`blockmirror_driver.mirror.machine`, the waiting and looking in
:mod:`blockmirror_driver.mirror.watch`; this is what the swap sees of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Self

from blockmirror_driver import exception
from blockmirror_driver.mirror import events as ev
from blockmirror_driver.mirror import methods
from blockmirror_driver.mirror.machine import MirrorModel
from blockmirror_driver.mirror.options import CopyOptions
from blockmirror_driver.mirror.snapshot import MirrorSnapshot
from blockmirror_driver.mirror.states import RUNNING, TERMINAL, Cause, JobState
from blockmirror_driver.mirror.tuning import tuned
from blockmirror_driver.mirror.turns import IMPATIENCE
from blockmirror_driver.mirror.watch import Watch
from blockmirror_driver.mirror.witness import Witness
from blockmirror_driver.model import BytesPerSecond, Disk, Seconds, Source
from blockmirror_driver.virt.domain import Domain

if TYPE_CHECKING:
    from blockmirror_driver.virt.connection import Hypervisor

__all__ = ('Mirror', 'MirrorSnapshot')


class Mirror:
    """One block job of one disk, from its start, or from where another process left it.

    One thread calls all methods but :meth:`wake`, :meth:`snapshot` and :attr:`state`,
    which any thread may call. Nothing happens between calls: events wait in the queue.
    An object serves one job; :meth:`close` it (or use it as a context manager).

    :param source: what the guest's disk is now.
    :param destination: where to copy; its secrets must exist already.
    :param on_change: called in the calling thread with each new state, and at most twice
        a second with new progress. What it raises reaches the caller of the method in
        progress; the job goes on.
    :param clock: monotonic seconds.
    """

    def __init__(
        self,
        hypervisor: Hypervisor,
        domain: Domain,
        dev: str,
        *,
        source: Source,
        destination: Disk,
        options: CopyOptions,
        on_change: Callable[[MirrorSnapshot], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        #: The guest.
        self.domain = domain
        self._dev = dev
        self._destination = destination
        self._given, self._options = options, tuned(options, source, destination.source)
        self._witness = Witness(domain, dev, source=source, destination=destination.source)
        self._watch = Watch(
            hypervisor,
            domain,
            dev,
            witness=self._witness,
            options=self._options,
            on_change=on_change,
            clock=clock,
        )
        self._clock = clock

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    # What any thread may call

    @property
    def state(self) -> JobState:
        """The state at the last evidence."""
        return self._watch.model.state

    def snapshot(self) -> MirrorSnapshot:
        """Return what is known. Any thread may call."""
        return self._watch.snapshot()

    @property
    def answered_since(self) -> Seconds:
        """The destination answered the running job at this moment of the clock, or later.

        A moving cursor tells of a write that the destination has acknowledged, and READY of
        a flush. Minus infinity while nothing tells.
        """
        return Seconds(self._watch.answered_since)

    @property
    def looked_at(self) -> Seconds:
        """When the progress was looked at last, by the clock; minus infinity: never."""
        look = self._watch.last_look
        return Seconds(float('-inf') if look is None else look[0])

    def wake(self) -> None:
        """Make a waiting thread look at its interrupt at once. Any thread may call."""
        self._watch.wake()

    # What the owner's thread calls

    def start(self) -> None:
        """Start the copy; returns when the hypervisor has accepted it.

        Returning says no more than that: a destination of another size, for example, fails
        some milliseconds later. When the answer is lost, what became of the call is
        read from the guest for at most ``abort_timeout`` seconds.

        :raise Refused: this way to copy can't do it; nothing was called.
        :raise DiskBusy: the disk has a job already.
        :raise DestinationUnusable: the hypervisor could not open it; no job was started.
        :raise HypervisorUnavailable: the call failed and no job was started; or, with
            ``outcome_unknown``, it hangs, and a job may still appear.
        :raise WrongState: it was called before.
        """
        if self.state is not JobState.NONE or self._watch.model.asked:
            raise exception.WrongState('a copy was started or asked for already')
        method = methods.choose(self._options.method)
        method.check(self.domain, self._dev, self._destination, self._given)
        self._watch.listen()
        try:
            method.start(self.domain, self._dev, self._destination, self._options)
        except exception.HypervisorUnavailable as error:
            if not error.outcome_unknown:
                raise
            self._find_out(error)
        else:
            self._watch.feed(ev.Accepted())

    def adopt(self, *, pivot_asked: bool = False) -> JobState:
        """Take up what another process left, by what a reading shows.

        With a job of its own already, this only looks again.

        :param pivot_asked: a pivot may have been asked for before; then a guest that is
            gone is LOST, not FAILED.
        :raise StateUnknown: the job on the disk is not ours, or the disk is neither the
            source nor the destination. Nothing is touched.
        :raise HypervisorUnavailable: nothing could be read.
        """
        if self.state is JobState.NONE:
            self._watch.listen()
            self._watch.model = MirrorModel(may_have_switched=pivot_asked)
        self._watch.drain()
        self._watch.feed(self._witness.read(Seconds(self._clock())))
        self._leave(JobState.NONE, self._options.abort_timeout)
        if self.state is JobState.NONE:
            raise exception.StateUnknown('the block job and the XML contradict each other')
        found = self.snapshot()
        if found.cause in (Cause.FOREIGN_JOB, Cause.SOURCE_CHANGED):
            raise exception.StateUnknown(f'{found.reason}; nothing was touched')
        return found.state

    def wait(
        self,
        until: Collection[JobState],
        *,
        timeout: Seconds | None = None,
        interrupt: Callable[[], bool] | None = None,
        look_every: Seconds | None = IMPATIENCE,
    ) -> JobState:
        """Return when the state is one of ``until`` or final, or ``interrupt()`` is true.

        ``interrupt`` is looked at after every event and :meth:`wake`, and at least as often as
        ``look_every`` says, calls that hang excepted. The job is not touched, whatever happens.

        :param timeout: seconds from now.
        :param look_every: seconds; None: whenever the job is looked at.
        :raise TimedOut: at the timeout.
        :raise NotConverging: at the timeout, when the guest dirties the disk at least as
            fast as the copy moves it; with ``convergence='abort'`` as soon as that is sure.
        :raise Stalled: STALLED for longer than ``stall_timeout`` seconds.
        """
        interrupted = interrupt or _never
        self._watch.run(
            lambda: self.state in until or interrupted() or self._gives_up(),
            timeout,
            look_every,
        )
        state = self.state
        if state in until or state in TERMINAL or interrupted():
            return state
        if self._watch.stalled_too_long():
            raise exception.Stalled(f'the copy stands still: {self.snapshot().reason}')
        if self._gives_up():
            progress = self.snapshot().progress
            raise exception.NotConverging(
                f'the guest writes {progress.dirty_rate} bytes/s, the copy moves {progress.rate}, '
                f'for {self._options.convergence_window:g} s at least'
            )
        raise self._timed_out(timeout or Seconds(0.0), until)

    def pivot(self) -> JobState:
        """Ask for the switch, and wait ``pivot_timeout`` seconds at most for evidence.

        Returns PIVOTED (the live XML names the destination); READY (the hypervisor refused,
        see the snapshot's reason, or the request never arrived); FAILED, LOST or ABORTED;
        ABORTING (another tool ends the job); or PIVOTING: nothing is known yet. Called again
        while PIVOTING it only waits on.

        :raise WrongState: the copy is not ready.
        """
        self._watch.drain()
        if self.state not in TERMINAL:
            self._watch.feed(ev.PivotRequested())
            self._leave(JobState.PIVOTING, self._options.pivot_timeout)
        return self.state

    def abort(self, *, interrupt: Callable[[], bool] | None = None) -> JobState:
        """Ask for the end of the job, and wait ``abort_timeout`` seconds for evidence.

        Returns ABORTED, FAILED or LOST; PIVOTED (another tool was faster); or ABORTING, when
        the destination holds the job. Called again it asks again and waits on. Of a copy
        that was READY, :attr:`MirrorSnapshot.end_confirmed` says whether the destination is
        a consistent copy. ``interrupt`` ends the waiting, as in :meth:`wait`.

        :raise WrongState: there is no job yet, or a pivot is under way.
        """
        self._watch.drain()
        self._watch.feed(ev.AbortRequested())
        self._watch.run(interrupt or _never, self._options.abort_timeout)
        return self.state

    def set_speed(self, bandwidth: BytesPerSecond) -> None:
        """Change the job's limit; 0 lifts it. It takes effect at once.

        :raise WrongState: there is no job that copies.
        :raise HypervisorUnavailable: it was not changed, or with ``outcome_unknown`` it may
            have been.
        """
        self._watch.drain()
        if self.state not in RUNNING:
            raise exception.WrongState(f'the copy is {self.state.value}')
        self.domain.set_speed(self._dev, bandwidth)
        self._watch.speed_changed(bandwidth)

    def throttle(self, bandwidth: BytesPerSecond) -> None:
        """As :meth:`set_speed`, for a limit that changes all the time."""
        self._watch.drain()
        if self.state in RUNNING:
            self.domain.set_speed(self._dev, bandwidth)
            self._watch.throttled(bandwidth)

    def close(self) -> None:
        """Stop listening. The job is left as it is. A second call does nothing."""
        self._watch.close()

    def _leave(self, state: JobState, timeout: Seconds) -> None:
        self._watch.run(lambda: self._watch.model.state is not state, timeout)

    def _find_out(self, error: exception.HypervisorUnavailable) -> None:
        """Read what became of a start that was not answered; return if it is a job."""
        self._watch.feed(ev.Asked())
        self._leave(JobState.NONE, self._options.abort_timeout)
        found = self.snapshot()
        if found.state is JobState.NONE:
            raise error
        if found.cause is Cause.FOREIGN_JOB:
            raise exception.DiskBusy('another block job holds the disk') from error
        if found.state is JobState.LOST and found.cause is Cause.VANISHED:
            raise exception.HypervisorUnavailable(
                f'the copy was not started: {error}', code=error.code
            ) from error

    def _gives_up(self) -> bool:
        diverges = self._options.convergence == 'abort' and self._watch.diverges
        return diverges or self._watch.stalled_too_long()

    def _timed_out(self, timeout: float, until: Collection[JobState]) -> exception.TimedOut:
        wanted = ' or '.join(sorted(state.value for state in until)) or 'at its end'
        text = f'the copy was not {wanted} within {timeout:g} s'
        progress = self.snapshot().progress
        copying = self.state is JobState.COPYING
        if copying and progress.rate > 0 and not progress.converges:
            return exception.NotConverging(
                f'{text}: the guest writes {progress.dirty_rate} bytes/s, the copy moves '
                f'{progress.rate}'
            )
        return exception.TimedOut(text)


def _never() -> bool:
    return False
