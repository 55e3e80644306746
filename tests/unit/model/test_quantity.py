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
from __future__ import annotations

import unittest

from hypothesis import given
from hypothesis import strategies as st

from blockmirror_driver import exception
from blockmirror_driver.model import format_bytes, parse_bytes

#: What libvirt's block calls take: a signed 64-bit number of bytes.
LARGEST = 2**63 - 1
UNITS = 'kmgtpe'


class TestParseBytes(unittest.TestCase):
    @given(st.integers(0, LARGEST))
    def test_plain_bytes(self, value: int) -> None:
        for text in (str(value), f'{value}B', f' {value} b '):
            self.assertEqual(value, parse_bytes(text))

    @given(st.integers(0, 7), st.sampled_from(UNITS), st.sampled_from(['', 'b', 'ib', 'iB', 'B']))
    def test_units_are_powers_of_1024(self, value: int, unit: str, tail: str) -> None:
        expected = value * 1024 ** (UNITS.index(unit) + 1)
        for text in (f'{value}{unit}{tail}', f'{value} {unit.upper()}{tail}'):
            self.assertEqual(expected, parse_bytes(text))

    def test_too_many(self) -> None:
        for text in (str(LARGEST + 1), '8E', '99999999999999999999'):
            self.assertRaises(exception.UsageError, parse_bytes, text)

    def test_what_is_not_bytes(self) -> None:
        for text in ('', ' ', '-1', '1.5G', 'G', '1 GG', '1ib', '0x10', '1_000', '\u0661', '1\n2'):
            with self.subTest(text):
                self.assertRaises(exception.UsageError, parse_bytes, text)

    @given(st.text())
    def test_any_text_is_read_or_refused(self, text: str) -> None:
        try:
            value = parse_bytes(text)
        except exception.UsageError as error:
            self.assertTrue(str(error).isprintable())
        else:
            self.assertTrue(0 <= value <= LARGEST)


class TestFormatBytes(unittest.TestCase):
    def test_examples(self) -> None:
        for value, text in (
            (0, '0 B'),
            (1023, '1023 B'),
            (1024, '1.0 KiB'),
            (1536, '1.5 KiB'),
            (1 << 30, '1.0 GiB'),
            (1 << 60, '1.0 EiB'),
            (1 << 73, '8192.0 EiB'),
        ):
            self.assertEqual(text, format_bytes(value))

    @given(st.integers(0, 7), st.integers(0, 6))
    def test_whole_units_read_back(self, value: int, exponent: int) -> None:
        number = value << (10 * exponent)
        shown = format_bytes(number).replace('.0', '')
        self.assertEqual(number, parse_bytes(shown))
