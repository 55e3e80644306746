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
"""``blockmirror recover`` and ``resolve``."""

from __future__ import annotations

import json

from blockmirror_driver import exception
from blockmirror_driver.cli import recovery
from blockmirror_driver.swap.record import RecoverResult
from blockmirror_driver.swap.states import SwapState
from tests.unit.cli import fakes


class TestRecover(fakes.CommandTestCase):
    def test_all_and_one(self) -> None:
        for argv, call in (
            ([], ('recover', None, 'resume')),
            (['3f2a'], ('recover', '3f2a', 'resume')),
            (['3f2a', '--cancel'], ('recover', '3f2a', 'cancel')),
            (['3f2a', '--pivot'], ('recover', '3f2a', 'pivot')),
            (['--finish'], ('recover', None, 'finish')),
        ):
            self.service.calls.clear()
            ran = self.run_command('recover', *argv)
            self.assertEqual((0, ''), (ran.code, ran.err))
            self.assertEqual(call, self.service.calls[0])

    def test_results_are_shown_and_the_worst_is_the_code(self) -> None:
        self.service.recovered = (
            RecoverResult('a', SwapState.CLEANED, 0, 'done'),
            RecoverResult('b', SwapState.UNKNOWN, 7, 'look'),
            RecoverResult('c', SwapState.VERIFIED, 8, 'left over'),
        )
        ran = self.run_command('recover', '-f', 'json')
        self.assertEqual(7, ran.code)
        self.assertEqual([0, 7, 8], [row['exit_code'] for row in json.loads(ran.out)])

    def test_worst(self) -> None:
        for codes, code in (((), 0), ((0, 0), 0), ((0, 5), 5), ((3, 6, 8), 8), ((5, 130), 130)):
            self.assertEqual(code, recovery.worst(codes))

    def test_events_replace_the_table(self) -> None:
        self.service.events = [fakes.event('state', SwapState.READY)]
        self.service.recovered = (RecoverResult('a', SwapState.CLEANED, 0, 'done'),)
        ran = self.run_command('recover', '--events', 'jsonl', '-q')
        (line,) = ran.out.splitlines()
        self.assertEqual('ready', json.loads(line)['state'])


class TestResolve(fakes.CommandTestCase):
    def test_each_side(self) -> None:
        for side in ('source', 'destination'):
            self.service.calls.clear()
            ran = self.run_command('resolve', '3f2a', f'--{side}')
            self.assertEqual((0, ''), (ran.code, ran.err))
            self.assertEqual(('resolve', '3f2a', side), self.service.calls[0])

    def test_what_is_left_over_is_8(self) -> None:
        self.service.row = fakes.record(SwapState.VERIFIED, exit_code=8)
        self.assertEqual(8, self.run_command('resolve', '3f2a', '--destination').code)

    def test_refused(self) -> None:
        self.service.result = exception.WrongState('it is not unknown')
        self.refused(3, 'resolve', '3f2a', '--source')
