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
"""QEMU's own names of destinations: taken apart once, and nothing in them becomes an option."""

from __future__ import annotations

import json
from typing import Any

import testtools
from hypothesis import given
from hypothesis import strategies as st

from blockmirror_driver import exception
from blockmirror_driver.model import QemuSource
from blockmirror_driver.qemu import filename
from blockmirror_driver.xml import disk as xml_disk


def options(name: str) -> dict[str, Any]:
    source = filename.disk_of(name, 'vda').source
    assert isinstance(source, QemuSource)
    return dict(json.loads(source.options))


class NamesTest(testtools.TestCase):
    def test_what_they_say(self) -> None:
        inet = {'type': 'inet', 'host': '192.0.2.1', 'port': '10809'}
        for name, wanted in (
            (
                'nbd:192.0.2.1:10809:exportname=a:b',
                {'driver': 'nbd', 'server': inet, 'export': 'a:b'},
            ),
            (
                'nbd:[2001:db8::1]:1',
                {
                    'driver': 'nbd',
                    'server': {'type': 'inet', 'host': '2001:db8::1', 'port': '1'},
                    'export': '',
                },
            ),
            (
                'nbd:unix:/run/n.sock:exportname=x',
                {
                    'driver': 'nbd',
                    'server': {'type': 'unix', 'path': '/run/n.sock'},
                    'export': 'x',
                },
            ),
            (
                'rbd:pool/ns/im\\:age:id=me:auth_supported=cephx\\;none:mon_host=h\\:3300:conf=/c',
                {
                    'driver': 'rbd',
                    'pool': 'pool',
                    'namespace': 'ns',
                    'image': 'im:age',
                    'user': 'me',
                    'auth-client-required': ['cephx', 'none'],
                    'server': [{'host': 'h', 'port': '3300'}],
                    'conf': '/c',
                },
            ),
            (
                'json:{"driver": "raw", "file": {"driver": "ssh", "path": "/x"}}',
                {'driver': 'ssh', 'path': '/x'},
            ),
        ):
            with self.subTest(name):
                self.assertEqual(wanted, options(name))

    def test_what_is_refused(self) -> None:
        deep = '{"driver": "x", "a": ' + '[' * 20 + ']' * 20 + '}'
        for name, words in (
            ('nbd:', 'host and a port'),
            ('nbd:host:99999999', 'host and a port'),
            ('nbd:unix:relative', 'host and a port'),
            ('rbd:pool', 'POOL/IMAGE'),
            ('rbd:pool/image@snap', 'snapshot'),
            ('rbd:pool/image:key=AQB', 'no secret'),
            ('rbd:pool/image:rbd_cache=1', 'rbd_cache'),
            ('rbd:pool/image:auth_supported=gss', 'cephx or none'),
            ('rbd:pool/image:mon_host=h', 'HOST:PORT'),
            ('json:{', 'JSON'),
            ('json:[]', 'driver'),
            ('json:{"driver": 1}', 'driver'),
            ('json:{"driver": "qcow2", "file": {"driver": "file"}}', 'storage'),
            ('json:{"driver": "raw", "offset": 1, "file": {"driver": "file"}}', 'raw'),
            ('json:{"driver": "ssh", "user": {"password": "x"}}', 'no secret'),
            ('json:{"driver": "file", "filename": "/x\\u0000"}', 'control characters'),
            (f'json:{deep}', 'nested'),
        ):
            with self.subTest(name):
                error = self.assertRaises(exception.UsageError, filename.disk_of, name, 'vda')
                self.assertIn(words, f'{error.message} {error.hint}')

    @given(st.sampled_from(filename.PREFIXES), st.text(max_size=80))
    def test_any_text_is_a_disk_or_an_error_of_ours(self, prefix: str, text: str) -> None:
        try:
            disk = filename.disk_of(prefix + text, 'vda')
        except exception.UsageError:
            return
        self.assertIn('driver', json.loads(disk.source.options))  # type: ignore[union-attr]

    def test_the_journal_keeps_it(self) -> None:
        disk = filename.disk_of('nbd:host:1:exportname=<&">', 'vdb')
        self.assertEqual(disk, xml_disk.parse(xml_disk.build(disk)))
        self.assertEqual('qemu:nbd', disk.source.describe())
