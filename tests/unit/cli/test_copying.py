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
"""``blockmirror swap``: its options, its outcome, its events."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import time
from typing import Any

from blockmirror_driver import exception
from blockmirror_driver.cli import render
from blockmirror_driver.mirror.options import CopyOptions
from blockmirror_driver.swap.request import Ending
from blockmirror_driver.swap.states import SwapState
from tests.unit.cli import fakes

#: Every field of the options, what stands on the command line for it, and its value.
OPTIONS: dict[str, tuple[list[str], Any]] = {
    'method': (['--method', 'blockcopy'], 'blockcopy'),
    'bandwidth': (['--bandwidth', '100MiB'], 100 << 20),
    'granularity': (['--granularity', '64K'], 65536),
    'buf_size': (['--buf-size', '1048576'], 1 << 20),
    'shallow': (['--shallow'], True),
    'synchronous_writes': (['--synchronous-writes'], True),
    'reuse_external': (['--no-reuse-external'], False),
    'transient_job': (['--no-transient-job'], False),
    'decrypt': (['--decrypt'], True),
    'allow_larger': (['--allow-larger'], True),
    'pivot_behind_libvirt': (['--pivot-behind-libvirt'], True),
    'target_zeroed': (['--target-zeroed'], True),
    'copy_timeout': (['--timeout', '10'], 10.0),
    'pivot_timeout': (['--pivot-timeout', '11'], 11.0),
    'abort_timeout': (['--abort-timeout', '12'], 12.0),
    'stall_after': (['--stall-after', '13'], 13.0),
    'stall_timeout': (['--stall-timeout', '14.5'], 14.5),
    'poll_interval': (['--poll-interval', '0.5'], 0.5),
    'probe_timeout': (['--probe-timeout', '16'], 16.0),
    'convergence': (['--convergence', 'abort'], 'abort'),
    'latency_target': (['--latency-target', '0.02'], 0.02),
    'budget_wait': (['--budget-wait', '90'], 90.0),
    'verify_contents': (['--verify-contents'], True),
    'verify_pause': (['--verify-pause', '0'], 0.0),
    'convergence_window': (['--convergence-window', '60'], 60.0),
}


class TestSwap(fakes.CommandTestCase):
    def swap(self, *argv: str) -> fakes.Ran:
        return self.run_command('swap', 'guest', 'vda', self.file('c.json', fakes.RBD), *argv)

    def test_defaults_are_those_of_the_configuration(self) -> None:
        self.swap()
        request = self.service.requests[0]
        self.assertEqual(CopyOptions(), request.options)
        self.assertEqual((Ending.PIVOT, False), (request.ending, request.hold))

    def test_every_copy_option(self) -> None:
        names = {f.name for f in dataclasses.fields(CopyOptions)}
        # These have tests of their own.
        self.assertEqual(names, {*OPTIONS, 'hold_until', 'quiesce', 'calm'})
        for name, (argv, value) in OPTIONS.items():
            self.service.requests.clear()
            ran = self.swap(*argv)
            self.assertEqual(0, ran.code, ran.err)
            self.assertEqual(
                dataclasses.replace(CopyOptions(), **{name: value}),
                self.service.requests[0].options,
            )

    def test_bad_values_are_2(self) -> None:
        path = self.file('c.json', fakes.RBD)
        for argv in (
            ('--bandwidth', 'fast'),
            ('--bandwidth', '-1'),
            ('--granularity', '3000'),
            ('--timeout', '0'),
            ('--timeout', 'nan'),
            ('--timeout', '-5'),
            ('--method', 'magic'),
            ('--events', 'xml'),
            ('--events-file', str(self.folder / 'absent' / 'file')),
            ('-c', 'nope'),
            ('-c', 'state', '-c', 'nope'),
        ):
            self.refused(2, 'swap', 'guest', 'vda', path, *argv)
        self.assertEqual([], self.service.requests)

    def test_hold(self) -> None:
        self.swap('--hold')
        self.assertTrue(self.service.requests[0].hold)

    def test_hold_until(self) -> None:
        for zone in (None, dt.UTC):
            wanted = dt.datetime.now(zone).replace(microsecond=0) + dt.timedelta(hours=3)
            self.service.requests.clear()
            self.swap('--hold-until', wanted.isoformat())
            (request,) = self.service.requests
            self.assertTrue(request.hold)
            self.assertEqual(wanted.timestamp(), request.options.hold_until)

    def test_hold_until_the_next_time_of_a_clock(self) -> None:
        for hours in (3, -3):
            wanted = dt.datetime.now().astimezone() + dt.timedelta(hours=hours)
            self.service.requests.clear()
            self.swap('--hold-until', wanted.strftime('%H:%M'))
            until = self.service.requests[0].options.hold_until
            found = dt.datetime.fromtimestamp(until).astimezone()
            self.assertEqual((wanted.hour, wanted.minute), (found.hour, found.minute))
            self.assertGreater(until, time.time())

    def test_hold_until_no_such_time(self) -> None:
        path = self.file('c.json', fakes.RBD)
        now = dt.datetime.now().astimezone()
        for text in (
            'tomorrow',
            '25:00',
            '2026-13-01T00:00',
            '',
            '9' * 5000,
            '0001-01-01T00:00',
            '9999-12-31T23:59',
            (now - dt.timedelta(minutes=1)).isoformat(),
            (now + dt.timedelta(days=8)).isoformat(),
        ):
            self.refused(2, 'swap', 'guest', 'vda', path, '--hold-until', text)
        self.refused(2, 'swap', 'guest', 'vda', path, '--hold', '--hold-until', '02:00')
        self.assertEqual([], self.service.requests)

    def test_outcome(self) -> None:
        ran = self.swap('-f', 'json')
        self.assertEqual((0, ''), (ran.code, ran.err))
        shown = json.loads(ran.out)
        self.assertEqual(fakes.SWAP_ID, shown['swap_id'])
        self.assertEqual('cleaned', shown['state'])
        self.assertEqual(4 << 20, shown['bytes_moved'])
        self.assertEqual(list(render.OUTCOME_COLUMNS), list(shown))

    def test_some_columns(self) -> None:
        shown = json.loads(self.swap('-f', 'json', '-c', 'state', '-c', 'Exit Code').out)
        self.assertEqual({'state': 'cleaned', 'exit_code': 0}, shown)

    def test_incomplete_cleaning_is_8_and_is_shown(self) -> None:
        self.service.result = fakes.outcome(SwapState.VERIFIED, 8)
        ran = self.swap('-f', 'json')
        self.assertEqual(8, ran.code)
        self.assertEqual(8, json.loads(ran.out)['exit_code'])
        self.assertIn('the guest is on the destination', ran.error_line)

    def test_left_running_is_130_and_says_how_to_go_on(self) -> None:
        self.service.result = fakes.outcome(SwapState.COPYING, 130)
        ran = self.swap()
        self.assertEqual(130, ran.code)
        self.assertIn(f'blockmirror recover {fakes.SWAP_ID}', ran.error_line)

    def test_progress_as_lines(self) -> None:
        self.service.events = [
            fakes.event('start', SwapState.COPYING, detail='nfs:volume-0'),
            *(
                fakes.event('progress', SwapState.COPYING, at=at, progress=fakes.PROGRESS)
                for at in (1000.0, 1001.0, 1009.9, 1010.0, 1015.0)
            ),
        ]
        lines = self.swap().err.splitlines()
        self.assertEqual(3, len(lines), str(lines))
        self.assertIn('1.0 MiB of 4.0 MiB (25%), 1.0 MiB/s', lines[1])
        self.assertIn('0:00:03 left', lines[1])
        self.assertEqual('', self.run_command('-q', 'swap', 'guest', 'vda', 'x.json').out)

    def test_quiet(self) -> None:
        self.service.events = [fakes.event('start', SwapState.COPYING)]
        self.assertEqual('', self.swap('-q').err)

    def test_no_secret_reaches_any_output(self) -> None:
        path = self.file('iscsi.json', fakes.ISCSI)
        for error in (None, exception.DestinationUnusable('wrong password')):
            self.service.result = error or fakes.outcome()
            ran = self.run_command('swap', 'guest', 'vda', path, '-v', '--events', 'jsonl')
            self.assertNotIn(fakes.CANARY, ran.out + ran.err)
        self.assertNotIn(fakes.CANARY, repr(self.service.requests))
