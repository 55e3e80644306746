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
"""Whatever goes wrong before the switch leaves the guest on the source, or is called unknown."""

from __future__ import annotations

from blockmirror_driver import exception
from blockmirror_driver.model import Seconds
from blockmirror_driver.swap.request import Ending
from blockmirror_driver.swap.states import SwapState
from blockmirror_driver.virt.calls import HangingCall
from blockmirror_driver.virt.events import BlockJobStatus
from tests.unit.swap.guest import DEV, OTHER, SOURCE
from tests.unit.swap.world import WorldTestCase

LOST = exception.HypervisorUnavailable('the connection broke', outcome_unknown=True)


class StartTest(WorldTestCase):
    def test_each_refusal_of_the_start_reverts_with_its_own_error(self) -> None:
        for error in (
            exception.DestinationUnusable('no such image'),
            exception.SecretUnavailable('no secret'),
            exception.DiskBusy('a job is there'),
            exception.HypervisorUnavailable('refused', code=9),
            exception.DomainNotFound('not running'),
        ):
            with self.subTest(type(error).__name__):
                self.guest.fail('block_copy', error)
                self.assertIs(error, self.assertRaises(type(error), self.world.run))
                self.assert_states('copying', 'reverted')
                self.assert_clean_on_source()
                self.assertEqual(3, self.world.record().exit_code)

    def test_a_job_that_was_there_first_is_not_touched(self) -> None:
        self.journal.at[SwapState.COPYING] = self.guest.foreign
        self.assertRaises(exception.DiskBusy, self.world.run)
        self.assert_states('copying', 'reverted')
        self.assertIn(DEV, self.guest.jobs)
        self.assertEqual(0, self.guest.count('abort'))

    def test_a_copy_of_another_tool_to_our_destination_is_not_touched_either(self) -> None:
        self.journal.at[SwapState.COPYING] = lambda: self.guest.shows('no')
        self.assertRaises(exception.DiskBusy, self.world.run)
        self.assert_states('copying', 'reverted')
        self.assertEqual(0, self.guest.count('abort'))

    def test_a_start_that_failed_on_our_side_only_is_ended(self) -> None:
        self.journal.at[SwapState.COPYING] = lambda: self.guest.shows('no')
        self.guest.fail('block_copy', exception.DestinationUnusable('so it says'))
        self.assertRaises(exception.DestinationUnusable, self.world.run)
        self.assert_states('copying', 'cancelling', 'reverted')
        self.assert_clean_on_source()

    def test_an_answer_that_was_lost_although_the_job_runs(self) -> None:
        self.guest.fail('block_copy', LOST)
        self.world.later(0.5, lambda: self.guest.shows('no'))
        self.world.later(3.0, self.guest.ready)
        self.assertEqual(0, self.world.run().exit_code)
        self.assert_on_destination()

    def test_an_answer_that_never_comes_is_unknown(self) -> None:
        """The call may still be under way: a job may appear when the destination answers."""
        self.guest.fail('block_copy', LOST)
        self.hypervisor.fake_hanging = (HangingCall('blockCopy', Seconds(0.0)),)
        error = self.assertRaises(exception.StateUnknown, self.world.run)
        self.assertIn('may still be started', error.message)
        self.assert_states('copying', 'unknown')
        self.assertFalse(self.world.record().owner_alive)

    def test_an_answer_that_was_lost_with_the_call(self) -> None:
        self.guest.fail('block_copy', LOST)
        self.assertRaises(exception.HypervisorUnavailable, self.world.run)
        self.assert_states('copying', 'reverted')
        self.assert_clean_on_source()

    def test_libvirt_away_for_good_at_the_start(self) -> None:
        def away() -> None:
            self.hypervisor.away = True

        self.journal.at[SwapState.COPYING] = away
        error = self.assertRaises(exception.StateUnknown, self.world.run)
        self.assertIn('libvirt does not answer', error.message)
        self.assert_states('copying', 'unknown')


class CopyTest(WorldTestCase):
    def _fails(self, kind: type[exception.BlockmirrorError], **options: float) -> None:
        self.assertRaises(kind, self.world.run, **options)
        self.assert_clean_on_source()

    def test_the_job_failed(self) -> None:
        self.world.later(1.0, lambda: self.guest.ends(BlockJobStatus.FAILED))
        self._fails(exception.CopyFailed)
        self.assert_states('copying', 'reverted')

    def test_the_job_failed_when_it_was_ready(self) -> None:
        self.world.later(10.0, lambda: self.guest.ends(BlockJobStatus.FAILED))
        self.assertRaises(exception.CopyFailed, self.world.run, hold=True)
        self.assert_states('copying', 'ready', 'held', 'reverted')
        self.assert_clean_on_source()

    def test_the_job_vanished(self) -> None:
        self.world.later(1.0, self.guest.ends)
        self._fails(exception.JobLost)

    def test_another_tool_cancelled_it(self) -> None:
        self.world.later(1.0, lambda: self.guest.ends(BlockJobStatus.CANCELED))
        self._fails(exception.CopyFailed)

    def test_another_tool_is_cancelling_it_and_the_destination_hangs(self) -> None:
        self.journal.at[SwapState.PIVOTING] = lambda: self.guest.shows('abort')
        self.guest.pivots = ['vanish']
        self.guest.on('pivot', lambda: self.guest.shows('abort'))
        self.guest.abort_hangs = True
        error = self.assertRaises(exception.CopyFailed, self.world.run)
        self.assertIn('when the destination answers', error.message)
        self.assert_states('copying', 'ready', 'pivoting', 'ready', 'cancelling')

    def test_a_deadline(self) -> None:
        self.guest.ready_after = None
        self._fails(exception.TimedOut, copy_timeout=30.0, stall_after=1000.0)
        self.assertEqual(4, self.world.record().exit_code)

    def test_a_stall(self) -> None:
        self.guest.ready_after = None
        self._fails(exception.Stalled, stall_after=5.0, stall_timeout=20.0)

    def test_an_abort_that_never_ends(self) -> None:
        self.guest.ready_after, self.guest.abort_hangs = None, True
        error = self.assertRaises(exception.TimedOut, self.world.run, copy_timeout=30.0)
        self.assertEqual(4, error.exit_code)
        self.assertIn('when the destination answers', error.message)
        self.assertIn(f'blockmirror recover {self.world.id}', error.hint)
        self.assert_states('copying', 'cancelling')
        record = self.world.record()
        self.assertEqual((4, None), (record.exit_code, record.owner))

    def test_finishing_never_ends(self) -> None:
        self.guest.abort_hangs = True
        self.assertRaises(exception.TimedOut, self.world.run, ending=Ending.FINISH)
        self.assert_states('copying', 'ready', 'cancelling')
        self.assertEqual(1, self.guest.count('abort'))

    def test_a_foreign_job_takes_the_disk(self) -> None:
        self.world.later(1.0, self.guest.foreign)
        error = self.assertRaises(exception.StateUnknown, self.world.run)
        self.assertEqual(7, error.exit_code)
        self.assert_states('copying', 'unknown')
        self.assertEqual(0, self.guest.count('abort'))

    def test_a_foreign_job_is_neither_pivoted_nor_aborted_though_it_gets_ready(self) -> None:
        def ready() -> None:
            self.guest.shows('yes', OTHER)
            self.guest.emit_job(DEV, BlockJobStatus.READY)

        self.world.later(1.5, ready)
        self.assertRaises(exception.StateUnknown, self.world.run, poll_interval=60.0)
        self.assertEqual(0, self.guest.count('abort') + self.guest.count('pivot'))
        self.assertEqual('unknown', self.world.states()[-1])

    def test_one_that_comes_while_the_end_is_written_down_is_not_aborted(self) -> None:
        self.journal.at[SwapState.CANCELLING] = self.guest.foreign
        self.world.later(1.0, self.world.service.cancel_local)
        self.assertRaises(exception.StateUnknown, self.world.run)
        self.assertEqual(0, self.guest.count('abort'))
        self.assert_states('copying', 'cancelling', 'unknown')

    def test_cancel_does_not_abort_a_foreign_job(self) -> None:
        self.guest.ready_after = None
        self.world.later(6.0, self.guest.foreign)
        self.world.later(6.5, self.world.service.cancel_local)
        self.assertRaises(exception.StateUnknown, self.world.run, poll_interval=60.0)
        self.assertEqual(0, self.guest.count('abort'))

    def test_somebody_changed_the_disk(self) -> None:
        def change() -> None:
            self.guest.ends()
            self.guest.live_source = OTHER

        self.world.later(1.0, change)
        self.assertRaises(exception.StateUnknown, self.world.run)
        self.assert_states('copying', 'unknown')

    def test_somebody_took_the_disk_out(self) -> None:
        def change() -> None:
            self.guest.ends()
            self.guest.live_source = None

        self.world.later(1.0, change)
        self.assertRaises(exception.StateUnknown, self.world.run)
        self.assert_states('copying', 'unknown')


class GuestGoneTest(WorldTestCase):
    def test_while_copying(self) -> None:
        self.world.later(1.0, self.guest.die)
        self.assertRaises(exception.GuestGone, self.world.run)
        self.assert_states('copying', 'reverted')
        self.assertEqual(set(), self.secrets.kept)

    def test_while_held_a_transient_one(self) -> None:
        self.guest.persistent, self.guest.stored_source = False, None
        self.world.later(10.0, self.guest.die)
        self.assertRaises(exception.GuestGone, self.world.run, hold=True)
        self.assert_states('copying', 'ready', 'held', 'reverted')

    def test_around_the_pivot(self) -> None:
        self.guest.pivots = ['die']
        self.assertRaises(exception.StateUnknown, self.world.run)
        self.assert_states('copying', 'ready', 'pivoting', 'unknown')
        self.assertTrue(self.secrets.kept, 'both volumes are kept usable')

    def test_around_the_pivot_and_started_again(self) -> None:
        """It runs on its source again; what it wrote before may be on the destination."""

        def restart() -> None:
            self.guest.die()
            self.guest.start_again()

        self.guest.pivots = ['never']
        self.guest.on('pivot', lambda: self.world.later(0.1, restart))
        self.assertRaises(exception.StateUnknown, self.world.run)
        self.assert_states('copying', 'ready', 'pivoting', 'unknown')

    def test_after_the_pivot_the_stored_xml_tells(self) -> None:
        def switch_and_die() -> None:
            self.guest.switches()
            self.guest.die()

        self.guest.pivots = ['never']
        self.guest.on('pivot', lambda: self.world.later(0.1, switch_and_die))
        self.assertEqual(0, self.world.run().exit_code)

    def test_after_the_pivot_of_a_transient_one_the_evidence_had_been_there(self) -> None:
        self.guest.persistent, self.guest.stored_source = False, None
        self.journal.at[SwapState.PIVOTED] = self.guest.die
        outcome = self.world.run()
        self.assertEqual((0, SwapState.CLEANED), (outcome.exit_code, outcome.state))

    def test_in_a_pivot_of_another_tool(self) -> None:
        self.world.later(1.0, lambda: self.guest.shows('pivot'))
        self.world.later(9.0, self.guest.die)
        self.assertRaises(exception.StateUnknown, self.world.run)
        self.assertTrue(self.world.record().pivot_requested, 'recovery has to know of it')

    def test_after_a_pivot_that_was_refused_for_certain(self) -> None:
        self.guest.pivots = ['refuse']
        self.journal.at[SwapState.PIVOTING] = lambda: self.journal.at.update(
            {SwapState.READY: self.guest.die}
        )
        self.assertRaises(exception.GuestGone, self.world.run)
        self.assertEqual(SwapState.REVERTED, self.world.record().state)

    def test_after_a_pivot_that_nothing_came_of(self) -> None:
        """It was answered and did not happen, which is less certain than a refusal."""
        self.guest.pivots = ['vanish']
        self.journal.at[SwapState.PIVOTING] = lambda: self.journal.at.update(
            {SwapState.READY: self.guest.die}
        )
        self.assertRaises(exception.StateUnknown, self.world.run)


class PivotTest(WorldTestCase):
    def test_refused_once(self) -> None:
        self.guest.pivots = ['refuse']
        self.assertEqual(0, self.world.run().exit_code)
        self.assert_states(
            'copying', 'ready', 'pivoting', 'ready', 'pivoting', 'pivoted', 'verified', 'cleaned'
        )
        self.assert_on_destination()

    def test_refused_three_times(self) -> None:
        self.guest.pivots = ['refuse'] * 3
        error = self.assertRaises(exception.TimedOut, self.world.run)
        self.assertEqual(4, error.exit_code)
        self.assertEqual('reverted', self.world.states()[-1])
        self.assert_clean_on_source()
        self.assertFalse(self.world.record().pivot_requested)

    def test_it_fails(self) -> None:
        self.guest.pivots = ['fail']
        self.assertRaises(exception.CopyFailed, self.world.run)
        self.assert_states('copying', 'ready', 'pivoting', 'reverted')
        self.assert_clean_on_source()

    def test_its_deadline_passes(self) -> None:
        self.guest.pivots = ['never']
        self.assertRaises(exception.StateUnknown, self.world.run)
        self.assert_states('copying', 'ready', 'pivoting', 'unknown')
        self.assertTrue(self.world.record().pivot_requested)
        self.assertIsNone(self.world.record().owner)

    def test_libvirt_is_away_from_the_pivot_on(self) -> None:
        def away() -> None:
            self.hypervisor.away = True

        self.journal.at[SwapState.PIVOTING] = away
        self.assertRaises(exception.StateUnknown, self.world.run)
        self.assert_states('copying', 'ready', 'pivoting', 'unknown')

    def test_libvirt_is_away_for_a_while(self) -> None:
        def away() -> None:
            self.hypervisor.away = True
            self.world.later(20.0, back)

        def back() -> None:
            self.hypervisor.away = False
            self.guest.switches()

        self.journal.at[SwapState.PIVOTING] = away
        self.assertEqual(0, self.world.run().exit_code)
        self.assert_on_destination()

    def test_a_condition_of_it_can_not_be_had(self) -> None:
        """The stored XML can't be brought in line: no pivot, back to the source."""
        self.world.later(1.0, lambda: setattr(self.guest, 'stored_source', OTHER))
        self.guest.fail('rewrite_stored', exception.HypervisorUnavailable('read-only'))
        error = self.assertRaises(exception.CopyFailed, self.world.run)
        self.assertEqual(6, error.exit_code)
        self.assertEqual(0, self.guest.count('pivot'))
        self.assert_states('copying', 'ready', 'pivoting', 'ready', 'cancelling', 'reverted')
        self.assert_clean_on_source()

    def test_libvirt_is_restarted_while_the_evidence_is_read(self) -> None:
        """Nothing was asked for yet, and the copy is whole: it is read again, and goes on."""
        self.journal.at[SwapState.READY] = lambda: self.guest.fail('stored_disk', LOST)
        self.assertEqual(0, self.world.run().exit_code)
        self.assert_states('copying', 'ready', 'pivoting', 'pivoted', 'verified', 'cleaned')
        self.assert_on_destination()

    def test_libvirt_does_not_answer_when_it_is_read_again(self) -> None:
        self.journal.at[SwapState.READY] = lambda: self.guest.fail('stored_disk', LOST, LOST)
        self.assertRaises(exception.CopyFailed, self.world.run)
        self.assertEqual(0, self.guest.count('pivot'))
        self.assert_clean_on_source()

    def test_a_guest_that_is_gone_before_a_pivot_is_asked_for(self) -> None:
        """It can't have switched, so that nobody need look."""
        self.journal.at[SwapState.READY] = self.guest.die
        self.assertRaises(exception.GuestGone, self.world.run)
        self.assertEqual(0, self.guest.count('pivot'))
        self.assert_states('copying', 'ready', 'pivoting', 'ready', 'cancelling', 'reverted')
        self.assertFalse(self.world.record().pivot_requested)

    def test_another_tool_pivots_while_copying(self) -> None:
        def pivot() -> None:
            self.guest.shows('pivot')
            self.world.later(7.0, self.guest.switches)

        self.world.later(1.0, pivot)
        self.assertEqual(0, self.world.run().exit_code)
        self.assert_states('copying', 'pivoted', 'verified', 'cleaned')
        self.assert_on_destination()

    def test_another_tool_pivots_what_was_to_be_finished(self) -> None:
        self.world.later(5.0, self.guest.switches)
        self.assertEqual(0, self.world.run(ending=Ending.FINISH, hold=True).exit_code)
        self.assert_on_destination()

    def test_another_tool_s_pivot_fails_and_ours_goes_on(self) -> None:
        def pivot() -> None:
            self.guest.shows('pivot')
            self.world.later(7.0, lambda: self.guest.shows('yes'))

        self.world.later(1.0, pivot)
        self.assertEqual(0, self.world.run().exit_code)
        self.assert_on_destination()

    def test_cancel_waits_for_another_tool_s_pivot(self) -> None:
        for ends in (self.guest.switches, lambda: self.guest.shows('yes')):
            with self.subTest(str(ends)):
                self.guest.live_source = self.guest.stored_source = SOURCE
                self.secrets.kept.clear()
                self.world.later(1.0, lambda: self.guest.shows('pivot'))
                self.world.later(9.0, self.world.service.cancel_local)
                self.world.later(12.0, ends)
                if ends == self.guest.switches:
                    self.assertEqual(0, self.world.run().exit_code)
                    self.assert_on_destination()
                else:
                    self.assertRaises(exception.Cancelled, self.world.run)
                    self.assert_clean_on_source()

    def test_cancel_during_another_tool_s_pivot_that_does_not_end(self) -> None:
        """Neither side can be promised."""
        self.world.later(1.0, lambda: self.guest.shows('pivot'))
        self.world.later(9.0, self.world.service.cancel_local)
        self.assertRaises(exception.StateUnknown, self.world.run)
        self.assertEqual(0, self.guest.count('pivot'))
        self.assert_states('copying', 'unknown')
