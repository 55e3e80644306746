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
"""What a plan says of how thin the destination will be."""

from __future__ import annotations

from dataclasses import replace

import testtools

from blockmirror_driver import exception
from blockmirror_driver.mirror.options import CopyOptions
from blockmirror_driver.model import Disk, Driver, FileSource, Host, NfsSource
from blockmirror_driver.swap import thin
from blockmirror_driver.swap.checks import Check
from tests.unit.fakes import FakeDomain, FakeHypervisor

MIB = 1 << 20
FILE = Disk(source=FileSource('/volumes/one'), target_dev='vda')
NFS = Disk(source=NfsSource(Host('192.0.2.1'), '/share', 'volume'), target_dev='vda')
UNMAP = Driver(discard='unmap', detect_zeroes='unmap')


class ThinTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.domain = FakeHypervisor().add(FakeDomain())
        self.domain.capacities['vda'] = 64 * MIB
        self.domain.allocations['vda'] = 16 * MIB

    def look(self, source: Disk, destination: Disk, options: CopyOptions | None = None) -> Check:
        return thin.look(self.domain, source, destination, options or CopyOptions())

    def test_as_thin_as_the_source(self) -> None:
        for source in FILE, replace(FILE, driver=UNMAP), replace(NFS, driver=UNMAP):
            self.assertTrue(self.look(source, FILE).passed)
        self.assertEqual(0, self.domain.count('allocation'))

    def test_no_zeroes_are_written(self) -> None:
        for options in CopyOptions(target_zeroed=True), CopyOptions(shallow=True):
            self.assertTrue(self.look(NFS, NFS, options).passed)

    def test_a_source_that_tells_no_holes(self) -> None:
        found = self.look(NFS, FILE)
        self.assertIsNone(found.passed)
        self.assertIn('48.0 MiB more are allocated than the 16.0 MiB', found.detail)
        self.assertEqual('', found.fix)
        trims = replace(NFS, driver=Driver(discard='unmap'))
        self.assertIn(f'domfstrim {self.domain.name}', self.look(trims, FILE).fix)

    def test_a_destination_that_makes_none(self) -> None:
        found = self.look(replace(FILE, driver=UNMAP), NFS)
        self.assertIsNone(found.passed)
        self.assertIn('48.0 MiB more', found.detail)
        self.assertEqual('', found.fix)

    def test_what_is_not_known(self) -> None:
        self.domain.fail('allocation', exception.HypervisorUnavailable('libvirt is away'))
        self.assertIn('libvirt is away', self.look(NFS, FILE).detail)
        self.domain.allocations.clear()
        self.assertIn('all of its 64.0 MiB', self.look(NFS, FILE).detail)
