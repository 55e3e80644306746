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
"""One test for each advisory that has befallen others at this work, named after it.

What needs a guest is in ``tests/functional/test_advisories.py``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lxml import etree

from blockmirror_driver import exception
from blockmirror_driver.model import Disk
from blockmirror_driver.swap import cleanup
from blockmirror_driver.swap.states import SwapState
from blockmirror_driver.virt.capabilities import Versions
from blockmirror_driver.volume import format as image
from blockmirror_driver.volume.registry import disk_for
from tests.unit.swap.guest import DESTINATION, OTHER
from tests.unit.swap.world import WorldTestCase
from tests.unit.volume import cases, qcow2


def disk_of(kind: str, **changes: object) -> Disk:
    info = {'driver_volume_type': kind, 'data': {**cases.DATA[kind], **changes}}
    return disk_for(info, conf=cases.options())


class FormatAdvisoriesTest(WorldTestCase):
    """A guest, or a tenant, must not choose how its bytes are read."""

    def assert_declared(self, disk: Disk, expected: str = 'raw') -> None:
        tree = etree.fromstring(disk.to_xml())
        self.assertEqual([expected], [one.get('type') for one in tree.findall('driver')])
        (chain,) = tree.findall('backingStore')
        self.assertEqual((0, None), (len(chain), chain.get('type')))

    def test_cve_2014_3641(self) -> None:
        """A file on a shared file system is raw unless its format is declared."""
        for undeclared in (None, ''):
            self.assert_declared(disk_of('nfs', format=undeclared))
        self.assert_declared(disk_of('nfs', format='qcow2'), 'qcow2')

    def test_cve_2015_1850(self) -> None:
        """What a guest writes into a raw disk is never looked at."""

        def never_read() -> object:
            raise AssertionError('the content was looked at')

        image.check(iter(never_read, None), 'raw')  # type: ignore[arg-type]

    def test_cve_2015_1851(self) -> None:
        """The same for what comes over the network: raw, whatever else it is said to be."""
        for kind in ('rbd', 'iscsi'):
            self.assert_declared(disk_of(kind))
            try:
                disk = disk_of(kind, format='qcow2')
            except exception.BlockmirrorError as error:
                self.assertIsInstance(error, exception.Refused)
            else:
                self.assert_declared(disk)

    def test_cve_2022_47951(self) -> None:
        """A flat vmdk names the host's files; no such format is taken."""
        for given in ('vmdk', 'auto', 'json:{"driver":"vmdk"}', 'raw,file.filename=/etc/passwd'):
            self.assertRaises(exception.UnsupportedVolume, disk_of, 'nfs', format=given)

    def test_cve_2024_32498(self) -> None:
        """An external data file is refused, with a backing file declared or not."""
        content = qcow2.header(features=qcow2.EXTERNAL_DATA_FILE)
        for declared in (False, True):
            error = self.assertRaises(
                exception.UnsupportedVolume, image.check, [content], 'qcow2',
                backing_declared=declared,
            )  # fmt: skip
            self.assertIn('external data file', str(error))

    def test_cve_2024_40767(self) -> None:
        """Declared qcow2, it is the qcow2 inspector's to judge, and nothing else's."""
        for content in (b'KDMV' + bytes(4096), b'LUKS\xba\xbe' + bytes(4096), bytes(4096), b''):
            self.assertRaises(exception.UnsupportedVolume, image.check, [content], 'qcow2')

    def test_an_undeclared_backing_file_is_not_followed(self) -> None:
        self.assertRaises(
            exception.UnsupportedVolume, image.check, [qcow2.header(backing=True)], 'qcow2'
        )


class SwapAdvisoriesTest(WorldTestCase):
    """What went wrong in others' swaps."""

    def test_cve_2020_17376(self) -> None:
        """Done is said only when live and stored XML name the destination."""
        self.world.guest.on('pivot', lambda: setattr(self.world.guest, 'stored_source', OTHER))
        self.assertEqual(0, self.world.run().exit_code)
        self.assert_on_destination()

    def test_cve_2023_2088(self) -> None:
        """The source is let go only after verification, and a failure is an error to retry."""
        states: list[SwapState] = []

        def fails(*_: object) -> None:
            states.append(self.world.record().state)
            raise exception.HypervisorUnavailable('not now')

        self.patch(cleanup, 'sweep', fails)
        self.assertEqual(8, self.world.run().exit_code)
        self.assertEqual([SwapState.VERIFIED], states)

    def test_cve_2017_18191(self) -> None:
        """An encrypted volume is no destination."""
        for kind in ('rbd', 'iscsi', 'nfs'):
            error = self.assertRaises(exception.Refused, disk_of, kind, encrypted=True)
            self.assertIn('encrypt', str(error))

    def test_cve_2021_4145(self) -> None:
        """QEMU before 6.2 can be crashed through the mirror job."""
        self.world.hypervisor.fake_versions = Versions(libvirt=9_000_000, qemu=6_001_999)
        error = self.assertRaises(exception.PlanRefused, self.world.run)
        self.assertEqual(('versions',), error.failed)

    def test_ossn_0085(self) -> None:
        """A ceph key is in no XML, row or mark."""
        self.world.run()
        text = ''.join(path.read_bytes().decode('latin1') for path in self.journal_files())
        self.assertNotIn('c4n4ry', text + repr(self.world.guest.calls))

    def journal_files(self) -> list[Path]:
        return [one for one in self.world.journal.path.parent.iterdir() if one.is_file()]

    def test_lp_1775418(self) -> None:
        """A volume with more than one writer is not moved."""
        request = replace(self.world.request, destination=replace(DESTINATION, shareable=True))
        plan = self.world.service.plan(request)
        self.assertRaises(exception.SharedVolume, plan.raise_if_refused)

    def test_lp_2112187(self) -> None:
        """A serial that is not the one from before is no end to be content with."""
        self.world.guest.on('pivot', self._other_serial)
        outcome = self.world.run()
        self.assertEqual(8, outcome.exit_code)
        self.assertIn('serial', self.world.record().detail)

    def _other_serial(self) -> None:
        text = self.world.guest.text
        self.world.guest.text = (  # type: ignore[method-assign]
            lambda source, *, live: text(source, live=live).replace('serial-1', 'serial-2')
        )
