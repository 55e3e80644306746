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
"""What a dead process left is brought to an end by evidence, by exactly one."""

from __future__ import annotations

import json
import threading
from dataclasses import replace

from blockmirror_driver import exception
from blockmirror_driver.model import Source
from blockmirror_driver.swap import evidence, owner
from blockmirror_driver.swap.reconcile import Job, Side
from blockmirror_driver.swap.record import RecoverResult
from blockmirror_driver.swap.request import Ending
from blockmirror_driver.swap.states import SwapState
from tests.unit.swap.guest import DESTINATION, DEV, OTHER, SOURCE
from tests.unit.swap.orphans import RecoverTestCase


class RecoverTest(RecoverTestCase):
    def test_what_was_never_started_is_reverted_whatever_is_on_the_disk(self) -> None:
        """Its destination may cite the placeholder of a secret that was never defined."""
        for state in (SwapState.PLANNED, SwapState.PREPARED):
            with self.subTest(state):
                self.guest.foreign()
                self.orphan(state)
                result = self.recover()
                self.assertEqual((SwapState.REVERTED, 6), (result.state, result.exit_code))
                self.assertEqual(set(), self.secrets.kept)
                self.assertIn(DEV, self.guest.jobs)

    def test_a_running_copy_is_taken_to_its_end(self) -> None:
        self.orphan(SwapState.COPYING)
        self.guest.shows('no')
        self.world.later(3.0, self.guest.ready)
        result = self.recover()
        self.assertEqual((SwapState.CLEANED, 0), (result.state, result.exit_code))
        self.assert_on_destination()

    def test_a_held_one_stays_held_until_told(self) -> None:
        row = self.orphan(SwapState.HELD, hold=True)
        self.guest.shows('yes')
        self.world.later(100.0, lambda: self.world.service.request_pivot(row.id))
        self.assertEqual(0, self.recover().exit_code)
        told = [step.state.value for step in self.journal.steps(row.id)]
        self.assertEqual(['held', 'ready', 'held', 'ready', 'pivoting'], told[:5])

    def test_cancel(self) -> None:
        for state in (SwapState.COPYING, SwapState.HELD, SwapState.PIVOTING, SwapState.UNKNOWN):
            with self.subTest(state):
                self.orphan(state)
                self.guest.shows('yes')
                result = self.recover(action='cancel')
                self.assertEqual((SwapState.REVERTED, 5), (result.state, result.exit_code))
                self.assert_clean_on_source()

    def test_a_cancel_goes_on_with_the_code_of_its_cause(self) -> None:
        for code in (4, 5, 6):
            with self.subTest(code):
                row = self.orphan(SwapState.CANCELLING, exit_code=code, detail='why')
                self.guest.shows('abort')
                self.guest.abort_hangs = True
                self.assertEqual((SwapState.CANCELLING, code), self._state_and_code())
                self.assertEqual((SwapState.CANCELLING, code), self._state_and_code())
                text = self.journal.record(row.id).detail
                self.assertEqual(1, text.count('when the destination answers'), text)
                self.guest.abort_hangs = False
                self.assertEqual((SwapState.REVERTED, code), self._state_and_code())
                self.assertEqual(code, self.journal.record(row.id).exit_code)
                self.assert_clean_on_source()

    def _state_and_code(self) -> tuple[SwapState, int]:
        result = self.recover()
        return result.state, result.exit_code

    def test_an_interrupted_finish_is_no_whole_copy(self) -> None:
        self.orphan(SwapState.CANCELLING, ending=Ending.FINISH)
        self.guest.shows('yes')
        self.assertEqual((SwapState.REVERTED, 6), self._state_and_code())

    def test_a_pivot_under_way_is_waited_for(self) -> None:
        self.orphan(SwapState.PIVOTING)
        self.guest.shows('pivot')
        self.world.later(5.0, self.guest.switches)
        self.assertEqual((SwapState.CLEANED, 0), self._state_and_code())
        self.assertEqual(0, self.guest.count('pivot'))

    def test_a_pivot_that_does_not_end_is_unknown(self) -> None:
        for action in ('resume', 'cancel'):
            with self.subTest(action):
                row = self.orphan(SwapState.PIVOTING)
                self.guest.shows('pivot')
                result = self.recover(action=action)
                self.assertEqual((SwapState.UNKNOWN, 7), (result.state, result.exit_code))
                self.assertEqual(0, self.guest.count('abort'))
                self.guest.ends()
                # Nothing tells how it ended, and libvirtd may have died meanwhile.
                self.assertEqual((SwapState.UNKNOWN, 7), self._state_and_code())
                self.world.service.resolve(row.id, 'source')
                self.assertEqual(SwapState.REVERTED, self.journal.record(row.id).state)

    def test_an_unknown_one_whose_job_is_there_is_taken_up(self) -> None:
        self.orphan(SwapState.UNKNOWN)
        self.guest.shows('yes')
        self.assertEqual((SwapState.CLEANED, 0), self._state_and_code())

    def test_left_again_while_it_was_unknown(self) -> None:
        self.orphan(SwapState.UNKNOWN)
        self.guest.shows('no')
        self.world.later(1.0, self.world.service.leave)
        self.assertEqual((SwapState.COPYING, 130), self._state_and_code())

    def test_libvirt_away_changes_nothing(self) -> None:
        row = self.orphan(SwapState.COPYING)
        self.guest.fail('live_disk', exception.HypervisorUnavailable('away'))
        result = self.recover()
        self.assertEqual((SwapState.COPYING, 3), (result.state, result.exit_code))
        self.assertIsNone(self.journal.record(row.id).owner)

    def test_a_verified_one_only_needs_cleaning(self) -> None:
        self.orphan(SwapState.VERIFIED)
        self.shows(Job.NONE, Side.DESTINATION, Side.DESTINATION)
        self.guest.fail('set_mark', exception.HypervisorUnavailable('no'))
        self.guest.marked = '<swaps/>'
        self.assertEqual((SwapState.CLEANED, 0), self._state_and_code())

    def test_what_had_switched_and_is_elsewhere_now_is_for_an_operator(self) -> None:
        row = self.orphan(SwapState.PIVOTED)
        self.shows(Job.NONE, Side.OTHER, Side.OTHER)
        self.assertEqual((SwapState.UNKNOWN, 7), self._state_and_code())
        self.assertRaises(exception.WrongState, self.world.service.resolve, row.id, 'destination')
        settled = self.world.service.resolve(row.id, 'source')
        self.assertEqual(SwapState.REVERTED, settled.state)
        self.assertEqual(OTHER, self.guest.stored_source)

    def test_a_disk_that_was_taken_out(self) -> None:
        row = self.orphan(SwapState.COPYING)
        self.shows(Job.NONE, Side.ABSENT, Side.ABSENT)
        self.assertEqual((SwapState.UNKNOWN, 7), self._state_and_code())
        self.assertEqual(SwapState.REVERTED, self.world.service.resolve(row.id, 'source').state)

    def _restarted(self, state: SwapState, on: Source) -> tuple[SwapState, int]:
        run = evidence.run_of(self.guest.text(SOURCE, live=True))
        self.orphan(state, guest_run=run)
        self.guest.stored_source = on
        self.guest.die()
        self.guest.start_again()
        return self._state_and_code()

    def test_a_guest_that_was_started_again_after_a_requested_pivot_decides_nothing(self) -> None:
        """As after a reboot of the host with autostart: its last writes may be elsewhere."""
        self.assertEqual((SwapState.UNKNOWN, 7), self._restarted(SwapState.PIVOTING, SOURCE))
        self.assertEqual((SwapState.UNKNOWN, 7), self._state_and_code())
        settled = self.world.service.resolve(self.world.id, 'source')
        self.assertEqual(SwapState.REVERTED, settled.state)

    def test_a_guest_that_was_started_again_before_any_pivot_lost_nothing(self) -> None:
        self.assertEqual((SwapState.REVERTED, 6), self._restarted(SwapState.COPYING, SOURCE))

    def test_a_guest_that_was_started_again_on_the_destination(self) -> None:
        for state in (SwapState.PIVOTING, SwapState.PIVOTED):
            with self.subTest(state):
                self.guest.live_source = SOURCE
                self.assertEqual(
                    (SwapState.CLEANED, 0), self._restarted(state, DESTINATION.source)
                )

    def test_options_of_another_release_are_no_obstacle(self) -> None:
        for text in (json.dumps({'copy_timeout': 5.0, 'new': 1}), '{"method": "magic"}'):
            with self.subTest(text):
                self.orphan(SwapState.COPYING, options=text)
                self.assertEqual((SwapState.REVERTED, 6), self._state_and_code())

    def test_a_second_run_finds_nothing_to_do(self) -> None:
        self.orphan(SwapState.READY)
        self.recover()
        self.assertEqual((), self.world.service.recover())

    def test_what_is_left_over_from_a_mark_is_taken_off(self) -> None:
        self.world.later(1.0, self.world.service.cancel_local)
        self.guest.fail('set_mark', None, exception.HypervisorUnavailable('no'))
        self.assertRaises(exception.Cancelled, self.world.run)
        self.assertIsNotNone(self.guest.marked)
        self.world.service.recover()
        self.assertIsNone(self.guest.marked)

    def test_tidying_up_that_fails_takes_no_result_away(self) -> None:
        self.orphan(SwapState.COPYING)
        self.secrets.fail('sweep', exception.HypervisorUnavailable('no'))
        self.assertEqual((SwapState.REVERTED, 6), self._state_and_code())

    def test_a_cancel_is_about_the_swap_under_way_only(self) -> None:
        self.orphan(SwapState.COPYING, created_at=1.0)
        second = self.orphan(SwapState.COPYING, created_at=2.0, dev='vdb')
        self.guest.shows('no')
        self.world.later(1.0, self.world.service.cancel_local)
        self.assertEqual((SwapState.REVERTED, 5), self._state_and_code())
        self.assertEqual(SwapState.COPYING, self.journal.record(second.id).state)
        self.assertFalse(self.journal.record(second.id).owner_alive)

    def test_those_on_hold_come_last(self) -> None:
        held = self.orphan(SwapState.HELD, hold=True, created_at=1.0)
        other = self.orphan(SwapState.COPYING, created_at=2.0, dev='vdb')
        results = self.world.service.recover()
        self.assertEqual([other.id, held.id], [result.swap_id for result in results])


class OwnershipTest(RecoverTestCase):
    def test_a_living_owner_is_left_alone(self) -> None:
        parent = owner._start_time(1)
        assert parent is not None
        living = replace(owner.Owner.current(), pid=1, start_time=parent)
        row = self.orphan(SwapState.COPYING, owner=living)
        self.assertEqual((), self.world.service.recover())
        self.assertRaises(exception.SwapNotOwned, self.world.service.recover, row.id)

    def test_another_thread_of_this_process_is_left_alone(self) -> None:
        seen: list[object] = []

        def meddle() -> None:
            service = self.world.new_service()
            seen.append(service.recover())
            seen.append(self.assertRaises(exception.SwapNotOwned, service.recover, self.world.id))

        def in_a_thread() -> None:
            thread = threading.Thread(target=meddle)
            thread.start()
            thread.join()

        self.journal.at[SwapState.READY] = in_a_thread
        self.assertEqual(0, self.world.run().exit_code)
        self.assertEqual((), seen[0])
        self.assertEqual(2, len(seen))

    def test_who_came_too_late_goes_on_with_the_others(self) -> None:
        first = self.orphan(SwapState.COPYING, created_at=1.0)
        second = self.orphan(SwapState.COPYING, created_at=2.0, dev='vdb')
        adopt = self.journal.adopt
        self.journal.adopt = (  # type: ignore[method-assign]
            lambda swap_id: swap_id != first.id and adopt(swap_id)
        )
        results = self.world.service.recover()
        self.assertEqual([second.id], [result.swap_id for result in results])

    def test_a_swap_that_another_recovery_ended_meanwhile_is_not_touched(self) -> None:
        """Another swap of the disk may be under way by then."""
        row = self.orphan(SwapState.COPYING)
        adopt = self.journal.adopt

        def late(swap_id: str) -> bool:
            self.journal.advance(row.id, SwapState.REVERTED, 'by another', exit_code=6)
            self.guest.shows('no')
            return adopt(swap_id)

        self.journal.adopt = late  # type: ignore[method-assign]
        self.assertEqual(
            RecoverResult(row.id, SwapState.REVERTED, 6, 'by another'), self.recover()
        )
        self.assertIn(DEV, self.guest.jobs)
        self.assertEqual(0, self.guest.count('abort'))
