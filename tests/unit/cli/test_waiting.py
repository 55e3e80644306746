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
"""``blockmirror waiting``: who stands in line."""

from __future__ import annotations

import json

from blockmirror_driver.swap.budget import Claim
from blockmirror_driver.swap.tickets import Tickets
from tests.unit.cli import fakes


class TestWaiting(fakes.CommandTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.config = self.file('blockmirror.conf', '[blockmirror]\nmax_concurrent_swaps = 1\n')

    def shown(self) -> list[dict[str, object]]:
        ran = self.run_command('waiting', '-f', 'json', '--config-file', self.config)
        self.assertEqual((0, ''), (ran.code, ran.err))
        rows: list[dict[str, object]] = json.loads(ran.out)
        return rows

    def test_an_absent_journal_is_an_empty_line_and_stays_absent(self) -> None:
        self.assertEqual([], self.shown())
        self.assertFalse(self.journal.path.parent.exists())

    def test_who_waits_and_what_for(self) -> None:
        self.journaled(fakes.record())
        tickets = Tickets(self.journal.database)
        tickets.add([Claim()], [('first', 'vda')])
        tickets.add([Claim()] * 2, [('group', 'vda'), ('group', 'vdb')])
        shown = self.shown()
        self.assertEqual(
            [(1, 'first', 'vda'), (2, 'group', 'vda'), (2, 'group', 'vdb')],
            [(row['place'], row['domain'], row['disk']) for row in shown],
        )
        self.assertEqual('1 of 1 swaps of this host are running', shown[0]['reason'])
        self.assertIn('2 more are wanted', str(shown[1]['reason']))
        self.assertTrue(str(shown[0]['owner']).startswith('pid '))

    def test_one_whose_turn_it_is(self) -> None:
        self.journal.check()
        Tickets(self.journal.database).add([Claim()], [('first', 'vda')])
        (row,) = self.shown()
        self.assertIn('its turn', str(row['reason']))
