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
"""``blockmirror xml``: what is printed, and that no secret is."""

from __future__ import annotations

import json
import subprocess
import sys

from lxml import etree

from tests.unit.cli import fakes


class TestXml(fakes.CommandTestCase):
    def test_prints_the_disk(self) -> None:
        ran = self.run_command('xml', self.file('c.json', fakes.RBD), '--target', 'vdb')
        self.assertEqual((0, ''), (ran.code, ran.err))
        disk = etree.fromstring(ran.out)
        self.assertEqual('disk', disk.tag)
        self.assertEqual(['vdb'], disk.xpath('target/@dev'))
        self.assertEqual(['volumes/volume-1'], disk.xpath('source/@name'))
        self.assertIn('\n  <source ', ran.out)

    def test_reads_standard_input(self) -> None:
        ran = self.run_command('xml', '-', stdin=json.dumps(fakes.RBD))
        self.assertEqual((0, ''), (ran.code, ran.err))
        self.assertIn('volumes/volume-1', ran.out)

    def test_takes_the_answer_of_cinder(self) -> None:
        path = self.file('c.json', {'connection_info': fakes.RBD})
        self.assertEqual(0, self.run_command('xml', path).code)

    def test_what_cannot_be_read_is_2(self) -> None:
        for name, content in (
            ('empty.json', ''),
            ('cut.json', '{"driver_volume_type":'),
            ('nan.json', '{"driver_volume_type": NaN}'),
            ('deep.json', '[' * 100_000),
            ('digits.json', '1' * 10_000),
            ('large.json', ' ' * (1024 * 1024 + 1)),
        ):
            self.refused(2, 'xml', self.file(name, content))
        self.refused(2, 'xml', str(self.folder / 'absent.json'))
        self.refused(2, 'xml', str(self.folder))
        path = self.folder / 'latin1.json'
        path.write_bytes(b'{"x": "\xe4"}')
        self.refused(2, 'xml', str(path))

    def test_what_is_refused_is_3(self) -> None:
        for name, content in (
            ('list.json', []),
            ('text.json', '"rbd"'),
            ('object.json', {}),
            ('type.json', {'driver_volume_type': 'floppy', 'data': {}}),
            ('data.json', {'driver_volume_type': 'rbd', 'data': []}),
        ):
            self.refused(3, 'xml', self.file(name, content))

    def test_no_secret_is_printed(self) -> None:
        path = self.file('iscsi.json', fakes.ISCSI)
        ran = self.run_command('xml', path)
        self.assertEqual(0, ran.code, ran.err)
        self.assertIn('<secret', ran.out)
        self.assertNotIn(fakes.CANARY, ran.out + ran.err)

    def test_no_secret_is_in_an_error(self) -> None:
        text = json.dumps(fakes.ISCSI)
        wrong = {'auth_enabled': True, 'auth_username': 'u', 'keyring': [fakes.CANARY]}
        keyring = {**fakes.RBD, 'data': {**fakes.RBD['data'], **wrong}}
        broken = {
            **fakes.ISCSI,
            'data': {**fakes.ISCSI['data'], 'auth_method': 'x', 'target_lun': 'y'},
        }
        for content in (text[:-1], text[:-1] + '"', f'{{"{fakes.CANARY}', keyring, broken):
            path = self.file('c.json', content)
            command = [sys.executable, '-m', 'blockmirror_driver.cli.main', '--debug', 'xml', path]
            ran = subprocess.run(command, capture_output=True, text=True, check=False)
            self.assertIn(ran.returncode, (2, 3))
            self.assertNotIn(fakes.CANARY, ran.stdout + ran.stderr)
