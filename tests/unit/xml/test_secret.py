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
"""Declarations of secrets hold no value, and libvirt's schema takes them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from blockmirror_driver import exception
from blockmirror_driver.model import SecretUsage
from blockmirror_driver.xml import secret as xml_secret
from tests.unit.xml import disks
from tests.unit.xml.schema import SchemaTestCase


class TestSecret(SchemaTestCase):
    def test_round_trip(self) -> None:
        for usage_type, ephemeral in ((t, e) for t in SecretUsage for e in (True, False)):
            # The schema takes the volume of a passphrase for a file.
            name = '/a/volume' if usage_type is SecretUsage.VOLUME else 'a name'
            text = xml_secret.build(
                usage_type, name, uuid=disks.UUID, ephemeral=ephemeral, description='why'
            )
            self.assert_valid_secret(text)
            self.assertEqual(
                xml_secret.SecretInfo(disks.UUID, usage_type.value, name, ephemeral, True, 'why'),
                xml_secret.parse(text),
            )

    def test_libvirt_may_choose_the_uuid(self) -> None:
        text = xml_secret.build(SecretUsage.CEPH, 'x', uuid=None, ephemeral=True, private=False)
        self.assert_valid_secret(text)
        info = xml_secret.parse(text)
        self.assertEqual(('', False, ''), (info.uuid, info.private, info.description))

    def test_other_types_are_read(self) -> None:
        for usage_type, tag in (('volume', 'volume'), ('tls', 'name'), ('vtpm', 'name')):
            text = f"<secret><usage type='{usage_type}'><{tag}>/x</{tag}></usage></secret>"
            info = xml_secret.parse(text)
            self.assertEqual((usage_type, '/x'), (info.usage_type, info.usage))
        self.assertEqual('', xml_secret.parse('<secret/>').usage)
        self.assertEqual('', xml_secret.parse("<secret><usage type='new'/></secret>").usage)

    def test_refused(self) -> None:
        for usage, uuid in (('', None), ('a\0', None), ('a', 'not a uuid')):
            with self.assertRaises(exception.InvalidDisk):
                xml_secret.build(SecretUsage.CEPH, usage, uuid=uuid, ephemeral=True)
        for text in ('', '<domain/>', 'x'):
            with self.assertRaises(exception.InvalidDisk):
                xml_secret.parse(text)

    @settings(deadline=None)
    @given(st.text(), st.text())
    def test_whatever_text_there_is(self, usage: str, description: str) -> None:
        try:
            text = xml_secret.build(
                SecretUsage.ISCSI, usage, uuid=None, ephemeral=True, description=description
            )
        except exception.InvalidDisk:
            return
        info = xml_secret.parse(text)
        self.assertEqual((usage, description), (info.usage, info.description))
