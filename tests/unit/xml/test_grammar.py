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
"""Our idea of the schema's data types is not wider than the schema's."""

from __future__ import annotations

import ipaddress

from hypothesis import given, settings
from hypothesis import strategies as st

from blockmirror_driver.model import Disk, FileSource, Host, IscsiSource
from blockmirror_driver.xml import grammar
from tests.unit.xml.schema import SchemaTestCase


class TestHosts(SchemaTestCase):
    @settings(deadline=None)
    @given(
        st.ip_addresses() | st.ip_addresses(v=6).map(lambda a: ipaddress.ip_address(a.exploded))
    )
    def test_every_address_is_in_the_schema(
        self, address: ipaddress.IPv4Address | ipaddress.IPv6Address
    ) -> None:
        for text in (str(address), address.exploded, str(address).upper()):
            self.assertTrue(grammar.is_host(text))
            self.assert_valid(Disk(IscsiSource('a', 1, Host(text))).to_xml())

    def test_what_is_no_address(self) -> None:
        for text in ('fe80::1%eth0', '1::2::3', ':', '[::1]', '1:2:3:4:5:6:7:8:9', '::g'):
            self.assertFalse(grammar.is_host(text), text)

    def test_what_is_no_name(self) -> None:
        for text in ('', 'a b', 'a_b', 'ä', 'a\n', 'a' * 254, 'a/b', 'a;b'):
            self.assertFalse(grammar.is_host(text), text)

    def test_a_quad_that_is_no_address_is_a_name(self) -> None:
        self.assertTrue(grammar.is_host('111.22.333.44'))


class TestTargets(SchemaTestCase):
    def test_bus_of_a_target(self) -> None:
        for dev, bus in (('vda', 'virtio'), ('sdaa', 'scsi'), ('hdc', 'ide'), ('xvda', 'xen')):
            self.assertEqual(bus, grammar.bus_of(dev))
            self.assert_valid(Disk(FileSource('/a'), dev, bus).to_xml())
        self.assertIsNone(grammar.bus_of('nvme0n1'))


class TestNumbers(SchemaTestCase):
    def test_numbers(self) -> None:
        self.assertEqual(12, grammar.unsigned('0012'))
        for text in (None, '', '-1', '+1', '1.0', ' 1', '٣', '9' * 5000, str(1 << 64)):
            self.assertIsNone(grammar.unsigned(text), text)

    def test_uuids(self) -> None:
        uuid = '0f4c2d8e-3a51-4a6e-9b0c-7d1f5e2a9c44'
        for text in (uuid, uuid.upper(), uuid.replace('-', '')):
            self.assertEqual(uuid, grammar.uuid_text(text))
        for text in ('', uuid[1:], f'{{{uuid}}}', f'urn:uuid:{uuid}', f'{uuid}\n'):
            self.assertIsNone(grammar.uuid_text(text))
