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
"""Nothing is ended and nothing is switched on a destination that does not answer (P9)."""

from __future__ import annotations

from dataclasses import replace

import fixtures

from blockmirror_driver import exception
from blockmirror_driver.model import FileSource
from tests.unit.swap.guest import DESTINATION
from tests.unit.swap.world import WorldTestCase

LOST = exception.SecretUnavailable('libvirt has lost it')
SILENT = exception.DestinationSilent('it did not answer in time')


class FreshTest(WorldTestCase):
    """READY is an answer: QEMU says so after a flush of the destination."""

    def test_a_copy_that_has_just_become_ready_is_not_asked_for_again(self) -> None:
        self.hypervisor.fail('probe', None, *[SILENT] * 500)
        self.assertEqual(0, self.world.run().exit_code)
        self.assertEqual(1, self.hypervisor.count('probe'))
        self.assert_on_destination()

    def test_one_that_was_held_is(self) -> None:
        self.world.later(2.2, lambda: self.world.service.request_pivot(self.world.id))
        self.assertEqual(0, self.world.run(hold=True).exit_code)
        self.assertEqual(2, self.hypervisor.count('probe'))
        self.assert_on_destination()


class GateTest(WorldTestCase):
    def setUp(self) -> None:
        super().setUp()
        # What the job tells is too old from the first moment on.
        self.useFixture(fixtures.MockPatch('blockmirror_driver.swap.gate.FRESH', -1.0))

    def test_it_is_asked_before_the_copy_and_before_the_pivot(self) -> None:
        self.world.run()
        self.assertEqual(2, self.hypervisor.count('probe'))
        self.assert_on_destination()

    def test_a_pivot_waits_until_it_answers(self) -> None:
        self.hypervisor.fail('probe', None, SILENT, SILENT)
        self.assertEqual(0, self.world.run().exit_code)
        self.assertEqual(4, self.hypervisor.count('probe'))
        self.assertEqual(1, self.guest.count('pivot'))
        self.assert_on_destination()

    def test_no_pivot_and_no_abort_when_it_stays_silent(self) -> None:
        self.hypervisor.fail('probe', None, *[SILENT] * 500)
        error = self.assertRaises(
            exception.Stalled, self.world.run, stall_timeout=20.0, abort_timeout=20.0
        )
        self.assertEqual(0, self.guest.count('pivot') + self.guest.count('abort'))
        self.assertIn('recover', error.hint)
        self.assert_states('copying', 'ready', 'cancelling')

    def test_a_cancel_while_the_pivot_waits_is_heard(self) -> None:
        self.hypervisor.fail('probe', None, SILENT, SILENT, SILENT)
        self.world.later(4.0, lambda: self.world.service.request_cancel(self.world.id))
        self.assertRaises(exception.Cancelled, self.world.run, poll_interval=60.0)
        self.assertEqual(0, self.guest.count('pivot'))
        self.assert_clean_on_source()

    def test_an_abort_waits_until_it_answers(self) -> None:
        self.hypervisor.fail('probe', None, SILENT, SILENT)
        self.world.later(1.0, self.world.service.cancel_local)
        self.assertRaises(exception.Cancelled, self.world.run)
        self.assertEqual(1, self.guest.count('abort'))
        self.assert_clean_on_source()

    def test_a_copy_that_goes_on_is_ended_without_its_secret(self) -> None:
        self.hypervisor.fail('probe', None, *[LOST] * 500)
        self.world.later(1.0, self.world.service.cancel_local)
        self.world.later(1.5, lambda: self.guest.moves(4096))
        self.assertRaises(exception.Cancelled, self.world.run)
        self.assertEqual(1, self.guest.count('abort'))
        self.assert_clean_on_source()

    def test_one_that_stands_still_is_not(self) -> None:
        self.hypervisor.fail('probe', None, *[LOST] * 500)
        self.world.later(6.0, self.world.service.cancel_local)
        self.assertRaises(exception.Cancelled, self.world.run, hold=True, abort_timeout=5.0)
        self.assertEqual(0, self.guest.count('abort'))

    def test_nothing_is_switched_without_the_secret(self) -> None:
        """The guest could not be started again."""
        self.hypervisor.fail('probe', None, *[LOST] * 500)
        self.assertRaises(exception.Stalled, self.world.run, stall_timeout=5.0, abort_timeout=5.0)
        self.assertEqual(0, self.guest.count('pivot'))

    def test_a_local_file_is_not_asked(self) -> None:
        local = replace(DESTINATION, source=FileSource('/a'), secrets=())
        self.hypervisor.fail('probe', None, *[SILENT] * 500)
        self.assertEqual(0, self.world.run(destination=local).exit_code)
        self.assertEqual(1, self.hypervisor.count('probe'))
