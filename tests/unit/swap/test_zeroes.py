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
"""That a destination is zeroed is believed when it is seen, and else compared, or refused."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import fixtures
import testtools

from blockmirror_driver import exception
from blockmirror_driver.mirror.options import CopyOptions
from blockmirror_driver.model import (
    Bytes,
    Disk,
    Driver,
    Encryption,
    FileSource,
    RbdSource,
    Seconds,
    SecretRef,
    SecretUsage,
)
from blockmirror_driver.qemu import allocation, tool
from blockmirror_driver.swap import images, requirements, zeroes
from blockmirror_driver.swap.contents import CHUNK
from blockmirror_driver.swap.request import Ending
from blockmirror_driver.virt.capabilities import Versions
from tests.unit.swap.guest import DESTINATION, SIZE
from tests.unit.swap.test_plan import PlanTestCase

NEWEST = Versions(libvirt=12_002_000, qemu=10_001_000)
ZEROED = CopyOptions(target_zeroed=True)
COMPARED = replace(ZEROED, verify_contents=True)


class Volume:
    """A destination; ``known`` is where its storage does not know of zeroes."""

    def __init__(self, size: int = SIZE) -> None:
        self.data = bytearray(size)
        self.known: list[tuple[int, int]] = []
        self.asked: list[tuple[int, int]] = []

    def occupied(self, size: Bytes, timeout: Seconds) -> list[tuple[int, int]]:
        return [(start, min(end, size)) for start, end in self.known]

    def ask(self, offset: int, length: int) -> None:
        self.asked.append((offset, length))

    def answer(self) -> bytes:
        offset, length = self.asked[-1]
        return bytes(self.data[offset : offset + length])


class ZeroedTestCase(PlanTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.hypervisor.fake_versions = NEWEST
        # Any process may read both sides.
        self.guest.live_source = self.guest.stored_source = RbdSource('volumes', 'old')
        self.volume = Volume()
        self.opened: list[Disk] = []
        patcher = mock.patch.object(images, 'opened', self.open)
        patcher.start()
        self.addCleanup(patcher.stop)

    @contextlib.contextmanager
    def open(self, _hypervisor: object, _domain: object, disks: Any, _t: object) -> Iterator[Any]:
        self.opened += disks
        yield (self.volume,)


class TestPlan(ZeroedTestCase):
    def test_it_is_not_said(self) -> None:
        self.assertNotIn('zeroed', [check.id for check in self.plan().checks])
        self.assertEqual([], self.opened)

    def test_the_storage_knows_it(self) -> None:
        self.assert_passes('zeroed', f'all {SIZE} bytes are 0; 0 B were read', options=ZEROED)
        self.assertEqual([], self.volume.asked)
        # It is opened with secrets that exist.
        cited = {ref for disk in self.opened for ref in disk.cited}
        self.assertEqual(set(), cited - self.secrets.known)

    def test_what_it_does_not_know_is_read(self) -> None:
        self.volume.known = [(4096, 8192), (SIZE - 4096, SIZE + 4096)]
        self.assert_passes('zeroed', '8.0 KiB were read', options=ZEROED)
        self.assertEqual([(4096, 4096), (SIZE - 4096, 4096)], self.volume.asked)

    def test_one_byte_that_is_something_else(self) -> None:
        self.volume.known = [(0, SIZE)]
        self.volume.data[70_000] = 1
        for options in (ZEROED, COMPARED):
            self.assert_fails(
                'zeroed', f'byte 70000 of {SIZE} is not 0', '--target-zeroed', options=options
            )
        error = self.assertRaises(
            exception.DestinationUnusable, self.plan(options=ZEROED).raise_if_refused
        )
        self.assertEqual(3, error.exit_code)

    def test_time_is_up(self) -> None:
        self.volume.known = [(0, SIZE)]
        with mock.patch.object(time, 'monotonic', side_effect=iter(range(0, 10_000, 100))):
            told = 'could not be looked at: 15 s were not enough'
            self.assert_fails('zeroed', told, '--verify-contents', options=ZEROED)
            self.assert_unknown('zeroed', 'compared before the end', options=COMPARED)
            self.assert_fails(
                'zeroed', told, 'nobody compares', options=COMPARED, ending=Ending.ASYNC
            )
        self.assertEqual([], self.volume.asked)

    def test_it_can_not_be_opened_for_reading(self) -> None:
        with mock.patch.object(images, 'opened', side_effect=exception.CopyFailed('no such')):
            self.assert_fails('zeroed', 'no such', '--verify-contents', options=ZEROED)
            self.assert_unknown('zeroed', 'no such', options=COMPARED)

    def test_only_what_is_used_counts(self) -> None:
        self.volume = Volume(SIZE + 4096)
        self.volume.known = [(SIZE, SIZE + 4096)]
        self.volume.data[SIZE] = 1
        seen = zeroes._look(self.volume, SIZE + 4096, Seconds(15.0))  # type: ignore[arg-type]
        self.assertEqual(SIZE, seen.first)

    def test_it_is_read_in_pieces(self) -> None:
        self.volume = Volume(CHUNK + 5)
        self.volume.known = [(0, CHUNK + 5)]
        self.volume.data[CHUNK + 2] = 1
        seen = zeroes._look(self.volume, Bytes(CHUNK + 5), Seconds(15.0))  # type: ignore[arg-type]
        self.assertEqual((CHUNK, CHUNK + 2), (seen.read, seen.first))

    def test_another_size_is_the_only_remark(self) -> None:
        self.hypervisor.probe_result = replace(
            self.hypervisor.probe_result, capacity=Bytes(SIZE - 1)
        )
        self.assertNotIn('zeroed', [check.id for check in self.plan(options=ZEROED).checks])


class TestRefusal(ZeroedTestCase):
    def test_what_makes_no_sense(self) -> None:
        key = SecretRef(SecretUsage.VOLUME, usage='x')
        for word, options, destination in (
            ('libvirt makes', replace(ZEROED, reuse_external=False), DESTINATION),
            ('blockRebase', replace(ZEROED, method='rebase'), DESTINATION),
            ('shallow', replace(ZEROED, shallow=True), DESTINATION),
            ('encrypted', ZEROED, replace(DESTINATION, encryption=Encryption(key))),
            ('qcow2', ZEROED, replace(DESTINATION, driver=Driver('qcow2'))),
            ('may not read', ZEROED, Disk(FileSource('/does/not/exist'))),
        ):
            told = zeroes.refusal(destination, options)
            assert told is not None
            self.assertIn(word, told.why)
            self.assertIn('leave out --target-zeroed', told.fix)
            plain = replace(options, target_zeroed=False)
            self.assertIsNone(zeroes.refusal(destination, plain))
        self.assertIsNone(zeroes.refusal(DESTINATION, ZEROED))

    def test_the_plan_says_it_before_anything_is_opened(self) -> None:
        qcow2 = replace(DESTINATION, driver=Driver('qcow2'))
        self.assert_fails('zeroed', 'qcow2', 'leave out', options=ZEROED, destination=qcow2)
        self.assertEqual([], self.opened)

    def test_versions(self) -> None:
        fix = 'leave out --target-zeroed'
        self.hypervisor.fake_versions = replace(NEWEST, libvirt=12_001_999)
        self.assert_fails('versions', 'libvirt 12.1.999 can not', fix, options=ZEROED)
        self.hypervisor.fake_versions = replace(NEWEST, qemu=10_000_050)
        self.assert_fails('versions', 'QEMU 10.0.50 can not', fix, options=ZEROED)
        self.hypervisor.fake_versions = NEWEST
        self.assert_passes('versions', options=ZEROED)

    def test_a_copy_by_qmp_passes_libvirt_by(self) -> None:
        qmp = replace(ZEROED, method='qmp')
        old = Versions(libvirt=9_000_000, qemu=NEWEST.qemu)
        self.assertIsNone(requirements.refusal(old, qmp))
        self.assertIsNotNone(requirements.refusal(replace(old, qemu=9_000_000), qmp))


class TestHoles(testtools.TestCase):
    def image(self, size: int, *written: int) -> images.LocalImage:
        path = Path(self.useFixture(fixtures.TempDir()).path) / 'image'
        with path.open('wb') as file:
            file.truncate(size)
            for offset in written:
                os.pwrite(file.fileno(), b'x', offset)
        image = images.LocalImage(str(path))
        self.addCleanup(image.close)
        return image

    def test_of_a_file(self) -> None:
        size = Bytes(4 << 20)
        self.assertEqual([], self.image(size).occupied(size, Seconds(1.0)))
        found = self.image(size, 1 << 20, size - 1).occupied(size, Seconds(1.0))
        self.assertTrue(all(any(a <= one < b for a, b in found) for one in (1 << 20, size - 1)))
        self.assertFalse(any(a <= 2 << 20 < b for a, b in found))
        self.assertEqual(size, found[-1][1])

    def test_behind_what_is_used(self) -> None:
        image = self.image(4 << 20, 3 << 20)
        self.assertEqual([], image.occupied(Bytes(1 << 20), Seconds(1.0)))
        (span,) = image.occupied(Bytes((3 << 20) + 1), Seconds(1.0))
        self.assertEqual((3 << 20) + 1, span[1])

    def test_where_the_kernel_does_not_tell(self) -> None:
        image = self.image(4096)
        with mock.patch.object(os, 'lseek', side_effect=OSError(22, 'Invalid argument')):
            self.assertEqual([(0, 4096)], image.occupied(Bytes(4096), Seconds(1.0)))


class TestAllocation(testtools.TestCase):
    def told(self, output: bytes, code: int = 0) -> list[tuple[int, int]]:
        ended = tool.Ended(code, output, 'reason')
        with mock.patch.object(tool, 'run', return_value=ended):
            return allocation.occupied('/run/x', '0', Bytes(100), Seconds(1.0))

    def test_what_qemu_tells(self) -> None:
        output = (
            b'[{"start": 0, "length": 40, "zero": false, "data": true},'
            b'{"start": 40, "length": 40, "zero": true, "data": false},'
            b'{"start": 80, "length": 40, "zero": false, "data": true},'
            b'{"start": 120, "length": 40, "zero": false, "data": true}]'
        )
        self.assertEqual([(0, 40), (80, 100)], self.told(output))

    def test_what_it_does_not_tell_counts_as_written(self) -> None:
        for output, code in ((b'', 1), (b'', 0), (b'[{"start": 0}]', 0), (b'{"a": 1}', 0)):
            self.assertEqual([(0, 100)], self.told(output, code))
        with mock.patch.object(tool, 'run', side_effect=exception.TimedOut('late')):
            self.assertEqual(
                [(0, 100)], allocation.occupied('/run/x', '0', Bytes(100), Seconds(1.0))
            )
