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

from typing import NoReturn

from oslo_log import log as logging

from blockmirror_driver import exception
from blockmirror_driver.mirror import passthrough
from blockmirror_driver.mirror.engine import Mirror
from blockmirror_driver.mirror.states import TERMINAL, Cause, JobState
from blockmirror_driver.model import BytesPerSecond, Seconds
from blockmirror_driver.swap import contents
from blockmirror_driver.swap.budget import Budget
from blockmirror_driver.swap.control import Control, Inbox
from blockmirror_driver.swap.gate import Gate
from blockmirror_driver.swap.hold import Hold
from blockmirror_driver.swap.journal import Journal
from blockmirror_driver.swap.ledger import Ledger, Swap, view_of
from blockmirror_driver.swap.pace import Pace, begun_with
from blockmirror_driver.swap.reconcile import Decision, Evidence, Job, Side, decide
from blockmirror_driver.swap.record import Outcome
from blockmirror_driver.swap.request import Ending, RequestKind
from blockmirror_driver.swap.settlement import END_TOLD, Settlement, as_failure
from blockmirror_driver.swap.sharing import Sharing
from blockmirror_driver.swap.states import SwapState
from blockmirror_driver.swap.switch import Switch
from blockmirror_driver.virt.connection import Hypervisor

LOG = logging.getLogger(__name__)

#: Pivots that QEMU may refuse (job not ready after all) before the swap is given up.
PIVOT_ATTEMPTS = 3
#: Exit code of a swap whose job was left running because the user asked for it.
LEFT = 130


class _LeftError(Exception):
    """The user asked to return with the block job running. Never leaves this module."""


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
        ledger: Ledger,
        *,
        budget: Budget,
    ) -> None:
        self._hypervisor = hypervisor
        self._swap = swap
        self._control = control
        self._ledger = ledger
        self._inbox = Inbox(journal, swap.id, control)
        self._hold = Hold(swap.hold, swap.options.hold_until, ledger.clock)
        sharing = Sharing(journal, budget, swap.id, ledger.clock)
        self._pace = Pace(hypervisor, swap, ledger, sharing)
        self._mirror: Mirror | None = None
        passthrough.attach(hypervisor, swap.domain_uuid, view_of(swap), swap.options)
        self._gate = Gate(hypervisor, swap, ledger.clock)
        self.settlement = Settlement(hypervisor, journal, swap, ledger)
        self._switch = Switch(hypervisor, swap, ledger, self.settlement)

    def copy(self) -> Outcome:
        """Start the block job and bring the swap to its end.

        :raise TimedOut: Cancelled, CopyFailed, Refused: the guest is on the source, the
            destination let go, unless the message says that the job is still ending.
        :raise StateUnknown: nothing more was touched.
        """
        try:
            if self._control.stop:
                raise exception.Cancelled('cancelled on request, before the copy began')
            mirror = self._new_mirror()
            self._ledger.advance(SwapState.COPYING, 'starting the block job')
        except exception.BlockmirrorError as error:
            self.settlement.revert(error)
        route = (self._swap.source.source, self._swap.destination.source)
        self._ledger.emit('start', ' to '.join(end.describe() for end in route))
        try:
            mirror.start()
        except exception.BlockmirrorError as error:
            return self._not_started(error)
        return self._follow(mirror)

    def resume(self) -> Outcome:
        """Take up a block job that already runs; otherwise as :meth:`copy`.

        :raise HypervisorUnavailable: nothing could be read, and nothing was changed.
        """
        mirror = self._adopt()
        if self._ledger.state is SwapState.UNKNOWN:
            self._ledger.settle(SwapState.COPYING, 'our block job is there: taken up again')
        if self._after_pivot(mirror) is JobState.PIVOTING:
            self._unknown('a pivot is under way and does not end')
        return self._follow(mirror)

    def cancel(self, cause: exception.BlockmirrorError) -> Outcome:
        """End the block job without a pivot, then raise ``cause``.

        :raise HypervisorUnavailable: nothing could be read, and nothing was changed.
        """
        return self._back(self._adopt(), cause)

    def close(self) -> None:
        """Let go of the subscription and of the control; the job is not touched."""
        self._inbox.close()
        self._control.attach(lambda: None)
        if self._mirror is not None:
            self._mirror.close()

    def _new_mirror(self) -> Mirror:
        if self._mirror is not None:
            self._mirror.close()
        self._mirror = Mirror(
            self._hypervisor,
            self._hypervisor.domain(self._swap.domain_uuid),
            self._swap.dev,
            source=self._swap.source.source,
            destination=self._swap.destination,
            options=begun_with(self._swap),
            on_change=self._ledger.on_change,
            clock=self._ledger.clock,
        )
        self._control.attach(self._mirror.wake)
        self._inbox.open()
        return self._mirror

    def _adopt(self) -> Mirror:
        mirror = self._new_mirror()
        try:
            mirror.adopt(pivot_asked=self._ledger.pivot_requested)
        except exception.StateUnknown as error:
            self._unknown(error.message, error)
        return mirror

    # -- the way forward ---------------------------------------------------------------

    def _follow(self, mirror: Mirror) -> Outcome:
        try:
            state = self._drive(mirror)
        except _LeftError:
            return self.settlement.left(0 if self._swap.ending is Ending.ASYNC else LEFT)
        except exception.StateUnknown as error:
            self._unknown(error.message, error)
        except exception.BlockmirrorError as error:
            return self._back(mirror, as_failure(error))
        # A failure looks the same in the XML: only a confirmed abort leaves a whole copy.
        if self._ledger.state is SwapState.CANCELLING and mirror.snapshot().end_confirmed:
            return self.settlement.finished()
        return self._ended(mirror, state)

    def _drive(self, mirror: Mirror) -> JobState:
        """Bring the job to an end, and return it; PIVOTING, ABORTING: it was not seen.

        :raise BlockmirrorError: the job has to be ended another way.
        """
        if self._swap.ending is Ending.ASYNC:
            raise _LeftError
        if (state := self._wait_ready(mirror)) is not JobState.READY:
            return state
        self._ledger.advance(SwapState.READY, 'source and destination are the same', durable=False)
        if self._hold.on or self._swap.ending is Ending.FINISH:
            self._switch.count(mirror)  # a pivot counts right before it is asked for
        self._ledger.emit('ready')
        if self._swap.options.verify_contents:
            compared = contents.Comparison(
                self._hypervisor, self._swap, mirror.wake, lambda: self._pace.ceiling
            )
            contents.follow(compared, mirror, self._ledger, self._pending, self._take_up)
        for _attempt in range(PIVOT_ATTEMPTS):
            state = self._hold_until_told(mirror)
            if state is not JobState.READY:
                return state
            if self._swap.ending is Ending.FINISH:
                self._ledger.advance(SwapState.CANCELLING, 'finishing without a pivot')
                return self._abort(mirror)
            self._gate.wait(mirror, self._pending, self._take_up)
            if (state := self._switch.ask(mirror)) is not JobState.READY:
                return state
            # Only a certain refusal makes that a guest which dies now has not switched.
            found = mirror.snapshot()
            self._ledger.advance(
                SwapState.READY,
                found.reason or 'the pivot did not happen',
                pivot_requested=found.may_have_switched,
            )
        raise exception.TimedOut(f'QEMU refused to pivot {PIVOT_ATTEMPTS} times')

    def _wait_ready(self, mirror: Mirror) -> JobState:
        while True:
            left = Seconds(max(0.0, self._swap.options.copy_timeout - self._ledger.elapsed))
            state = mirror.wait(
                {JobState.READY},
                timeout=left,
                interrupt=lambda: self._inbox.pending() or self._pace.is_due(mirror),
                look_every=self._pace.every,
            )
            self._take_up(mirror)
            self._pace.keep(mirror)
            # Any other state is no end: another tool pivots or aborts, and may not succeed.
            if state is JobState.READY or state in TERMINAL:
                return state

    def _hold_until_told(self, mirror: Mirror) -> JobState:
        """Wait while on hold; READY means: go on. Any other state: the job has ended."""
        self._take_up(mirror)
        while (on := self._hold.on) or mirror.state not in (JobState.READY, *TERMINAL):
            self._gate.forget()
            if on and self._ledger.state is not SwapState.HELD:
                self._ledger.advance(SwapState.HELD, 'held; waiting to be told')
            # READY is the state it is in: only an end, or a request, is waited for.
            state = mirror.wait(
                {JobState.PIVOTED} if on else {JobState.READY},
                timeout=None if on else self._swap.options.pivot_timeout,
                interrupt=lambda: self._is_told(on),
            )
            if state in TERMINAL:
                return state
            self._take_up(mirror)
        if self._ledger.state is SwapState.HELD:
            self._ledger.advance(SwapState.READY, 'told to go on')
        return mirror.state

    def _is_told(self, on: bool) -> bool:
        # Where there is a timeout, what interrupts every few seconds would keep it from coming.
        told = self._inbox.pending() or self._hold.on is not on
        return told or (on and self._pace.may_share())

    def _pending(self) -> bool:
        """Whether there is something to take up."""
        return self._inbox.pending() or self._pace.may_share()

    def _take_up(self, mirror: Mirror) -> None:
        """Take up requests; raise for those that end the swap."""
        for request in self._inbox.take():
            if request.kind is RequestKind.CANCEL:
                self._control.cancelled = True
            elif request.kind is RequestKind.SPEED:
                self._pace.set_speed(mirror, BytesPerSecond(request.argument))
            else:
                self._hold.tell(request.kind is RequestKind.HOLD and bool(request.argument))
                self._ledger.set_hold(self._hold.on)
        if self._control.left:
            raise _LeftError
        if self._control.cancelled:
            raise exception.Cancelled('cancelled on request; the guest is on the source')
        self._pace.share(mirror)

    # -- the end -----------------------------------------------------------------------

    def _not_started(self, error: exception.BlockmirrorError) -> Outcome:
        """The start failed: so it says, and so the evidence has to say."""
        found = self._read(error)
        decision = decide(found).decision
        if isinstance(error, exception.DiskBusy) and found.live is Side.SOURCE:
            # Whatever job is there, it was there before us, and is none of ours.
            self.settlement.revert(error)
        lost = isinstance(error, exception.HypervisorUnavailable) and error.outcome_unknown
        if lost and decision is Decision.REVERT:
            self._unknown(f'{error.message}; the copy may still be started', error)
        return self._by_evidence(found, error)

    def _ended(self, mirror: Mirror, state: JobState) -> Outcome:
        """The job is over, or its end can't be seen: let the evidence speak."""
        snapshot = mirror.snapshot()
        reason = snapshot.reason or f'the block job is {state.value}'
        if snapshot.cause is Cause.GUEST_GONE:
            return self.settle(exception.GuestGone(reason))
        if state is JobState.LOST:
            return self.settle(exception.JobLost(reason))
        if state is JobState.PIVOTING:
            return self.settle(exception.TimedOut('the pivot was not seen to happen in time'))
        if state is not JobState.ABORTING:
            return self.settle(exception.CopyFailed(reason))
        if self._ledger.state is SwapState.CANCELLING:
            return self.settle(exception.TimedOut('the block job is still ending'))
        return self._back(mirror, exception.CopyFailed('another tool ends the block job'))

    def _back(self, mirror: Mirror, cause: exception.BlockmirrorError) -> Outcome:
        """End the job, wait for its end, then decide by evidence.

        What is written here may fail: a job that is gone reads the same with or without it.
        """
        if self._after_pivot(mirror) is JobState.PIVOTING:
            self._unknown(f'{cause.message}; a pivot is under way and does not end', cause)
        if self._is_foreign():
            self._unknown(f'{cause.message}; a block job that is not ours is there', cause)
        if self._ledger.state is SwapState.PIVOTING:
            self._ledger.settle(SwapState.READY, 'the pivot did not happen')
        if self._ledger.state is not SwapState.CANCELLING:
            self._ledger.settle(SwapState.CANCELLING, cause.message, exit_code=cause.exit_code)
        self._abort(mirror)
        return self.settle(cause)

    def _is_foreign(self) -> bool:
        try:
            return self.settlement.read().job is Job.FOREIGN
        except exception.BlockmirrorError:
            return False  # the abort can't be asked for either, until libvirt answers

    def _abort(self, mirror: Mirror) -> JobState:
        """Ask for the abort and wait; ABORTING: it was not seen, or not asked of what hangs."""
        self._after_pivot(mirror)
        if not self._gate.opens(
            mirror, self._swap.options.abort_timeout, lambda: self._control.left
        ):
            return JobState.ABORTING
        if self._is_foreign():  # since that was looked at: ours was ended, and another begun
            self._unknown('another tool has taken the disk, and its block job is not ours')
        try:
            return mirror.abort(interrupt=lambda: self._control.left)
        except exception.WrongState as error:
            LOG.warning('Swap %s: the abort could not be asked for: %s', self._swap.id, error)
            return mirror.state

    def _after_pivot(self, mirror: Mirror) -> JobState:
        """Wait for the end of a pivot that is under way; PIVOTING: it was not seen."""
        try:
            return mirror.wait(
                set(JobState) - {JobState.PIVOTING},
                timeout=self._swap.options.pivot_timeout,
                interrupt=lambda: self._control.left,
            )
        except exception.TimedOut:
            return mirror.state

    def settle(self, cause: exception.BlockmirrorError) -> Outcome:
        """Decide by evidence alone: roll forward, or revert and raise ``cause``."""
        if self._mirror is not None and self._mirror.state is JobState.PIVOTED:
            # That was read, and stays so even if the guest is gone by now.
            return self.settlement.forward()
        return self._by_evidence(self._read(cause), cause)

    def _read(self, cause: exception.BlockmirrorError) -> Evidence:
        mirror = self._mirror
        snapshot = mirror.snapshot() if mirror is not None else None
        try:
            return self.settlement.read(
                guest_was_gone=snapshot is not None and snapshot.cause is Cause.GUEST_GONE,
                may_have_switched=snapshot is not None and snapshot.may_have_switched,
                end_was_told=snapshot is not None and snapshot.cause in END_TOLD,
            )
        except exception.BlockmirrorError as error:
            self._unknown(f'{cause.message}; libvirt does not answer: {error}', error)

    def _by_evidence(self, found: Evidence, cause: exception.BlockmirrorError) -> Outcome:
        verdict = decide(found)
        if verdict.decision in (Decision.ROLL_FORWARD, Decision.REPAIR):
            return self.settlement.forward()
        if verdict.decision is Decision.REVERT:
            self.settlement.revert(cause)
        # Else a job of ours still runs although we meant it to have ended, or to have started.
        state = self._ledger.state
        may_switch = found.job is Job.PIVOTING or state is SwapState.PIVOTING
        if verdict.decision is Decision.UNKNOWN or may_switch:
            self._unknown(f'{cause.message}; {verdict.reason}', cause)
        if state is SwapState.CANCELLING:
            self.settlement.still_ending(cause)
        try:
            mirror = self._adopt()
        except exception.StateUnknown:
            raise
        except exception.BlockmirrorError as error:
            self._unknown(f'{cause.message}; {error}', error)
        return self._back(mirror, cause)

    def _unknown(self, text: str, cause: Exception | None = None) -> NoReturn:
        mirror = self._mirror
        self.settlement.unknown(
            text,
            cause,
            may_have_switched=mirror is not None and mirror.snapshot().may_have_switched,
        )
