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
"""The limits of a disk follow the volume, after the pivot and not before."""

from __future__ import annotations

from dataclasses import replace

from blockmirror_driver import exception
from blockmirror_driver.model import IoTune
from blockmirror_driver.swap import qos
from blockmirror_driver.swap.states import SwapState
from tests.unit.swap.guest import DESTINATION, SOURCE
from tests.unit.swap.world import WorldTestCase

LIMITED = replace(DESTINATION, iotune=IoTune(total_iops_sec=500))
UNLIMITED = replace(DESTINATION, iotune=IoTune())


class QosTest(WorldTestCase):
    def test_set_once_the_guest_is_on_the_volume(self) -> None:
        seen: list[SwapState] = []
        self.guest.on('set_iotune', lambda: seen.append(self.world.record().state))
        self.world.run(destination=LIMITED)
        self.assertEqual([SwapState.PIVOTED], seen)
        self.assertEqual(IoTune(total_iops_sec=500), self.guest.limits)
        self.assert_on_destination()
        self.assertIn('limits of vda: total_iops_sec=500', self.world.details())

    def test_lifted(self) -> None:
        self.guest.limits = IoTune(read_bytes_sec=1 << 20)
        self.world.run(destination=UNLIMITED)
        self.assertEqual(IoTune(), self.guest.limits)
        self.assertIn('limits of vda: none', self.world.details())

    def test_a_destination_that_says_nothing_leaves_them(self) -> None:
        self.guest.limits = IoTune(read_bytes_sec=1 << 20)
        self.world.run()
        self.assertEqual(0, self.guest.count('set_iotune'))

    def test_what_is_so_already_is_not_set(self) -> None:
        for has, destination in (
            (IoTune(total_iops_sec=500), LIMITED),
            (IoTune(), UNLIMITED),
            (None, UNLIMITED),
        ):
            self.guest.live_source = self.guest.stored_source = SOURCE
            self.guest.limits = has
            self.world.run(destination=destination)
            self.assertEqual(0, self.guest.count('set_iotune'), str(has))

    def test_a_swap_that_fails_sets_none(self) -> None:
        self.guest.pivots = ['fail']
        self.assertRaises(exception.CopyFailed, self.world.run, destination=LIMITED)
        self.assertIsNone(self.guest.limits)

    def test_what_could_not_be_set_is_set_by_recovery(self) -> None:
        """The swap has happened: it is not done yet, and nothing of it is taken back."""
        self.guest.fail('set_iotune', exception.HypervisorUnavailable('libvirt is busy'))
        outcome = self.world.run(destination=LIMITED)
        self.assertEqual((8, SwapState.PIVOTED), (outcome.exit_code, outcome.state))
        self.assertIsNone(self.guest.limits)
        self.world.service.recover()
        self.assertEqual(IoTune(total_iops_sec=500), self.guest.limits)
        self.assertEqual(SwapState.CLEANED, self.world.record().state)

    def test_a_guest_that_stopped_meanwhile_has_them_in_its_stored_xml(self) -> None:
        self.guest.fail('set_iotune', exception.HypervisorUnavailable('libvirt is busy'))
        self.world.run(destination=LIMITED)
        self.guest.die()
        self.world.service.recover()
        self.assertEqual(2, self.guest.count('set_iotune'))
        self.assertEqual(SwapState.CLEANED, self.world.record().state)

    def test_the_plan_tells(self) -> None:
        for destination, expected in (
            (LIMITED, 'set after the pivot: total_iops_sec=500'),
            (DESTINATION, 'stay as they are: none'),
        ):
            request = replace(self.world.request, destination=destination)
            checks = {one.id: one for one in self.world.service.plan(request).checks}
            self.assertEqual(expected, checks['limits'].detail)

    def test_words(self) -> None:
        self.assertEqual('none', qos.describe(IoTune()))
        self.assertEqual(
            'total_bytes_sec=1, size_iops_sec=2',
            qos.describe(IoTune(total_bytes_sec=1, size_iops_sec=2)),
        )
