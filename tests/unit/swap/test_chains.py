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
"""Backing chains: what a shallow copy needs to be below its destination."""

from __future__ import annotations

from dataclasses import replace

import testtools

from blockmirror_driver.model import Backing, Disk, Driver, FileSource, Host, NfsSource
from blockmirror_driver.swap import chains
from blockmirror_driver.xml import disk as xml_disk

BASE = Backing(FileSource('/images/base'))
MIDDLE = Backing(FileSource('/images/middle'), 'qcow2', BASE)
RAW = Disk(source=FileSource('/images/new'))
QCOW2 = replace(RAW, driver=Driver(format='qcow2'))


class JudgeTest(testtools.TestCase):
    def judge(self, below: Backing | None, destination: Disk, *, shallow: bool) -> chains.Verdict:
        source = replace(QCOW2, source=FileSource('/images/top'), backing=below)
        return chains.judge(source, destination, shallow=shallow)

    def test_a_full_copy(self) -> None:
        self.assertTrue(self.judge(None, RAW, shallow=False).passed)
        told = self.judge(MIDDLE, RAW, shallow=False)
        self.assertEqual((True, 'layers below the source that are flattened: 2'), told[:2])
        self.assertFalse(self.judge(MIDDLE, replace(QCOW2, backing=BASE), shallow=False).passed)

    def test_a_shallow_copy(self) -> None:
        for below, destination, passed in (
            (None, RAW, True),
            (None, QCOW2, True),
            (None, replace(QCOW2, backing=BASE), False),
            (BASE, RAW, False),
            (BASE, QCOW2, False),
            (BASE, replace(RAW, backing=BASE), False),
            (BASE, replace(QCOW2, backing=BASE), True),
            (BASE, replace(QCOW2, backing=replace(BASE, format='qcow2')), False),
            (BASE, replace(QCOW2, backing=Backing(FileSource('/images/other'))), False),
            (MIDDLE, replace(QCOW2, backing=MIDDLE), True),
            (MIDDLE, replace(QCOW2, backing=BASE), False),
            (MIDDLE, replace(QCOW2, backing=replace(MIDDLE, below=None)), False),
        ):
            with self.subTest(below=below, destination=destination):
                told = self.judge(below, destination, shallow=True)
                self.assertEqual(passed, told.passed)
                self.assertEqual(passed, not told.fix)


class XmlTest(testtools.TestCase):
    def test_it_is_read_back_as_it_was_written(self) -> None:
        far = Backing(NfsSource(Host('192.0.2.1'), '/export', 'base'), 'raw')
        disk = replace(QCOW2, backing=replace(MIDDLE, below=far))
        self.assertEqual(disk, xml_disk.parse(xml_disk.build(disk)))
        self.assertEqual([MIDDLE.source, far.source], [one.source for one in disk.layers])
