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
"""One swap, step by step: intent to the journal, then the step, then the evidence."""

from __future__ import annotations

import time

from oslo_log import log as logging

from blockmirror_driver import exception
from blockmirror_driver.mirror.engine import Mirror
from blockmirror_driver.mirror.states import Cause, JobState
from blockmirror_driver.model import BytesPerSecond, Seconds
from blockmirror_driver.swap import cleanup, evidence, verify
from blockmirror_driver.swap.control import Control, Inbox
from blockmirror_driver.swap.journal import Journal
from blockmirror_driver.swap.ledger import Ledger, Observer, Swap
from blockmirror_driver.swap.reconcile import Decision, Verdict, decide
from blockmirror_driver.swap.record import Outcome
from blockmirror_driver.swap.request import Ending, RequestKind
from blockmirror_driver.swap.states import SWITCHED, SwapState
from blockmirror_driver.virt.connection import Hypervisor

LOG = logging.getLogger(__name__)

#: Pivots that QEMU may refuse (job not ready after all) before the swap is given up.
PIVOT_ATTEMPTS = 3


class Left(exception.BlockmirrorError):
    """The user asked to return with the block job running. Never leaves this package."""

    exit_code = 130


class Runner:
    """Runs one swap that this process owns.

    One thread calls it. Each public step may be entered again by recovery; whatever raises
    before the switch has left the guest on the source, and nothing raises after it.
    """

    def __init__(
        self,
        hypervisor: Hypervisor,
        journal: Journal,
        swap: Swap,
        control: Control,
        observer: Observer | None = None,
    ) -> None:
        self._hypervisor = hypervisor
        self._journal = journal
        self._swap = swap
        self._control = control
        self._ledger = Ledger(journal, swap, observer)
        self._inbox = Inbox(journal, swap.id, control)
        self._hold = swap.hold
        self._ledger.state = journal.record(swap.id).state
        self._started = time.monotonic()
        self._moved = 0
        self._pivot_seconds: float | None = None
        self._notes: list[str] = []
        self._mirror = Mirror(
            hypervisor,
            hypervisor.domain(swap.domain_uuid),
            swap.dev,
            source=swap.source.source,
            destination=swap.destination,
            options=swap.options,
            on_change=self._ledger.on_change,
        )
        control.attach(self._mirror.wake)

    @property
    def state(self) -> SwapState:
        """The state last written to the journal."""
        return self._ledger.state

    def note(self, text: str) -> None:
        """Add a line to the outcome's notes and the journal's history."""
        self._ledger.note(text)

    def copy(self) -> Outcome:
        """Start the block job and bring the swap to its end.

        :raise TimedOut: Cancelled, CopyFailed, Refused: the guest is on the source, the
            destination let go, unless the message says that the job is still ending.
        :raise StateUnknown: nothing more was touched.
        """
        self._ledger.advance(SwapState.COPYING, 'starting the block job')
        self._ledger.emit('start', self._swap.source.source.describe())
        try:
            self._mirror.start()
        except exception.BlockmirrorError as error:
            return self._settle(error)
        return self._follow()

    def resume(self) -> Outcome:
        """Take up a block job that already runs; otherwise as :meth:`copy`."""
        try:
            self._mirror.adopt()
        except exception.BlockmirrorError as error:
            return self._settle(error)
        return self._follow()

    def cancel(self, cause: exception.BlockmirrorError) -> Outcome:
        """End the block job without a pivot, then raise ``cause``."""
        try:
            self._mirror.adopt()
        except exception.BlockmirrorError as error:
            return self._settle(error)
        return self._back(cause)

    def settle(self, cause: exception.BlockmirrorError) -> Outcome:
        """Decide by evidence alone: roll forward, or revert and raise ``cause``."""
        return self._settle(cause)

    def close(self) -> None:
        """Let go of the subscription and of the control; the job is not touched."""
        self._control.attach(lambda: None)
        self._mirror.close()

    # -- the way forward ---------------------------------------------------------------

    def _follow(self) -> Outcome:
        try:
            return self._to_the_end()
        except Left:
            return self._leave()
        except (exception.TimedOut, exception.Cancelled) as error:
            return self._back(error)
        except exception.BlockmirrorError as error:
            if self._ledger.state in SWITCHED or self._ledger.state is SwapState.UNKNOWN:
                raise
            return self._settle(error)

    def _to_the_end(self) -> Outcome:
        if self._swap.ending is Ending.ASYNC:
            return self._leave()
        state = self._wait_ready()
        if state is not JobState.READY:
            return self._ended(state)
        self._ledger.advance(SwapState.READY, 'source and destination are the same')
        self._ledger.emit('ready')
        for _attempt in range(PIVOT_ATTEMPTS):
            state = self._hold_until_told()
            if state is not JobState.READY:
                return self._ended(state)
            if self._swap.ending is Ending.FINISH:
                return self._finish()
            state = self._pivot()
            if state is not JobState.READY:
                return self._ended(state)
            # Refused for certain, so that a guest that dies now has not switched.
            self._ledger.advance(
                SwapState.READY, self._mirror.snapshot().reason, pivot_requested=False
            )
        raise exception.TimedOut(f'QEMU refused to pivot {PIVOT_ATTEMPTS} times')

    def _wait_ready(self) -> JobState:
        while True:
            left = Seconds(max(0.0, self._swap.options.copy_timeout - self._ledger.elapsed))
            state = self._mirror.wait(
                {JobState.READY}, timeout=left, interrupt=self._inbox.pending
            )
            self._take_up()
            if state not in (JobState.COPYING, JobState.STALLED):
                return state

    def _hold_until_told(self) -> JobState:
        """Wait while on hold; READY means: go on. Any other state: the job has ended."""
        self._take_up()
        while self._hold:
            if self._ledger.state is not SwapState.HELD:
                self._ledger.advance(SwapState.HELD, 'held; waiting to be told')
            # READY is the state it is in: only an end, or a request, is waited for.
            state = self._mirror.wait(
                {JobState.PIVOTED}, timeout=None, interrupt=self._inbox.pending
            )
            if state is not JobState.READY:
                return state
            self._take_up()
        if self._ledger.state is SwapState.HELD:
            self._ledger.advance(SwapState.READY, 'told to go on')
        return self._mirror.state

    def _take_up(self) -> None:
        """Take up requests; raise for those that end the swap."""
        for request in self._inbox.take():
            if request.kind is RequestKind.CANCEL:
                self._control.cancelled = True
            elif request.kind is RequestKind.PIVOT:
                self._hold = False
                self._journal.set_hold(self._swap.id, False)
            elif request.kind is RequestKind.HOLD:
                self._hold = bool(request.argument)
                self._journal.set_hold(self._swap.id, self._hold)
            elif request.kind is RequestKind.SPEED:
                self._set_speed(request.argument)
        if self._control.left:
            raise Left('left running on request')
        if self._control.cancelled:
            raise exception.Cancelled('cancelled on request; the guest is on the source')

    def _set_speed(self, bandwidth: int) -> None:
        try:
            self._mirror.set_speed(BytesPerSecond(bandwidth))
        except exception.BlockmirrorError as error:
            self.note(f'the speed could not be changed: {error}')
        else:
            self._journal.set_bandwidth(self._swap.id, bandwidth)

    def _pivot(self) -> JobState:
        self._agree()
        self._ledger.advance(SwapState.PIVOTING, 'asking for the pivot', pivot_requested=True)
        cleanup.mark(self._hypervisor, self._swap, 'pivoting')
        began = time.monotonic()
        try:
            return self._mirror.pivot()
        finally:
            self._ledger.pivot_seconds = time.monotonic() - began

    def _agree(self) -> None:
        """Make live and stored source agree, so that a guest that dies now leaves an answer."""
        domain = self._hypervisor.domain(self._swap.domain_uuid)
        if not domain.is_persistent():
            return
        found = evidence.read(
            self._hypervisor,
            self._swap.domain_uuid,
            self._swap.dev,
            self._swap.source,
            self._swap.destination,
            pivot_requested=False,
        )
        if found.stored is not found.live:
            verify.repair_stored(domain, self._swap.dev)
            self.note('the stored XML named another volume and was brought in line')

    def _finish(self) -> Outcome:
        """End the job in READY: the destination is consistent, the guest stays."""
        self._ledger.advance(SwapState.CANCELLING, 'finishing without a pivot')
        state = self._mirror.abort()
        # A failure looks the same in the XML: only a confirmed abort leaves a whole copy.
        if not self._mirror.snapshot().end_confirmed:
            return self._ended(state)
        # The destination's secrets stay only with those who use it: nobody does.
        cleanup.release(self._hypervisor, self._swap)
        self._ledger.advance(
            SwapState.FINISHED, 'the destination is a consistent copy', exit_code=0
        )
        return self._ledger.outcome(0)

    def _leave(self) -> Outcome:
        self._journal.note(self._swap.id, 'left running; blockmirror recover takes it up')
        self._journal.release(self._swap.id)
        code = 0 if self._swap.ending is Ending.ASYNC else Left.exit_code
        return self._ledger.outcome(code)

    # -- the end -----------------------------------------------------------------------

    def _ended(self, state: JobState) -> Outcome:
        """The job is over, or its end can't be seen: let the evidence speak."""
        snapshot = self._mirror.snapshot()
        reason = snapshot.reason or f'the block job is {state.value}'
        cause: exception.BlockmirrorError
        if snapshot.cause is Cause.GUEST_GONE:
            cause = exception.GuestGone(reason)
        elif state is JobState.LOST:
            cause = exception.JobLost(reason)
        elif state is JobState.PIVOTING:
            cause = exception.TimedOut('the pivot was not seen to happen in time')
        elif state is JobState.ABORTING:
            cause = exception.TimedOut('the block job is still ending')
        else:
            cause = exception.CopyFailed(reason)
        return self._settle(cause)

    def _back(self, cause: exception.BlockmirrorError) -> Outcome:
        """Ask for the abort, wait for its end, then decide by evidence."""
        if self._ledger.state is not SwapState.CANCELLING:
            self._ledger.advance(SwapState.CANCELLING, cause.message)
        try:
            state = self._mirror.abort()
        except exception.BlockmirrorError as error:
            LOG.warning('Swap %s: the abort could not be asked for: %s', self._swap.id, error)
            return self._settle(cause)
        if state is JobState.ABORTING:
            return self._still_ending(cause)
        return self._settle(cause)

    def _still_ending(self, cause: exception.BlockmirrorError) -> Outcome:
        """The destination hangs, so the job can't end yet. The guest is on the source."""
        text = f'{cause.message}; the block job ends when the destination answers again'
        self._journal.note(self._swap.id, text, exit_code=cause.exit_code)
        self._journal.release(self._swap.id)
        self._ledger.emit('error', text)
        error = type(cause)(
            text, hint=f'the guest is on the source; later: blockmirror recover {self._swap.id}'
        )
        raise error from cause

    def _settle(self, cause: exception.BlockmirrorError) -> Outcome:
        """Let the evidence decide; ``cause`` is why one has to look."""
        try:
            verdict = self._verdict()
        except exception.BlockmirrorError as error:
            return self._unknown(f'{cause.message}; libvirt does not answer: {error}', error)
        if verdict.decision in (Decision.ROLL_FORWARD, Decision.REPAIR):
            return self._forward()
        if verdict.decision is Decision.REVERT:
            return self._revert(cause)
        # Else a job of ours still runs although we meant it to have ended, or to have started.
        if self._ledger.state is SwapState.CANCELLING and verdict.decision is not Decision.UNKNOWN:
            return self._still_ending(cause)
        if verdict.decision is Decision.UNKNOWN or self._ledger.state is SwapState.PIVOTING:
            return self._unknown(f'{cause.message}; {verdict.reason}', cause)
        return self._adopt_and_back(cause)

    def _adopt_and_back(self, cause: exception.BlockmirrorError) -> Outcome:
        """The call that started the job failed on our side only: end what it started."""
        try:
            self._mirror.adopt()
        except exception.BlockmirrorError as error:
            return self._unknown(f'{cause.message}; {error}', error)
        return self._back(cause)

    def _verdict(self) -> Verdict:
        record = self._journal.record(self._swap.id)
        found = evidence.read(
            self._hypervisor,
            self._swap.domain_uuid,
            self._swap.dev,
            self._swap.source,
            self._swap.destination,
            pivot_requested=record.pivot_requested,
        )
        LOG.info('Swap %s: evidence %s', self._swap.id, found)
        return decide(found)

    def _revert(self, cause: exception.BlockmirrorError) -> Outcome:
        problems = cleanup.release(self._hypervisor, self._swap)
        if problems:
            self._journal.note(self._swap.id, '; '.join(problems))
        self._ledger.advance(SwapState.REVERTED, cause.message, exit_code=cause.exit_code)
        self._ledger.emit('error', cause.message)
        raise cause

    def _unknown(self, text: str, cause: Exception) -> Outcome:
        code = exception.StateUnknown.exit_code
        self._ledger.advance(SwapState.UNKNOWN, text, exit_code=code)
        self._journal.release(self._swap.id)
        self._ledger.emit('error', text)
        raise exception.StateUnknown(text) from cause

    def _forward(self) -> Outcome:
        """The guest is on the destination: nothing raises from here on."""
        self._ledger.advance(SwapState.PIVOTED, 'the guest is on the destination')
        code = exception.CleanupIncomplete.exit_code
        try:
            found = verify.verify(
                self._hypervisor,
                self._swap.domain_uuid,
                self._swap.dev,
                self._swap.source,
                self._swap.destination,
                serial=self._swap.serial,
            )
            for note in found.notes:
                self._ledger.note(note)
            if not found.ok:
                return self._unclean('; '.join(found.problems))
            self._ledger.advance(SwapState.VERIFIED, 'live and stored XML name the destination')
            problems = cleanup.complete(self._hypervisor, self._journal, self._swap)
            if problems:
                return self._unclean('; '.join(problems))
            self._ledger.advance(SwapState.CLEANED, 'done', exit_code=0)
            code = 0
        except exception.BlockmirrorError as error:
            return self._unclean(error.message)
        return self._ledger.outcome(code)

    def _unclean(self, text: str) -> Outcome:
        code = exception.CleanupIncomplete.exit_code
        LOG.warning('Swap %s pivoted, but is not clean yet: %s', self._swap.id, text)
        try:
            self._ledger.note(text, exit_code=code)
            self._journal.release(self._swap.id)
        except exception.JournalUnusable:
            LOG.exception('Swap %s: the journal could not be written', self._swap.id)
        return self._ledger.outcome(code)
