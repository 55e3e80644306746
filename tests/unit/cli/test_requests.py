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
"""``blockmirror pivot``, ``cancel``, ``speed`` and ``hold``: what reaches the owner."""

from __future__ import annotations

from blockmirror_driver import exception
from blockmirror_driver.swap.owner import Owner
from tests.unit.cli import fakes


class TestRequests(fakes.CommandTestCase):
    def test_each_asks_with_the_full_id_and_waits(self) -> None:
        for argv, call in (
            (['pivot', '3f2a'], ('pivot', fakes.SWAP_ID)),
            (['cancel', '3f2a'], ('cancel', fakes.SWAP_ID)),
            (['speed', '3f2a', '10MiB'], ('speed', fakes.SWAP_ID, 10 << 20)),
            (['speed', '3f2a', '0'], ('speed', fakes.SWAP_ID, 0)),
            (['hold', '3f2a'], ('hold', fakes.SWAP_ID, True)),
            (['hold', '3f2a', '--off'], ('hold', fakes.SWAP_ID, False)),
        ):
            self.service.calls.clear()
            self.service.taken_after = 1
            ran = self.run_command(*argv)
            self.assertEqual((0, ''), (ran.code, ran.out), ran.err)
            self.assertEqual(
                [call, ('was_taken', 7), ('was_taken', 7), ('close',)], self.service.calls
            )
            self.assertIn('told to', ran.error_line)

    def test_no_wait(self) -> None:
        self.service.taken_after = 10
        ran = self.run_command('cancel', '3f2a', '--no-wait')
        self.assertEqual(0, ran.code)
        self.assertEqual([('cancel', fakes.SWAP_ID), ('close',)], self.service.calls)

    def test_an_owner_that_does_not_look_is_4(self) -> None:
        self.service.taken_after = 1000
        line = self.refused(4, 'cancel', '3f2a', '--timeout', '0.000001')
        self.assertIn('the request stays', line)

    def test_an_owner_that_dies_is_3(self) -> None:
        self.service.taken_after = 1000
        self.service.row = fakes.record(owner=Owner('another-boot', 1, 1))
        self.assertIn('its owner went', self.refused(3, 'pivot', '3f2a'))

    def test_refusals(self) -> None:
        self.refused(3, 'pivot', 'other')
        self.service.result = exception.WrongState('it has ended')
        self.refused(3, 'pivot', '3f2a')
