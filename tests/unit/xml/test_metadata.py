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
"""Marks survive libvirt's handling of metadata, whatever they hold."""

from __future__ import annotations

import unittest

from hypothesis import given, settings
from hypothesis import strategies as st

from blockmirror_driver import exception
from blockmirror_driver.xml import domain as xml_domain
from blockmirror_driver.xml import metadata
from tests.unit.xml import disks

MARK = metadata.SwapMark('swap-1', 'vda', disks.FULL.to_xml(), disks.FULL.to_xml(), 'pivot')


class TestMetadata(unittest.TestCase):
    def test_round_trip(self) -> None:
        marks = (MARK, metadata.SwapMark('swap-2', 'vdb', '', '<disk/>', 'copy'))
        self.assertEqual(marks, metadata.parse(metadata.build(marks)))
        self.assertEqual((), metadata.parse(metadata.build(())))

    def test_as_it_stands_in_the_domain(self) -> None:
        """libvirt puts the elements into the namespace, with the key as prefix."""
        text = metadata.build([MARK])
        for tag in ('swaps', 'swap', 'source', 'destination'):
            text = text.replace(f'<{tag}', f'<{metadata.KEY}:{tag}').replace(
                f'</{tag}>', f'</{metadata.KEY}:{tag}>'
            )
        declaration = f' xmlns:{metadata.KEY}="{metadata.NAMESPACE}"'
        text = text.replace(':swaps', f':swaps{declaration}', 1)
        self.assertEqual((MARK,), metadata.parse(text))

    def test_its_disks_are_not_the_domains(self) -> None:
        text = f'<domain><metadata>{metadata.build([MARK])}</metadata><devices/></domain>'
        self.assertEqual((), xml_domain.disks(text))
        self.assertEqual(set(), xml_domain.cited_secrets(text))

    def test_what_is_not_ours(self) -> None:
        for text in (
            '',
            '<a/>',
            '<swaps xmlns="urn:x"/>',
            '<swaps><swap/></swaps>',
            '<swaps><swap id="1"/></swaps>',
            '<swaps><a id="1" dev="vda"/></swaps>',
        ):
            with self.subTest(text), self.assertRaises(exception.InvalidDisk):
                metadata.parse(text)

    @settings(deadline=None)
    @given(st.text(min_size=1), st.text(min_size=1), st.text(), st.text(), st.text())
    def test_whatever_text_there_is(self, a: str, b: str, c: str, d: str, e: str) -> None:
        mark = metadata.SwapMark(a, b, c, d, e)
        try:
            text = metadata.build([mark])
        except exception.InvalidDisk:
            return
        self.assertEqual((mark,), metadata.parse(text))
