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
"""NBD exports."""

from __future__ import annotations

from typing import Any

from blockmirror_driver.model import Host, NbdSource
from tests.unit.volume import cases
from tests.unit.volume.cases import ABSENT


class TestNbd(cases.VolumeTestCase):
    kind = 'nbd'

    def source(self, **changes: Any) -> NbdSource:
        source = self.disk(**changes).source
        assert isinstance(source, NbdSource)
        return source

    def test_tcp(self) -> None:
        for port, expected in ((ABSENT, 10809), (None, 10809), (10810, 10810), ('10810', 10810)):
            self.assertEqual(
                NbdSource('volume-1', Host('192.0.2.31', expected)), self.source(port=port)
            )
        self.assertEqual('2001:db8::1', (self.source(host='[2001:db8::1]').host or Host('')).name)

    def test_tls(self) -> None:
        for value in (True, 'true', 'yes'):
            self.assertTrue(self.source(tls=value).tls)
        self.assertIn('tls="yes"', self.disk(tls=True).to_xml())

    def test_socket(self) -> None:
        found = self.source(host=ABSENT, socket='/run/nbd.sock')
        self.assertEqual(NbdSource('volume-1', socket='/run/nbd.sock'), found)

    def test_refused(self) -> None:
        for changes in (
            {'export': ABSENT}, {'export': ''}, {'export': 7}, {'export': 'x' * 5000},
            {'export': 'a\nb'}, {'host': ABSENT}, {'socket': '/run/a'}, {'host': 'a b'},
            {'host': '-oops'}, {'port': 70000}, {'port': 'x'}, {'port': -1},
            {'host': ABSENT, 'socket': 'run/a'}, {'host': ABSENT, 'socket': '/run/../a'},
            {'host': ABSENT, 'socket': '/run/a', 'tls': True},
        ):  # fmt: skip
            with self.subTest(changes):
                self.refused(**changes)
