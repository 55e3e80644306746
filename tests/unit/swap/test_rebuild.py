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
"""A lost journal is written anew from what the domains are marked with."""

from __future__ import annotations

import json

from blockmirror_driver import exception
from blockmirror_driver.swap import rebuild
from blockmirror_driver.swap.states import SwapState
from tests.unit.swap.orphans import RecoverTestCase


class RebuildTest(RecoverTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.world.later(1.0, self.world.service.leave)
        self.world.run()
        self.old = self.world.id
        self._lose_the_journal()

    def _lose_the_journal(self) -> None:
        with self.journal._db.write() as db:
            db.execute('DELETE FROM swap')

    def test_a_running_copy_is_found_and_finished(self) -> None:
        self.world.later(1.0, self.guest.ready)
        result = self.recover()
        self.assertEqual((self.old, 0), (result.swap_id, result.exit_code))
        self.assert_on_destination()

    def test_one_that_copies_still_was_not_asked_to_pivot(self) -> None:
        """Although its mark says so from the start: a guest that dies now is on the source."""
        self.assertIn('pivoting', self.guest.marked or '')
        self.world.later(1.0, self.guest.die)
        self.assertEqual(6, self.recover().exit_code)
        self.assertEqual(SwapState.REVERTED, self.world.record().state)

    def test_one_that_is_ready_may_have_been_asked_to_pivot(self) -> None:
        for ready in ('yes', 'pivot'):
            with self.subTest(ready):
                self.guest.shows(ready)
                (record,) = rebuild.rebuild(self.hypervisor, self.journal)
                self.assertTrue(record.pivot_requested)
                self.assertIs(SwapState.PIVOTING, record.state)
                self._lose_the_journal()

    def test_another_tool_s_job_says_nothing_of_ours(self) -> None:
        self.guest.foreign()
        (record,) = rebuild.rebuild(self.hypervisor, self.journal)
        self.assertTrue(record.pivot_requested)

    def test_a_guest_that_is_gone_may_have_switched_unseen(self) -> None:
        self.guest.die()
        self.assertEqual(7, self.recover().exit_code)

    def test_one_that_switched_meanwhile_is_rolled_forward(self) -> None:
        """Above all it keeps its secrets, although the source is of a kind we can't build."""
        self.guest.switches()
        self.assertEqual(0, self.recover().exit_code)
        self.assert_on_destination()

    def test_what_has_to_be_compared_still_has_to(self) -> None:
        self.assertEqual('{}', self._rebuilt_options())
        for intent in ('compared', 'paused'):
            self._lose_the_journal()
            self.guest.marked = (self.guest.marked or '').replace('"pivoting"', f'"{intent}"')
            options = json.loads(self._rebuilt_options())
            self.assertEqual({'verify_contents': True, 'verify_pause': 0.0}, options)
            self.guest.marked = self.guest.marked.replace(f'"{intent}"', '"pivoting"')

    def _rebuilt_options(self) -> str:
        (record,) = rebuild.rebuild(self.hypervisor, self.journal)
        return record.options

    def test_a_damaged_mark_is_stepped_over(self) -> None:
        for text in ('<x/>', 'not xml', (self.guest.marked or '').replace('disk', 'dsk')):
            with self.subTest(text[:10]):
                self.guest.marked = text
                self.assertEqual((), self.world.service.recover())

    def test_a_domain_that_goes_meanwhile_is_stepped_over(self) -> None:
        self.guest.fail('mark', exception.DomainNotFound('gone'))
        self.assertEqual((), self.world.service.recover())

    def test_two_marks_of_one_disk(self) -> None:
        mark = self.guest.marked or ''
        inner = mark[mark.index('<swap ') : mark.index('</swaps>')]
        twin = inner.replace(self.old, 'another-id')
        self.guest.marked = mark.replace('</swaps>', f'{twin}</swaps>')
        self.guest.ends()
        results = self.world.service.recover()
        self.assertEqual(1, len(results))

    def test_the_mark_of_an_ended_swap_makes_no_ghost(self) -> None:
        self.world.later(1.0, self.guest.ready)
        mark = self.guest.marked
        self.recover()
        self.guest.marked = mark
        self.assertEqual((), self.world.service.recover())
        self.assertIsNone(self.guest.marked)
