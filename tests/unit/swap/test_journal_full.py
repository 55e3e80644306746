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
"""A journal that can't be written: back before the switch, no exception after it."""

from __future__ import annotations

from blockmirror_driver import exception
from blockmirror_driver.swap.record import RecoverResult
from blockmirror_driver.swap.request import Ending
from blockmirror_driver.swap.states import SwapState
from tests.unit.swap.guest import SOURCE
from tests.unit.swap.world import WorldTestCase


class FullTestCase(WorldTestCase):
    def refill(self) -> None:
        """There is space again."""
        self.journal.full_from = self.journal.full_at = None
        self.journal.db.full = False

    def recover(self) -> RecoverResult:
        """Recover as another process would, once there is space again."""
        self.refill()
        (result,) = self.world.new_service().recover()
        return result

    def assert_on_source(self) -> None:
        self.check()
        self.assertEqual(SOURCE, self.guest.live_source)
        self.assertNotIn('vda', self.guest.jobs)
        self.assertEqual(set(), self.secrets.kept)


class BeforeTheSwitchTest(FullTestCase):
    def _is_brought_back(self, state: SwapState, code: int, **changes: object) -> None:
        self.journal.full_from = state
        error = self.assertRaises(exception.BlockmirrorError, self.world.run, **changes)
        self.assertEqual(code, error.exit_code, str(error))
        self.assert_on_source()
        self.recover()
        self.assertEqual(SwapState.REVERTED, self.world.record().state)
        self.assert_clean_on_source()

    def test_prepared(self) -> None:
        self._is_brought_back(SwapState.PREPARED, 3)
        self.assertEqual(0, self.guest.count('block_copy'))

    def test_copying(self) -> None:
        self._is_brought_back(SwapState.COPYING, 3)
        self.assertEqual(0, self.guest.count('block_copy'))

    def test_ready(self) -> None:
        self._is_brought_back(SwapState.READY, 6)

    def test_held(self) -> None:
        self._is_brought_back(SwapState.HELD, 6, hold=True)

    def test_pivoting(self) -> None:
        self._is_brought_back(SwapState.PIVOTING, 6)
        self.assertEqual(0, self.guest.count('pivot'))

    def test_ready_after_a_refused_pivot(self) -> None:
        self.guest.pivots = ['refuse']
        self.journal.at[SwapState.PIVOTING] = lambda: setattr(
            self.journal, 'full_from', SwapState.READY
        )
        error = self.assertRaises(exception.CopyFailed, self.world.run)
        self.assertIn('disk is full', error.message)
        self.assert_on_source()
        self.recover()
        self.assert_clean_on_source()

    def test_cancelling_and_reverted(self) -> None:
        for state in (SwapState.CANCELLING, SwapState.REVERTED):
            with self.subTest(state):
                self.journal.full_from = state
                self.world.later(1.0, self.world.service.cancel_local)
                self.assertRaises(exception.Cancelled, self.world.run)
                self.assert_on_source()
                self.recover()
                self.assertEqual(SwapState.REVERTED, self.world.record().state)
                self.assert_clean_on_source()

    def test_the_progress_stops_no_copy(self) -> None:
        self.guest.ready_after = 20.0
        self.world.later(5.0, lambda: setattr(self.journal.db, 'full', True))
        self.world.later(10.0, self.refill)
        self.assertEqual(0, self.world.run().exit_code)
        self.assert_on_destination()

    def test_one_write_that_failed_at_the_cancel_is_made_up_for(self) -> None:
        self.journal.full_at = SwapState.CANCELLING
        self.world.later(1.0, self.world.service.cancel_local)
        self.assertRaises(exception.Cancelled, self.world.run)
        self.assert_states('copying', 'cancelling', 'reverted')
        self.assert_clean_on_source()

    def test_unknown_is_said_all_the_same(self) -> None:
        self.journal.full_from = SwapState.UNKNOWN
        self.world.later(1.0, self.guest.foreign)
        self.assertRaises(exception.StateUnknown, self.world.run)
        self.check()

    def test_leaving(self) -> None:
        def leave() -> None:
            self.journal.db.full = True
            self.world.service.leave()

        self.world.later(1.0, leave)
        self.assertEqual(130, self.world.run().exit_code)
        self.assertIn('vda', self.guest.jobs)
        self.world.later(1.0, self.guest.ready)
        self.assertEqual(0, self.recover().exit_code)

    def test_finishing(self) -> None:
        """Its intent has to be written, its end need not be."""
        self.journal.full_from = SwapState.FINISHED
        outcome = self.world.run(ending=Ending.FINISH)
        self.assertEqual((0, SwapState.FINISHED), (outcome.exit_code, outcome.state))
        self.assertIn('journal', ' '.join(outcome.notes))
        self.assert_on_source()


class AfterTheSwitchTest(FullTestCase):
    def test_it_stays_a_success_that_is_not_clean(self) -> None:
        for state in (SwapState.PIVOTED, SwapState.VERIFIED, SwapState.CLEANED):
            with self.subTest(state):
                self.guest.live_source = self.guest.stored_source = SOURCE
                self.secrets.kept.clear()
                self.journal.full_from = state
                outcome = self.world.run()
                self.assertEqual(8, outcome.exit_code)
                self.assertNotEqual(SOURCE, self.guest.live_source)
                self.check()
                result = self.recover()
                self.assertEqual((0, SwapState.CLEANED), (result.exit_code, result.state))
                self.assert_on_destination()

    def test_one_write_that_failed_is_made_up_for(self) -> None:
        self.journal.full_at = SwapState.PIVOTED
        self.assertEqual(0, self.world.run().exit_code)
        self.assert_states('copying', 'ready', 'pivoting', 'pivoted', 'verified', 'cleaned')
        self.assert_on_destination()
