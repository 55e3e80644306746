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
"""``blockmirror plan`` and ``doctor``: each check is shown, and the exit code says it."""

from __future__ import annotations

import json

from blockmirror_driver import exception
from blockmirror_driver.swap.checks import Check
from tests.unit.cli import fakes

CHECKS = (
    Check('domain-runs', True, 'it runs'),
    Check('versions', None, 'could not be read', 'look at libvirtd'),
)
FAILED = Check('size', False, '4 bytes are not 5', 'make a volume of the same size')


class TestPlan(fakes.CommandTestCase):
    def plan(self, *argv: str) -> fakes.Ran:
        return self.run_command('plan', 'guest', 'vdb', self.file('c.json', fakes.RBD), *argv)

    def test_all_pass(self) -> None:
        self.service.checks = CHECKS
        ran = self.plan('-f', 'json')
        self.assertEqual((0, ''), (ran.code, ran.err))
        self.assertEqual(
            [
                {'check': 'domain-runs', 'result': 'pass', 'detail': 'it runs', 'fix': ''},
                {
                    'check': 'versions',
                    'result': 'warning',
                    'detail': 'could not be read',
                    'fix': 'look at libvirtd',
                },
            ],
            json.loads(ran.out),
        )

    def test_one_fails(self) -> None:
        self.service.checks = (*CHECKS, FAILED)
        ran = self.plan('-f', 'value', '-c', 'check', '-c', 'result')
        self.assertEqual((3, ''), (ran.code, ran.err))
        self.assertIn('size fail', ran.out)

    def test_each_format(self) -> None:
        self.service.checks = (FAILED,)
        for name in ('json', 'yaml', 'table', 'value', 'csv'):
            ran = self.plan('-f', name)
            self.assertEqual(3, ran.code)
            self.assertIn('make a volume of the same size', ran.out)

    def test_what_is_planned_is_what_swap_would_do(self) -> None:
        self.plan('--bandwidth', '1MiB', '--probe-timeout', '2.5')
        request = self.service.requests[0]
        self.assertEqual(('guest', 'vdb'), (request.domain, request.dev))
        self.assertEqual('vdb', request.destination.target_dev)
        self.assertEqual(1 << 20, request.options.bandwidth)
        self.assertEqual(2.5, request.options.probe_timeout)

    def test_no_libvirt(self) -> None:
        self.service.result = exception.HypervisorUnavailable('no libvirtd')
        self.refused(3, 'plan', 'guest', 'vda', self.file('c.json', fakes.RBD))


class TestDoctor(fakes.CommandTestCase):
    def test_codes(self) -> None:
        self.service.checks = CHECKS
        self.assertEqual(0, self.run_command('doctor').code)
        self.service.checks = (FAILED,)
        ran = self.run_command('doctor', '-f', 'json')
        self.assertEqual(3, ran.code)
        self.assertEqual('fail', json.loads(ran.out)[0]['result'])
        self.assertTrue(self.service.read_only)
