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
"""Sizes to the byte, with and without a LUKS header, and what is used of a larger volume."""

import unittest

from blockmirror_driver.model import (
    Bytes,
    Disk,
    Driver,
    FileSource,
)
from blockmirror_driver.swap import sizes

_RAW, _QCOW2 = Disk(FileSource('/a')), Disk(FileSource('/a'), driver=Driver('qcow2'))


def judge(
    seen: int, whole: int, disk: Disk = _RAW, *, allow_larger: bool = False
) -> sizes.Verdict:
    """Judge a destination for a source of 1000 bytes."""
    found = sizes.Sizes(Bytes(1000), Bytes(seen), Bytes(whole))
    return sizes.judge(found, disk, allow_larger=allow_larger)


class TestJudge(unittest.TestCase):
    def test_equal(self) -> None:
        for whole in (1000, 1200):
            for allowed in (True, False):
                told = judge(1000, whole, allow_larger=allowed)
                self.assertEqual((True, None), (told.passed, told.slice_size))

    def test_too_small(self) -> None:
        for allowed in (True, False):
            told = judge(900, 900, allow_larger=allowed)
            self.assertEqual((False, 'make it 1000 bytes'), (told.passed, told.fix))
        self.assertEqual('make it 1200 bytes: the LUKS header takes 200', judge(900, 1100).fix)

    def test_larger_is_refused_unless_it_is_allowed(self) -> None:
        told = judge(1001, 1001)
        self.assertEqual((False, None), (told.passed, told.slice_size))
        self.assertIn('--allow-larger', told.fix)

    def test_what_is_used_of_a_larger_one(self) -> None:
        for whole, used in ((1512, 1000), (1712, 1200)):
            told = judge(1512, whole, allow_larger=True)
            self.assertEqual((None, used), (told.passed, told.slice_size))
            self.assertIn('512 are spare', told.detail)

    def test_what_can_not_be_used_in_part(self) -> None:
        told = judge(1512, 1512, _QCOW2, allow_larger=True)
        self.assertEqual((False, None), (told.passed, told.slice_size))
