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
"""``blockmirror drain``: new swaps are refused on this host."""

from __future__ import annotations

import json

from blockmirror_driver.swap.duties import Side
from blockmirror_driver.swap.states import SwapState
from tests.unit.cli import fakes


class TestDrain(fakes.CommandTestCase):
    def test_on_status_off(self) -> None:
        for switch, word in (('on', 'refused'), ('status', 'refused'), ('off', 'taken')):
            ran = self.run_command('drain', switch)
            self.assertEqual(0, ran.code, ran.err)
            self.assertIn(f'new swaps are {word}; 0 are running, 0 steps are owed', ran.err)
        self.assertFalse(self.journal.draining)

    def test_waits_until_nothing_is_left(self) -> None:
        self.journaled(fakes.record())
        ran = self.run_command('drain', 'on', '--wait', '0.1')
        self.assertEqual(4, ran.code)
        self.assertIn('new ones stay refused', ran.err)
        self.assertTrue(self.journal.draining)
        self.journal.advance(fakes.SWAP_ID, SwapState.REVERTED)
        self.assertEqual(0, self.run_command('drain', 'on', '--wait', '0.1').code)

    def test_what_is_owed_is_shown(self) -> None:
        self.journaled(fakes.record(SwapState.CLEANED))
        self.journal.duties.owe(fakes.SWAP_ID, Side.SWITCHED, [('complete', '{}')])
        self.journal.duties.failed(self.journal.duties.owed()[0], 'Cinder is away')
        self.assertIn('1 steps are owed', self.run_command('drain', 'status').err)
        shown = json.loads(self.run_command('show', fakes.SWAP_ID, '-f', 'json').out)
        self.assertEqual(
            ('complete', 1, 'Cinder is away'),
            tuple(shown['owed'][0][name] for name in ('step', 'attempts', 'error')),
        )
        self.assertIn('complete, tried 1 times', self.run_command('show', fakes.SWAP_ID).out)
