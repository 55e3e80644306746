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
"""The engine on a scripted guest: the ordinary ways, and each race that is known."""

from __future__ import annotations

import unittest
from typing import Any

from blockmirror_driver import exception
from blockmirror_driver.mirror.engine import Mirror, MirrorSnapshot
from blockmirror_driver.mirror.options import CopyOptions
from blockmirror_driver.mirror.states import Cause, JobState
from blockmirror_driver.model import BytesPerSecond, Disk, Seconds
from blockmirror_driver.virt.calls import HangingCall
from blockmirror_driver.virt.events import BlockJobStatus, ConnectionLost, Reconnected
from tests.unit.mirror.pieces import (
    DESTINATION,
    ELSEWHERE,
    SOURCE,
    Clock,
    ScriptedDomain,
    ScriptedHypervisor,
    live,
    mirror,
)

S = JobState
READY, COMPLETED = BlockJobStatus.READY, BlockJobStatus.COMPLETED
FAILED, CANCELED = BlockJobStatus.FAILED, BlockJobStatus.CANCELED


def hang(what: str = 'blockCopy') -> exception.HypervisorUnavailable:
    return exception.HypervisorUnavailable(f'{what}: no answer', outcome_unknown=True)


class EngineTest(unittest.TestCase):
    """A guest with one disk, and a mirror for it."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.hypervisor = ScriptedHypervisor(self.clock)
        self.domain = ScriptedDomain(self.clock)
        self.hypervisor.add(self.domain)
        self.seen: list[MirrorSnapshot] = []
        self.mirror = self.make()

    def make(self, **options: Any) -> Mirror:
        made = Mirror(
            self.hypervisor,
            self.domain,
            'vda',
            source=SOURCE,
            destination=Disk(source=DESTINATION),
            options=CopyOptions(**options),
            on_change=self.seen.append,
            clock=self.clock,
        )
        self.addCleanup(made.close)
        self.mirror = made
        return made

    def states(self) -> list[JobState]:
        """The states reported, each once per stay."""
        found: list[JobState] = []
        for told in self.seen:
            if not found or found[-1] is not told.state:
                found.append(told.state)
        return found

    def emit(self, status: BlockJobStatus) -> None:
        self.domain.emit_job('vda', status)

    def becomes_ready(self) -> None:
        self.domain.shows('yes')
        self.emit(READY)

    def finishes(self, source: Any, status: BlockJobStatus | None) -> None:
        self.domain.ends(source)
        if status is not None:
            self.emit(status)

    def start_ready(self) -> Mirror:
        self.mirror.start()
        self.becomes_ready()
        self.assertIs(self.mirror.wait({S.READY}), S.READY)
        return self.mirror


class TheOrdinaryWay(EngineTest):
    """Everything answers, every event arrives."""

    def test_copy_and_pivot(self) -> None:
        """Each state is told once, in order; PIVOTED by evidence."""
        self.domain.on('pivot', lambda: self.finishes(DESTINATION, COMPLETED))
        self.assertIs(self.start_ready().pivot(), S.PIVOTED)
        self.assertEqual(self.states(), [S.COPYING, S.READY, S.PIVOTING, S.PIVOTED])
        self.assertEqual(self.mirror.snapshot().reason, '')

    def test_copy_and_finish(self) -> None:
        """An abort of a ready copy, confirmed: the destination is consistent."""
        self.domain.on('abort', lambda: self.finishes(SOURCE, CANCELED))
        self.assertIs(self.start_ready().abort(), S.ABORTED)
        self.assertTrue(self.mirror.snapshot().end_confirmed)

    def test_cancel_while_copying(self) -> None:
        """The same call, earlier."""
        self.mirror.start()
        self.domain.on('abort', lambda: self.finishes(SOURCE, CANCELED))
        self.assertIs(self.mirror.abort(), S.ABORTED)

    def test_speed(self) -> None:
        """Bytes per second reach the job; only a job that runs has one."""
        self.assertRaises(exception.WrongState, self.mirror.set_speed, BytesPerSecond(1))
        self.mirror.start()
        self.mirror.set_speed(BytesPerSecond(5))
        self.assertEqual(self.domain.calls[-1], ('set_speed', ('vda', 5)))

    def test_progress(self) -> None:
        """Reported while it moves, though no event comes, at most twice a second."""
        self.mirror.start()
        for second in range(1, 6):
            self.domain.later(second - 0.1, lambda cur=second: self.domain.moves(cur * 10))
        self.domain.later(6, self.becomes_ready)
        self.mirror.wait({S.READY})
        cursors = [told.progress.cur for told in self.seen if told.state is S.COPYING]
        self.assertEqual(cursors[-1], 50)
        self.assertGreaterEqual(len(set(cursors)), 4)
        self.assertEqual(self.seen[-1].progress.rate, 10)

    def test_a_context_manager(self) -> None:
        """Leaves nothing subscribed, and leaves the job."""
        with self.mirror:
            self.mirror.start()
        self.assertEqual(self.hypervisor.subscribed, 0)
        self.assertIn('vda', self.domain.jobs)

    def test_events_of_an_earlier_job(self) -> None:
        """What waited in the queue before the start does not concern this copy."""
        self.mirror._watch.listen()
        self.emit(READY)
        self.mirror.start()
        self.assertRaises(exception.TimedOut, self.mirror.wait, {S.READY}, timeout=3.0)


class Starting(EngineTest):
    """The call that starts it all."""

    def test_refused_by_libvirt(self) -> None:
        """Its error is handed on, and nothing is running."""
        for error in (
            exception.DiskBusy('x'),
            exception.DestinationUnusable('x'),
            exception.HypervisorUnavailable('x', code=55),
        ):
            self.domain.fail('block_copy', error)
            self.assertRaises(type(error), self.mirror.start)
            self.assertIs(self.mirror.state, S.NONE)

    def test_refused_by_the_method(self) -> None:
        """Before anything is called."""
        self.assertRaises(exception.Refused, self.make(method='rebase').start)
        self.assertEqual(self.domain.calls, [])

    def test_twice(self) -> None:
        """One object, one job."""
        self.mirror.start()
        self.assertRaises(exception.WrongState, self.mirror.start)

    def test_no_answer_but_it_started(self) -> None:
        """The connection broke after libvirt had started the job: it is ours."""
        self.domain.fail('block_copy', hang())
        self.hypervisor.fake_hanging = (HangingCall('blockCopy', Seconds(0.0)),)

        def started() -> None:
            self.domain.moves(5)
            self.domain.shows('no')

        self.domain.later(20, started)
        self.mirror.start()
        self.assertIs(self.mirror.state, S.COPYING)

    def test_no_answer_and_it_never_started(self) -> None:
        """The call has ended, and no job is seen: certain, after the grace."""
        self.domain.fail('block_copy', hang())
        with self.assertRaises(exception.HypervisorUnavailable) as caught:
            self.mirror.start()
        self.assertFalse(caught.exception.outcome_unknown)

    def test_no_answer_at_all(self) -> None:
        """It hangs on: unknown, and said so; later it can be taken up."""
        self.domain.fail('block_copy', hang())
        self.hypervisor.fake_hanging = (HangingCall('blockCopy', Seconds(0.0)),)
        with self.assertRaises(exception.HypervisorUnavailable) as caught:
            self.mirror.start()
        self.assertTrue(caught.exception.outcome_unknown)
        self.assertEqual(self.domain.count('job'), 0, 'it would wait for the same lock')
        self.assertRaises(exception.WrongState, self.mirror.start)
        self.domain.moves(5)
        self.domain.shows('yes')
        self.assertIs(self.mirror.adopt(), S.READY)

    def test_no_answer_and_another_job(self) -> None:
        """Somebody else was faster."""
        self.domain.fail('block_copy', hang())
        self.domain.live['vda'] = live(SOURCE, mirror('no', source=ELSEWHERE))
        self.assertRaises(exception.DiskBusy, self.mirror.start)

    def test_no_answer_and_it_failed(self) -> None:
        """Started and failed: start returns, and the state says so."""
        self.domain.fail('block_copy', hang())
        self.domain.later(1, lambda: self.emit(FAILED))
        self.hypervisor.fake_hanging = (HangingCall('blockCopy', Seconds(0.0)),)
        self.mirror.start()
        self.assertIs(self.mirror.state, S.FAILED)

    def test_a_destination_of_another_size(self) -> None:
        """libvirt accepts, and the job fails within milliseconds."""
        self.domain.on('block_copy', lambda: self.finishes(SOURCE, FAILED))
        self.mirror.start()
        self.assertIs(self.mirror.wait({S.READY}), S.FAILED)
        self.assertIs(self.mirror.snapshot().cause, Cause.JOB_FAILED)
        self.assertIn('failed', self.mirror.snapshot().reason)


class Adopting(EngineTest):
    """Taking up what a killed process left."""

    def test_a_running_job(self) -> None:
        """In each of its stages."""
        for ready, state in (
            ('no', S.COPYING),
            ('yes', S.READY),
            ('pivot', S.PIVOTING),
            ('abort', S.ABORTING),
        ):
            self.domain.moves(5)
            self.domain.live['vda'] = live(SOURCE, mirror(ready))  # type: ignore[arg-type]
            self.assertIs(self.make().adopt(), state)

    def test_a_job_of_its_own(self) -> None:
        """It only looks again, and what was known stays known."""
        self.start_ready()
        self.assertIs(self.mirror.adopt(), S.READY)
        self.domain.ends(DESTINATION)
        self.assertIs(self.mirror.adopt(), S.PIVOTED)
        self.assertIs(self.mirror.adopt(), S.PIVOTED)

    def test_no_job(self) -> None:
        """Switched, or not; that nobody told how is no secret."""
        self.assertIs(self.mirror.adopt(), S.LOST)
        self.assertIs(self.mirror.snapshot().cause, Cause.VANISHED)
        self.domain.ends(DESTINATION)
        self.assertIs(self.make().adopt(), S.PIVOTED)

    def test_a_guest_that_is_gone(self) -> None:
        """Decidable only when no pivot had been asked for."""
        self.domain.die()
        self.assertIs(self.mirror.adopt(), S.FAILED)
        self.assertIs(self.make().adopt(pivot_asked=True), S.LOST)
        self.assertTrue(self.mirror.snapshot().may_have_switched)

    def test_a_foreign_job(self) -> None:
        """Hands off."""
        self.domain.live['vda'] = live(SOURCE, mirror('yes', source=ELSEWHERE))
        self.assertRaises(exception.StateUnknown, self.mirror.adopt)
        self.assertEqual(self.domain.count('abort'), 0)

    def test_a_foreign_source(self) -> None:
        """Somebody changed the disk."""
        self.domain.ends(ELSEWHERE)
        self.assertRaises(exception.StateUnknown, self.mirror.adopt)

    def test_a_contradiction_that_stays(self) -> None:
        """A job without a mirror is waited for, and then left alone."""
        self.domain.moves(5)
        self.assertRaises(exception.StateUnknown, self.mirror.adopt)

    def test_a_contradiction_that_passes(self) -> None:
        """Read between two steps of libvirt's."""
        self.domain.moves(5)
        self.domain.later(1, lambda: self.domain.ends(DESTINATION))
        self.assertIs(self.mirror.adopt(), S.PIVOTED)

    def test_libvirt_is_away(self) -> None:
        """Said so; it can be tried again."""
        self.domain.fail('live_disk', exception.HypervisorUnavailable('away'))
        self.assertRaises(exception.HypervisorUnavailable, self.mirror.adopt)
        self.assertIs(self.mirror.adopt(), S.LOST)


class Waiting(EngineTest):
    """Deadlines, interrupts and stalls."""

    def test_a_timeout(self) -> None:
        """Says what was waited for; the job runs on."""
        self.mirror.start()
        with self.assertRaisesRegex(exception.TimedOut, 'not ready within 7 s'):
            self.mirror.wait({S.READY}, timeout=Seconds(7.0))
        self.assertIs(self.mirror.state, S.COPYING)

    def test_a_guest_that_writes_too_much(self) -> None:
        """Is named as the reason."""
        self.mirror.start()
        for second in range(30):
            self.domain.later(second, lambda n=second: self.domain.moves(100 * n, 1000 + 150 * n))
        self.assertRaises(
            exception.NotConverging, self.mirror.wait, {S.READY}, timeout=Seconds(20.0)
        )

    def test_an_interrupt(self) -> None:
        """Is seen within a second, and changes nothing."""
        self.mirror.start()
        asked: list[float] = []
        self.domain.later(3, lambda: asked.append(self.clock.now))
        state = self.mirror.wait({S.READY}, interrupt=lambda: bool(asked))
        self.assertIs(state, S.COPYING)
        self.assertLessEqual(self.clock.now - asked[0], 1.0)

    def test_a_wake(self) -> None:
        """Another thread ends the wait for events, not the wait."""
        self.mirror.wake()  # nothing waits yet
        self.mirror.start()
        self.mirror.wake()
        self.assertRaises(exception.TimedOut, self.mirror.wait, {S.READY}, timeout=2.0)

    def test_a_stall(self) -> None:
        """Noticed after stall_after, told, and given up after stall_timeout."""
        self.make(stall_after=10.0, stall_timeout=40.0).start()
        self.domain.moves(50)
        began = self.clock.now
        self.assertRaises(exception.Stalled, self.mirror.wait, {S.READY})
        self.assertEqual(self.states(), [S.COPYING, S.STALLED])
        self.assertAlmostEqual(self.clock.now - began, 50, delta=3)
        self.assertIn('nothing was moved', self.mirror.snapshot().reason)

    def test_a_stall_that_ends(self) -> None:
        """The destination answers again."""
        self.make(stall_after=10.0).start()
        self.domain.later(30, lambda: self.domain.moves(60))
        self.domain.later(35, self.becomes_ready)
        self.mirror.wait({S.READY})
        self.assertEqual(self.states(), [S.COPYING, S.STALLED, S.COPYING, S.READY])

    def test_the_pause_of_a_limited_copy(self) -> None:
        """QEMU moves 16 MiB and then pauses: at 128 KiB/s that is 128 s, and no stall."""
        self.make(stall_after=10.0, bandwidth=128 * 1024).start()
        self.domain.moves(50, bandwidth=128 * 1024)
        self.assertRaises(exception.TimedOut, self.mirror.wait, {S.READY}, timeout=Seconds(200.0))
        self.assertEqual(self.states(), [S.COPYING])

    def test_a_limit_that_another_tool_lifted(self) -> None:
        """The job says its own bandwidth: a stall is one again."""
        self.make(stall_after=10.0, bandwidth=1024).start()
        self.domain.moves(50, bandwidth=0)
        self.mirror.wait({S.STALLED}, timeout=Seconds(30.0))
        self.assertIs(self.mirror.state, S.STALLED)

    def test_a_ready_copy_of_an_idle_guest(self) -> None:
        """Moves nothing, and is no stall."""
        self.make(stall_after=10.0, stall_timeout=10.0)
        self.start_ready()
        self.assertRaises(
            exception.TimedOut, self.mirror.wait, {S.PIVOTED}, timeout=Seconds(100.0)
        )
        self.assertIs(self.mirror.state, S.READY)

    def test_a_callback_that_fails(self) -> None:
        """Its error comes out; the copy goes on and can be waited for again."""

        def fail(told: MirrorSnapshot) -> None:
            if told.state is S.READY:
                raise exception.JournalUnusable('disk full')

        self.mirror._watch._on_change = fail
        self.mirror.start()
        self.becomes_ready()
        self.assertRaises(exception.JournalUnusable, self.mirror.wait, {S.READY})
        self.assertIs(self.mirror.wait({S.READY}), S.READY)


class LostEvents(EngineTest):
    """Events get lost, come late, or come twice."""

    def test_ready_without_an_event(self) -> None:
        """The slow reading finds it."""
        self.mirror.start()
        self.domain.later(3, lambda: self.domain.shows('yes'))
        self.assertIs(self.mirror.wait({S.READY}, timeout=Seconds(20.0)), S.READY)

    def test_pivoted_without_an_event(self) -> None:
        """So it is with COMPLETED."""
        self.start_ready()
        self.domain.on('pivot', lambda: self.finishes(DESTINATION, None))
        self.assertIs(self.mirror.pivot(), S.PIVOTED)

    def test_aborted_without_an_event(self) -> None:
        """Ended, but not confirmed: no consistent copy is promised."""
        self.start_ready()
        self.domain.on('abort', lambda: self.finishes(SOURCE, None))
        self.assertIs(self.mirror.abort(), S.ABORTED)
        self.assertFalse(self.mirror.snapshot().end_confirmed)

    def test_an_event_that_comes_after_the_reading(self) -> None:
        """Within the grace it still says how the job ended."""
        self.start_ready()
        self.domain.on('abort', lambda: self.finishes(SOURCE, None))
        self.domain.later(0.7, lambda: self.emit(CANCELED))
        self.mirror.abort()
        self.assertTrue(self.mirror.snapshot().end_confirmed)

    def test_doubled_events(self) -> None:
        """The second of each changes nothing."""
        self.start_ready()
        self.emit(READY)
        self.emit(READY)
        self.domain.on('pivot', lambda: self.finishes(DESTINATION, COMPLETED))
        self.domain.on('pivot', lambda: self.emit(COMPLETED))
        self.assertIs(self.mirror.pivot(), S.PIVOTED)
        self.assertEqual(self.states(), [S.COPYING, S.READY, S.PIVOTING, S.PIVOTED])

    def test_a_job_that_vanishes(self) -> None:
        """Nothing told how, the source is live: LOST."""
        self.mirror.start()
        self.domain.later(3, self.domain.ends)
        self.assertIs(self.mirror.wait({S.READY}), S.LOST)
        self.assertIs(self.mirror.snapshot().cause, Cause.VANISHED)


class OtherTools(EngineTest):
    """Somebody else works on the same disk."""

    def test_another_tool_pivots(self) -> None:
        """COMPLETED before we asked: the evidence decides."""
        self.start_ready()
        self.finishes(DESTINATION, COMPLETED)
        self.assertIs(self.mirror.pivot(), S.PIVOTED)
        self.assertEqual(self.domain.count('pivot'), 0)

    def test_another_tool_aborts(self) -> None:
        """Not by us, and said so."""
        self.mirror.start()
        self.domain.later(2, lambda: self.finishes(SOURCE, CANCELED))
        self.assertIs(self.mirror.wait({S.READY}), S.ABORTED)
        self.assertIs(self.mirror.snapshot().cause, Cause.CANCELED_ELSEWHERE)

    def test_another_job_in_place_of_ours(self) -> None:
        """Hands off: LOST, and never an abort."""
        self.start_ready()
        self.domain.live['vda'] = live(SOURCE, mirror('yes', source=ELSEWHERE))
        self.assertIs(self.mirror.wait({S.PIVOTED}), S.LOST)
        self.assertIs(self.mirror.snapshot().cause, Cause.FOREIGN_JOB)
        self.assertIs(self.mirror.abort(), S.LOST)
        self.assertEqual(self.domain.count('abort'), 0)

    def test_another_disk_in_place_of_ours(self) -> None:
        """Neither source nor destination."""
        self.mirror.start()
        self.domain.later(2, lambda: self.domain.ends(ELSEWHERE))
        self.assertIs(self.mirror.wait({S.READY}), S.LOST)
        self.assertIs(self.mirror.snapshot().cause, Cause.SOURCE_CHANGED)


class GuestsThatDie(EngineTest):
    """No job event comes, only that of the guest."""

    def test_while_copying(self) -> None:
        """FAILED at once, on the lifecycle event."""
        self.mirror.start()
        self.domain.later(0.2, self.domain.die)
        self.assertIs(self.mirror.wait({S.READY}), S.FAILED)
        self.assertIs(self.mirror.snapshot().cause, Cause.GUEST_GONE)
        self.assertFalse(self.mirror.snapshot().may_have_switched)

    def test_while_copying_and_nothing_is_told(self) -> None:
        """The slow reading finds out."""
        self.mirror.start()
        self.domain.later(2, lambda: self.domain.die(emit=False))
        self.assertIs(self.mirror.wait({S.READY}, timeout=Seconds(20.0)), S.FAILED)

    def test_while_pivoting(self) -> None:
        """Not for the mirror to decide."""
        self.start_ready()
        self.domain.on('pivot', self.domain.die)
        self.assertIs(self.mirror.pivot(), S.LOST)
        snapshot = self.mirror.snapshot()
        self.assertIs(snapshot.cause, Cause.GUEST_GONE)
        self.assertTrue(snapshot.may_have_switched)

    def test_before_the_pivot_is_called(self) -> None:
        """The event was in the queue: no pivot is asked for, and it is decidable."""
        self.start_ready()
        self.domain.die()
        self.assertIs(self.mirror.pivot(), S.FAILED)
        self.assertEqual(self.domain.count('pivot'), 0)

    def test_while_aborting(self) -> None:
        """The source holds every write."""
        self.start_ready()
        self.domain.on('abort', self.domain.die)
        self.assertIs(self.mirror.abort(), S.FAILED)


class Pivoting(EngineTest):
    """The point where it may become unknown."""

    def test_too_early(self) -> None:
        """Refused by us."""
        self.mirror.start()
        self.assertRaises(exception.WrongState, self.mirror.pivot)

    def test_refused_by_libvirt(self) -> None:
        """READY again, with its reason, and it may be tried again."""
        self.start_ready()
        self.domain.fail('pivot', exception.DiskBusy('not ready for pivot yet'))
        self.assertIs(self.mirror.pivot(), S.READY)
        self.assertIn('not ready for pivot yet', self.mirror.snapshot().reason)
        self.domain.on('pivot', lambda: self.finishes(DESTINATION, COMPLETED))
        self.assertIs(self.mirror.pivot(), S.PIVOTED)

    def test_the_job_is_gone_before_it(self) -> None:
        """Code 8: no job; the evidence says why."""
        self.start_ready()
        self.domain.ends()
        self.domain.later(0.6, lambda: self.emit(FAILED))
        self.assertIs(self.mirror.pivot(), S.FAILED)

    def test_the_job_fails_within_it(self) -> None:
        """The guest is on the source."""
        self.start_ready()
        self.domain.on('pivot', lambda: self.finishes(SOURCE, FAILED))
        self.assertIs(self.mirror.pivot(), S.FAILED)

    def test_no_evidence_in_time(self) -> None:
        """The deadline ends the waiting; a later call waits on, and asks no second time."""
        self.make(pivot_timeout=5.0)
        self.start_ready()
        self.domain.on('pivot', lambda: self.domain.shows('pivot'))
        self.assertIs(self.mirror.pivot(), S.PIVOTING)
        self.assertRaises(exception.WrongState, self.mirror.abort)
        self.domain.later(2, lambda: self.finishes(DESTINATION, COMPLETED))
        self.assertIs(self.mirror.pivot(), S.PIVOTED)
        self.assertEqual(self.domain.count('pivot'), 1)

    def test_a_call_that_hangs(self) -> None:
        """It may still come through: PIVOTING, though the job is seen ready."""
        self.start_ready()
        asked_before = self.domain.count('job')
        self.domain.fail('pivot', hang('blockJobAbort'))
        self.hypervisor.fake_hanging = (HangingCall('blockJobAbort', Seconds(0.0)),)
        self.assertIs(self.mirror.pivot(), S.PIVOTING)
        self.assertEqual(self.domain.count('job'), asked_before)

    def test_a_call_that_hangs_and_returns(self) -> None:
        """Without an effect: READY again, but a pivot was asked for."""
        self.start_ready()
        self.domain.fail('pivot', hang('blockJobAbort'))
        self.hypervisor.fake_hanging = (HangingCall('blockJobAbort', Seconds(0.0)),)

        def returned() -> None:
            self.hypervisor.fake_hanging = ()

        self.domain.later(5, returned)
        self.assertIs(self.mirror.pivot(), S.READY)
        self.assertTrue(self.mirror.snapshot().may_have_switched)

    def test_libvirtd_killed_within_it(self) -> None:
        """Either outcome: the live XML decides."""
        for source, state in ((DESTINATION, S.PIVOTED), (SOURCE, S.READY)):
            with self.subTest(state=state):
                self.setUp()
                self.start_ready()
                self.domain.fail('pivot', hang('blockJobAbort'))
                self.hypervisor.emit(ConnectionLost('end of file'))
                if source is DESTINATION:
                    self.domain.ends(DESTINATION)
                self.domain.later(4, lambda: self.hypervisor.emit(Reconnected(2)))
                # The event of the loss comes while the call is under way.
                self.mirror._watch._offline = False
                self.assertIs(self.mirror.pivot(), state)


class Aborting(EngineTest):
    """A destination that hangs can hold a job."""

    def test_nothing_to_abort(self) -> None:
        """Refused."""
        self.assertRaises(exception.WrongState, self.mirror.abort)

    def test_a_destination_that_hangs(self) -> None:
        """ABORTING at the deadline; asking again gives code 55, which says nothing new."""
        self.mirror.start()
        self.domain.on('abort', lambda: self.domain.shows('abort'))
        began = self.clock.now
        self.assertIs(self.mirror.abort(), S.ABORTING)
        self.assertAlmostEqual(self.clock.now - began, 60, delta=1)
        self.domain.fail('abort', exception.HypervisorUnavailable('being ended', code=55))
        self.assertIs(self.mirror.abort(), S.ABORTING)
        self.assertEqual(self.domain.count('abort'), 2)
        self.domain.fail('abort', exception.DiskBusy('being ended'))
        self.domain.later(3, lambda: self.finishes(SOURCE, CANCELED))
        self.assertIs(self.mirror.abort(), S.ABORTED)

    def test_a_pivot_of_another_tool_was_faster(self) -> None:
        """Evidence decides here too."""
        self.start_ready()
        self.domain.on('abort', lambda: self.finishes(DESTINATION, COMPLETED))
        self.assertIs(self.mirror.abort(), S.PIVOTED)

    def test_an_abort_that_was_not_sent(self) -> None:
        """No place for the call, at first: it is sent again."""
        self.mirror.start()
        self.domain.fail('abort', exception.HypervisorUnavailable('not called'))
        self.domain.on('abort', lambda: self.finishes(SOURCE, CANCELED))
        self.assertIs(self.mirror.abort(), S.ABORTED)
        self.assertEqual(self.domain.count('abort'), 2)

    def test_an_abort_that_hangs(self) -> None:
        """Its outcome is unknown: not sent again, but looked for."""
        self.mirror.start()
        self.domain.fail('abort', hang('blockJobAbort'))
        self.domain.later(5, lambda: self.finishes(SOURCE, CANCELED))
        self.assertIs(self.mirror.abort(), S.ABORTED)
        self.assertEqual(self.domain.count('abort'), 1)

    def test_a_failure_in_place_of_the_end(self) -> None:
        """FAILED told: a ready copy is not promised to be consistent."""
        self.start_ready()
        self.domain.on('abort', lambda: self.finishes(SOURCE, FAILED))
        self.assertIs(self.mirror.abort(), S.FAILED)
        self.assertFalse(self.mirror.snapshot().end_confirmed)


class Reconnecting(EngineTest):
    """libvirtd is restarted in mid-copy."""

    def test_a_reading_at_once(self) -> None:
        """READY came meanwhile and is not told again."""
        self.mirror.start()

        def back() -> None:
            self.domain.shows('yes')
            self.hypervisor.emit(Reconnected(2))

        self.domain.later(1.2, lambda: self.hypervisor.emit(ConnectionLost('end of file')))
        self.domain.later(20, back)
        began = self.clock.now
        self.assertIs(self.mirror.wait({S.READY}), S.READY)
        self.assertLessEqual(self.clock.now - began, 21)

    def test_no_calls_while_it_is_away(self) -> None:
        """Each would wait for the new connection, and the interrupt with it."""
        self.mirror.start()
        self.hypervisor.emit(ConnectionLost('end of file'))
        self.domain.calls.clear()
        self.assertRaises(exception.TimedOut, self.mirror.wait, {S.READY}, timeout=30.0)
        self.assertEqual(self.domain.calls, [])

    def test_it_failed_meanwhile(self) -> None:
        """No event will come: LOST after the grace, the guest is on the source."""
        self.mirror.start()
        self.domain.ends()
        self.hypervisor.emit(Reconnected(2))
        self.assertIs(self.mirror.wait({S.READY}), S.LOST)

    def test_readings_that_fail(self) -> None:
        """Are borne until a deadline."""
        self.mirror.start()
        error = exception.HypervisorUnavailable('away')
        self.domain.fail('live_disk', *[error] * 5)
        self.domain.fail('job', *[error] * 5)
        self.domain.later(8, self.becomes_ready)
        self.assertIs(self.mirror.wait({S.READY}, timeout=Seconds(30.0)), S.READY)

    def test_the_abort_was_lost(self) -> None:
        """It is asked for again."""
        self.mirror.start()
        self.domain.fail('abort', hang('blockJobAbort'))
        self.domain.later(3, lambda: self.hypervisor.emit(Reconnected(2)))
        self.domain.on('abort', lambda: self.finishes(SOURCE, CANCELED))
        self.assertIs(self.mirror.abort(), S.ABORTED)
