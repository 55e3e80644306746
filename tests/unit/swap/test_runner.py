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
"""A swap that nothing goes wrong with: forward, held, told otherwise, cancelled, left."""

from __future__ import annotations

import time
from unittest import mock

from blockmirror_driver import exception
from blockmirror_driver.swap.request import Ending
from blockmirror_driver.swap.states import SwapState
from blockmirror_driver.virt.domain import CopyFlag
from tests.unit.swap.guest import OTHER, SIZE, SOURCE
from tests.unit.swap.world import WorldTestCase


class ForwardTest(WorldTestCase):
    def test_the_exact_way(self) -> None:
        outcome = self.world.run()
        self.assert_states('copying', 'ready', 'pivoting', 'pivoted', 'verified', 'cleaned')
        self.assert_on_destination()
        self.assertEqual((0, SwapState.CLEANED), (outcome.exit_code, outcome.state))
        self.assertEqual(0, self.world.record().exit_code)
        self.assertIsNotNone(outcome.pivot_seconds)

    def test_the_copy_is_a_transient_job_that_cites_the_disk_s_own_secret(self) -> None:
        self.world.run()
        (call,) = [args for name, args in self.guest.calls if name == 'block_copy']
        self.assertEqual(CopyFlag.REUSE_EXT | CopyFlag.TRANSIENT_JOB, call[-1])
        self.assertNotIn('placeholder', call[1])
        self.assertNotIn('c4n4ry', self.world.record().destination_xml + call[1])

    def test_all_bytes_count_although_the_last_look_at_the_cursor_was_earlier(self) -> None:
        self.guest.ready_after = 0.1
        self.assertEqual(SIZE, self.world.run().bytes_moved)
        self.assertEqual((SIZE, SIZE), (self.world.record().cur, self.world.record().end))

    def test_ready_is_noticed_without_an_event(self) -> None:
        self.guest.events = False
        self.world.run()
        self.assert_on_destination()

    def test_the_pivot_is_on_record_before_it_is_asked_for(self) -> None:
        """A guest that dies with us around it may have written to either side (P6)."""
        seen: list[bool] = []
        self.guest.on('pivot', lambda: seen.append(self.world.record().pivot_requested))
        self.world.run()
        self.assertEqual([True], seen)

    def test_a_transient_guest(self) -> None:
        self.guest.persistent = False
        self.guest.stored_source = None
        outcome = self.world.run()
        self.assertEqual(0, outcome.exit_code)
        self.check()

    def test_a_stale_stored_xml_is_brought_in_line_before_the_copy(self) -> None:
        self.guest.stored_source = OTHER
        seen: list[object] = []
        self.guest.on('block_copy', lambda: seen.append(self.guest.stored_source))
        outcome = self.world.run()
        self.assertEqual([SOURCE], seen)
        self.assertIn('brought in line', ' '.join(outcome.notes))
        self.assert_on_destination()

    def test_a_stored_xml_that_turned_stale_meanwhile_is_brought_in_line_before_the_pivot(
        self,
    ) -> None:
        self.world.later(1.0, lambda: setattr(self.guest, 'stored_source', OTHER))
        seen: list[object] = []
        self.guest.on('pivot', lambda: seen.append(self.guest.stored_source))
        self.world.run()
        self.assertEqual([SOURCE], seen)
        self.assert_on_destination()

    def test_a_disk_that_only_the_running_guest_has(self) -> None:
        self.guest.stored_source = None
        outcome = self.world.run()
        self.assertEqual(0, outcome.exit_code, str(outcome.notes))
        self.assertEqual(0, self.guest.count('rewrite_stored'))
        self.assertIsNone(self.guest.stored_source)

    def test_no_numbers_are_asked_for_at_the_pivot_of_a_copy_that_was_looked_at(self) -> None:
        """The pivot would wait for their answer."""
        self.journal.at[SwapState.READY] = self.guest.calls.clear
        outcome = self.world.run()
        called = [name for name, _args in self.guest.calls]
        self.assertNotIn('job', called[: called.index('pivot')])
        self.assertEqual(SIZE, outcome.bytes_moved)

    def test_the_source_that_the_mark_holds_is_libvirt_s_own_text(self) -> None:
        marks = self._marks()
        self.world.run()
        self.assertIn('virtio-disk0', marks[0])

    def test_the_mark_says_pivoting_before_the_pivot_is_asked_for(self) -> None:
        """From the start, where nobody has to be asked first: the switch need not wait for it."""
        marks = self._marks()
        seen: list[str] = []
        self.guest.on('pivot', lambda: seen.append(self.guest.marked or ''))
        self.world.run()
        self.assertIn('pivoting', marks[0])
        self.assertEqual('', marks[1])
        self.world.later(10.0, lambda: self.world.service.request_pivot(self.world.id))
        self.guest.live_source = self.guest.stored_source = SOURCE
        self.world.run(hold=True)
        self.assertIn('copying', marks[2])
        self.assertIn('pivoting', marks[3])
        self.assertIn('pivoting', seen[0])
        self.assertIn('pivoting', seen[1])

    def test_a_mark_that_could_not_be_written_is_tried_again_before_the_pivot(self) -> None:
        self.guest.fail('set_mark', exception.HypervisorUnavailable('not now'))
        seen: list[str] = []
        self.guest.on('pivot', lambda: seen.append(self.guest.marked or ''))
        self.world.run()
        self.assertIn('pivoting', seen[0])

    def _marks(self) -> list[str]:
        marks: list[str] = []
        self.guest.on('set_mark', lambda: marks.append(self.guest.marked or ''))
        return marks

    def test_what_is_seen_right_before_the_pivot_decides(self) -> None:
        """READY was an event: the reading says that another tool's job is on the disk by now."""
        self.journal.at[SwapState.READY] = lambda: self.guest.shows('yes', OTHER)
        self.assertRaises(exception.StateUnknown, self.world.run)
        self.assertEqual(0, self.guest.count('pivot') + self.guest.count('abort'))
        self.assertFalse(self.world.record().pivot_requested)

    def test_the_intent_is_in_the_journal_before_the_pivot_is_asked_for(self) -> None:
        seen: list[tuple[str, bool]] = []

        def look() -> None:
            record = self.world.record()
            seen.append((record.state.value, record.pivot_requested))

        self.guest.on('pivot', look)
        self.world.run()
        self.assertEqual([('pivoting', True)], seen)

    def test_an_observer_that_fails_does_not_stop_a_swap(self) -> None:
        for where in ('plan', 'state', 'progress', 'ready', 'end'):
            seen: list[str] = []

            def fail(event: object, seen: list[str] = seen, where: str = where) -> None:
                name = getattr(event, 'event', '')
                seen.append(name)
                if name == where:
                    raise BrokenPipeError

            with self.subTest(where):
                self.guest.live_source = self.guest.stored_source = SOURCE
                outcome = self.world.service.run(self.world.request, observer=fail)
                self.assertEqual(0, outcome.exit_code)
                self.assertEqual(1, seen.count(where))


class TellingTest(WorldTestCase):
    def test_held_until_another_process_asks_for_the_pivot(self) -> None:
        self.world.later(100.0, lambda: self.world.service.request_pivot(self.world.id))
        self.world.run(hold=True)
        self.assert_states(
            'copying', 'ready', 'held', 'ready', 'pivoting', 'pivoted', 'verified', 'cleaned'
        )
        self.assertFalse(self.world.record().hold)

    def test_held_by_request_and_let_go_by_request(self) -> None:
        service = self.world.service
        self.world.later(1.0, lambda: service.request_hold(self.world.id, True))
        self.world.later(50.0, lambda: service.request_hold(self.world.id, False))
        self.world.run()
        self.assertIn('held', self.world.states())
        self.assert_on_destination()

    def test_held_until_a_time(self) -> None:
        """It goes on by itself, then and not before."""
        began = self.world.clock.now
        self.guest.on('pivot', lambda: asked.append(self.world.clock.now - began))
        asked: list[float] = []
        self.world.run(hold=True, hold_until=time.time() + 100)
        self.assertIn('held', self.world.states())
        self.assertEqual(1, len(asked))
        self.assertTrue(99 < asked[0] < 103, asked)
        self.assert_on_destination()

    def test_a_time_that_has_come_when_the_copy_is_ready(self) -> None:
        self.world.run(hold=True, hold_until=time.time() + 0.5)
        self.assertNotIn('held', self.world.states())
        self.assert_on_destination()

    def test_an_operator_goes_on_before_the_time(self) -> None:
        service = self.world.service
        self.world.later(50.0, lambda: service.request_pivot(self.world.id))
        self.world.run(hold=True, hold_until=time.time() + 5000)
        self.assert_on_destination()
        self.assertLess(self.world.clock.now, 4000)

    def test_an_operator_s_hold_counts_more_than_the_time(self) -> None:
        """Also for whoever takes the swap up later."""
        service = self.world.service
        self.world.later(50.0, lambda: service.request_hold(self.world.id, True))
        self.world.later(500.0, lambda: service.request_pivot(self.world.id))
        seen: list[tuple[bool, bool]] = []

        def look() -> None:
            record = self.world.record()
            seen.append((record.hold, 'hold_until' in record.options))

        self.world.later(400.0, look)
        self.world.run(hold=True, hold_until=time.time() + 100)
        self.assertEqual([(True, False)], seen)
        self.assert_on_destination()

    def test_another_speed(self) -> None:
        self.world.later(1.0, lambda: self.world.service.request_speed(self.world.id, 4096))
        self.world.run()
        self.assertEqual(4096, self.world.record().bandwidth)
        self.assertEqual(1, self.guest.count('set_speed'))

    def test_a_speed_that_libvirt_refuses_is_a_note(self) -> None:
        self.guest.fail('set_speed', exception.HypervisorUnavailable('no'))
        self.world.later(1.0, lambda: self.world.service.request_speed(self.world.id, 4096))
        outcome = self.world.run()
        self.assertIn('speed could not be changed', ' '.join(outcome.notes))
        self.assertEqual(0, self.world.record().bandwidth)

    def test_finish(self) -> None:
        outcome = self.world.run(ending=Ending.FINISH)
        self.assert_states('copying', 'ready', 'cancelling', 'finished')
        self.assert_clean_on_source()
        self.assertEqual((0, SIZE), (outcome.exit_code, outcome.bytes_moved))

    def test_an_abort_that_nobody_confirmed_finishes_nothing(self) -> None:
        self.guest.events = False
        error = self.assertRaises(exception.CopyFailed, self.world.run, ending=Ending.FINISH)
        self.assertEqual(6, error.exit_code)
        self.assert_states('copying', 'ready', 'cancelling', 'reverted')
        self.assert_clean_on_source()

    def test_async(self) -> None:
        outcome = self.world.run(ending=Ending.ASYNC)
        self.assertEqual((0, SwapState.COPYING), (outcome.exit_code, outcome.state))
        self.assertIn('vda', self.guest.jobs)
        self.assertIsNone(self.world.record().owner)
        self.assert_states('copying')

    def test_only_one_that_is_followed_begins_slowly(self) -> None:
        """Nobody would lift the limit of a copy that is left running."""
        self.world.run(ending=Ending.FINISH, latency_target=0.01)
        self.world.run(ending=Ending.ASYNC, latency_target=0.01)
        begun = [args[2] for name, args in self.guest.calls if name == 'block_copy']
        self.assertEqual([32 << 20, 0], begun)

    def test_left_running(self) -> None:
        for state, hold in ((SwapState.COPYING, False), (SwapState.HELD, True)):
            with self.subTest(state):
                world = self.world
                when = 1.0 if state is SwapState.COPYING else 10.0
                world.later(when, world.service.leave)
                outcome = world.run(hold=hold)
                self.assertEqual((130, state), (outcome.exit_code, outcome.state))
                self.assertIn('vda', self.guest.jobs)
                self.assertFalse(world.record().owner_alive)
                self.check()
                world.service.recover(action='cancel')

    def test_what_was_wished_of_one_swap_is_not_wished_of_the_next(self) -> None:
        self.world.later(1.0, self.world.service.cancel_local)
        self.assertRaises(exception.Cancelled, self.world.run)
        self.assertEqual(0, self.world.run().exit_code)


class CancelTest(WorldTestCase):
    def test_while_copying(self) -> None:
        self.world.later(1.0, self.world.service.cancel_local)
        error = self.assertRaises(exception.Cancelled, self.world.run)
        self.assertEqual(self.world.id, error.swap_id)
        self.assert_states('copying', 'cancelling', 'reverted')
        self.assert_clean_on_source()
        self.assertEqual(5, self.world.record().exit_code)

    def test_before_the_copy_began(self) -> None:
        self.hypervisor.on('probe', self.world.service.cancel_local)
        self.assertRaises(exception.Cancelled, self.world.run)
        self.assert_states('reverted')
        self.assertEqual(0, self.guest.count('block_copy'))
        self.assert_clean_on_source()

    def test_while_ready(self) -> None:
        self.journal.at[SwapState.READY] = self.world.service.cancel_local
        self.assertRaises(exception.Cancelled, self.world.run)
        self.assert_states('copying', 'ready', 'cancelling', 'reverted')
        self.assert_clean_on_source()

    def test_while_held_by_another_process(self) -> None:
        self.world.later(10.0, lambda: self.world.service.request_cancel(self.world.id))
        self.assertRaises(exception.Cancelled, self.world.run, hold=True)
        self.assert_states('copying', 'ready', 'held', 'cancelling', 'reverted')
        self.assert_clean_on_source()

    def test_once_pivoting_it_is_too_late(self) -> None:
        self.journal.at[SwapState.PIVOTING] = self.world.service.cancel_local
        self.assertEqual(0, self.world.run().exit_code)
        self.assert_on_destination()

    def test_after_a_refused_pivot_it_is_not(self) -> None:
        self.guest.pivots = ['refuse']
        self.journal.at[SwapState.PIVOTING] = self.world.service.cancel_local
        self.assertRaises(exception.Cancelled, self.world.run)
        self.assert_clean_on_source()

    def test_another_tool_was_faster_with_a_pivot(self) -> None:
        self.guest.abort_hangs = True
        self.guest.on('abort', lambda: self.world.later(1.0, self.guest.switches))
        self.world.later(1.0, self.world.service.cancel_local)
        self.assertEqual(0, self.world.run().exit_code)
        self.assert_states('copying', 'cancelling', 'pivoted', 'verified', 'cleaned')
        self.assert_on_destination()

    def test_a_second_wish_does_not_wait_for_a_destination_that_hangs(self) -> None:
        self.guest.abort_hangs = True
        self.world.later(1.0, self.world.service.cancel_local)
        self.world.later(3.0, self.world.service.leave)
        began = self.world.clock.now
        error = self.assertRaises(exception.Cancelled, self.world.run, abort_timeout=600.0)
        self.assertLess(self.world.clock.now - began, 60.0)
        self.assertIn('recover', error.hint)
        self.assert_states('copying', 'cancelling')

    def test_requests_are_seen_although_the_journal_can_not_be_written(self) -> None:
        def ask_and_fill() -> None:
            self.world.service.request_cancel(self.world.id)
            self.journal.db.full = True

        self.world.later(1.0, ask_and_fill)
        self.assertRaises(exception.Cancelled, self.world.run)
        self.assertEqual(1, self.guest.count('abort'))
        self.assertEqual(SOURCE, self.guest.live_source)

    def test_requests_that_can_not_be_read_are_none(self) -> None:
        broken = mock.patch.object(
            self.journal, 'requests', side_effect=exception.JournalUnusable('no')
        )
        with broken:
            self.assertEqual(0, self.world.run().exit_code)
