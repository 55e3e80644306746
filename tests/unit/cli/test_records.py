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
"""``blockmirror list``, ``show``, ``report`` and ``watch``: reading a real journal."""

from __future__ import annotations

import json
from dataclasses import replace

import jsonschema  # type: ignore[import-untyped]

from blockmirror_driver.cli import render, watch
from blockmirror_driver.model import Seconds
from blockmirror_driver.swap.owner import Owner
from blockmirror_driver.swap.states import SwapState
from tests.unit.cli import fakes
from tests.unit.cli.test_progress import schema

GONE = Owner('another-boot', 1, 1)


class TestList(fakes.CommandTestCase):
    def test_an_absent_journal_is_empty_and_stays_absent(self) -> None:
        ran = self.run_command('list', '-f', 'json')
        self.assertEqual((0, [], ''), (ran.code, json.loads(ran.out), ran.err))
        self.assertFalse(self.journal.path.parent.exists())

    def test_rows(self) -> None:
        self.journaled(fakes.record())
        self.journaled(
            fakes.record(SwapState.CLEANED, id='other', dev='vdb', owner=GONE, created_at=2000.0)
        )
        ran = self.run_command('list', '-f', 'json')
        first, second = json.loads(ran.out)
        self.assertEqual(
            (fakes.SWAP_ID, 'copying', '25%'),
            tuple(first[name] for name in ('swap_id', 'state', 'done')),
        )
        self.assertTrue(first['owner'].startswith('pid '))
        self.assertEqual('gone (pid 1)', second['owner'])
        only = json.loads(self.run_command('list', '--active', '-f', 'json').out)
        self.assertEqual([first], only)

    def test_a_journal_that_is_none_is_3(self) -> None:
        self.journal.path.parent.mkdir()
        self.journal.path.write_text('this is no sqlite file ' * 100)
        self.refused(3, 'list')


class TestShow(fakes.CommandTestCase):
    def test_one_swap(self) -> None:
        self.journaled(fakes.record())
        shown = json.loads(self.run_command('show', '3f2a', '-f', 'json').out)
        self.assertEqual('copying', shown['state'])
        self.assertEqual('1970-01-01T00:16:40+00:00', shown['created_at'])
        self.assertEqual('starting the block job', shown['history'][0]['detail'])
        self.assertEqual([*render.RECORD_COLUMNS, 'owed', 'history'], list(shown))
        self.assertIn('copying: starting the block job', self.run_command('show', '3f2a').out)

    def test_no_such_column(self) -> None:
        self.assertIn("'nope'", self.refused(2, 'show', '3f2a', '-c', 'nope'))
        self.refused(2, 'list', '-c', 'nope')

    def test_unknown(self) -> None:
        self.refused(3, 'show', 'nothing')
        self.refused(3, 'report', 'nothing')
        self.refused(3, 'watch', 'nothing')

    def test_report(self) -> None:
        self.journaled(fakes.record(SwapState.CLEANED, exit_code=0, detail='a | b'))
        ran = self.run_command('report', '3f2a', '-f', 'json')
        self.assertEqual(0, json.loads(ran.out)['exit_code'])
        text = self.run_command('report', '3f2a').out
        self.assertIn(f'# Swap {fakes.SWAP_ID}', text)
        self.assertIn('**cleaned**', text)
        self.assertIn('a \\| b', text)


class TestWatch(fakes.CommandTestCase):
    def test_ends_with_the_code_of_the_swap(self) -> None:
        for code, state in (
            (0, SwapState.CLEANED),
            (4, SwapState.REVERTED),
            (7, SwapState.UNKNOWN),
        ):
            self.journaled(fakes.record(state, id=f'{code}-swap', dev=f'd{code}', exit_code=code))
            ran = self.run_command('watch', f'{code}-', '--events', 'jsonl', '-q')
            self.assertEqual((code, ''), (ran.code, ran.err))
            (line,) = ran.out.splitlines()
            jsonschema.validate(json.loads(line), schema())
            self.assertEqual('error' if code else 'end', json.loads(line)['event'])

    def test_a_swap_without_an_owner_is_3(self) -> None:
        self.journaled(fakes.record(owner=GONE))
        ran = self.run_command('watch', '3f2a', '-q')
        self.assertEqual(3, ran.code)
        self.assertIn(f'blockmirror recover {fakes.SWAP_ID}', ran.error_line)

    def test_follows_to_the_end(self) -> None:
        self.journaled(fakes.record(cur=0, end=0))
        seen = []
        for record, event in watch.follow(self.journal, fakes.SWAP_ID, every=Seconds(0.001)):
            seen.append((event.event, event.state))
            if len(seen) == 1:
                self.journal.progress(record.id, fakes.PROGRESS)
            elif len(seen) == 2:
                self.journal.advance(record.id, SwapState.READY, 'both are the same')
            elif len(seen) == 3:
                self.journal.advance(record.id, SwapState.REVERTED, 'no', exit_code=5)
        self.assertEqual(
            [
                ('state', SwapState.COPYING),
                ('progress', SwapState.COPYING),
                ('ready', SwapState.READY),
                ('error', SwapState.REVERTED),
            ],
            seen,
        )

    def test_unknown_without_a_code_is_7(self) -> None:
        row = fakes.record(SwapState.UNKNOWN)
        self.assertEqual(7, watch.result(row))
        self.assertEqual(0, watch.result(replace(row, state=SwapState.FINISHED)))
