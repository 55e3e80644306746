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
"""How a driver is found: ours, a third party's, a broken one, none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import textwrap
import unittest
from importlib import metadata
from pathlib import Path
from typing import Any

from blockmirror_driver import exception
from blockmirror_driver.model import Disk, FileSource
from blockmirror_driver.volume import registry
from blockmirror_driver.volume.base import NAMESPACE, VolumeDriver
from tests.unit.volume import cases
from tests.unit.volume.cases import mixed

#: A package as somebody else would write it.
MODULE = """
from blockmirror_driver import Capabilities, ConnectionInfo, Disk, VolumeDriver
from blockmirror_driver.model import BlockSource


class Tape(VolumeDriver):
    def describe(self) -> Capabilities:
        return Capabilities(protocol='')

    def disk(self, connection_info: ConnectionInfo, target_dev: str, conf: object) -> Disk:
        return Disk(BlockSource(connection_info.required_text('device')), target_dev)


class Careless(Tape):
    def disk(self, connection_info, target_dev, conf):
        return {}['c4n4ry']


class Forgetful(Tape):
    def disk(self, connection_info, target_dev, conf):
        return None


class Broken(Tape):
    def __init__(self):
        raise OSError('c4n4ry')


class Stranger:
    pass
"""

ENTRY_POINTS = """
[blockmirror.volume_drivers]
tape = tape_driver:Tape
careless = tape_driver:Careless
forgetful = tape_driver:Forgetful
broken = tape_driver:Broken
absent = no_such_module:Tape
stranger = tape_driver:Stranger
twice = tape_driver:Tape
"""

SECOND = """
[blockmirror.volume_drivers]
tape = tape_driver:Tape
twice = tape_driver:Careless
"""

SCRIPT = """
import json, sys
from blockmirror_driver import disk_for, exception
from blockmirror_driver.volume import registry
for kind in sys.argv[1:]:
    info = {'driver_volume_type': kind, 'data': {'device': '/dev/nst0'}}
    try:
        answer = disk_for(info, 'vdb').to_xml()
    except exception.BlockmirrorError as error:
        answer = f'{type(error).__name__}: {error}'
    print(json.dumps([kind, answer]))
print(json.dumps(['names', registry.names()]))
"""


def install(folder: Path, name: str, entry_points: str) -> None:
    info = folder / f'{name}-1.0.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n')
    (info / 'entry_points.txt').write_text(entry_points)


class TestThirdParty(unittest.TestCase):
    """Runs a process of its own, in whose path the package is installed."""

    answers: dict[str, Any]
    stderr: str

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        kinds = ['tape', 'careless', 'forgetful', 'broken', 'absent', 'stranger', 'twice', 'none']
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / 'tape_driver.py').write_text(textwrap.dedent(MODULE))
            install(folder, 'tape_driver', ENTRY_POINTS)
            install(folder, 'tape_driver_again', SECOND)
            root = str(Path(__file__).resolve().parents[3])
            # stevedore keeps what it found below the cache's home.
            env = {**os.environ, 'PYTHONPATH': f'{name}:{root}', 'XDG_CACHE_HOME': name}
            ran = subprocess.run(
                [sys.executable, '-c', SCRIPT, *kinds],
                env=env,
                capture_output=True,
                text=True,
                check=True,
            )
        cls.stderr = ran.stderr
        cls.answers = dict(json.loads(line) for line in ran.stdout.splitlines())

    def test_it_is_found(self) -> None:
        """Also when the same driver is registered twice, as an editable install may be."""
        self.assertIn('<source dev="/dev/nst0"/>', self.answers['tape'])
        self.assertLessEqual({'tape', 'rbd', 'iscsi', 'nfs', 'noop'}, set(self.answers['names']))

    def test_its_mistakes_are_our_errors(self) -> None:
        for kind in ('careless', 'forgetful'):
            self.assertRegex(self.answers[kind], f'^InvalidConnectionInfo: the driver for {kind}')

    def test_what_cannot_be_loaded(self) -> None:
        for kind in ('broken', 'absent', 'stranger', 'twice', 'none'):
            self.assertRegex(self.answers[kind], '^UnknownVolumeType: ')

    def test_nothing_else_is_said(self) -> None:
        """Whoever calls prints one line; a library that warns would add to it."""
        self.assertEqual('', self.stderr)
        self.assertNotIn('c4n4ry', str(self.answers))


class TestOurs(unittest.TestCase):
    def test_every_driver_says_what_it_can_do(self) -> None:
        for point in metadata.entry_points(group=NAMESPACE):
            with self.subTest(point.name):
                driver = registry.driver_for(point.name)
                self.assertIsInstance(driver, VolumeDriver)
                self.assertIn('raw', driver.describe().formats)

    def test_noop(self) -> None:
        info = {'driver_volume_type': 'noop', 'data': {'path': '/a b', 'serial': 's'}}
        disk = registry.disk_for(info, 'sda', conf=cases.options())
        self.assertEqual((FileSource('/a b'), 's', 'scsi'), (disk.source, disk.serial, disk.bus))
        for path in mixed('a', '/', '', None, 5):
            with self.assertRaises(exception.InvalidConnectionInfo):
                registry.disk_for({'driver_volume_type': 'noop', 'data': {'path': path}})

    def test_what_no_driver_is_for(self) -> None:
        for kind in ('drbd', 'sheepdog', 'RBD', ' rbd', 'x' * 10_000, 'a\nb\x1b'):
            with self.assertRaises(exception.UnknownVolumeType) as caught:
                registry.disk_for({'driver_volume_type': kind, 'data': {}})
            self.assertLess(len(str(caught.exception)), 200)


class TestDiskFor(unittest.TestCase):
    NFS = {'driver_volume_type': 'nfs', 'data': cases.NFS}  # noqa: RUF012

    def test_without_options_the_process_wide_ones(self) -> None:
        self.assertIsInstance(registry.disk_for(self.NFS), Disk)

    def test_the_argument_is_not_changed(self) -> None:
        before = json.dumps(self.NFS)
        registry.disk_for(self.NFS)
        self.assertEqual(before, json.dumps(self.NFS))

    def test_what_is_no_target(self) -> None:
        for dev in mixed('', 'vd', 'vda1', 'nvme0n1', 'VDA', 'fda', 'vdabcd', 'vda\n', None, 5):
            with self.subTest(dev), self.assertRaises(exception.UsageError):
                registry.disk_for(self.NFS, dev)

    def test_what_is_no_connection_info(self) -> None:
        for info in mixed(
            None,
            [],
            'rbd',
            5,
            {},
            {'data': {}},
            {'driver_volume_type': None},
            {'driver_volume_type': 5, 'data': {}},
            {'driver_volume_type': ['rbd'], 'data': {}},
            {'driver_volume_type': '', 'data': {}},
            {'driver_volume_type': 'rbd', 'data': []},
            {'driver_volume_type': 'rbd', 'data': 'x'},
            {'driver_volume_type': 'rbd', 'data': {1: 2}},
            {'driver_volume_type': 'rbd', 5: 5},
        ):
            with self.subTest(info), self.assertRaises(exception.InvalidConnectionInfo):
                registry.disk_for(info)
