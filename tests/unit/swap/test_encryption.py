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
"""Which moves of encrypted disks are planned."""

import unittest
from dataclasses import replace

from blockmirror_driver import exception
from blockmirror_driver.model import Disk, Driver, Encryption, FileSource, SecretRef, SecretUsage
from blockmirror_driver.swap import encryption
from blockmirror_driver.xml.domain import DomainDisk

_PLAIN = Disk(FileSource('/a'))
_LUKS = Disk(FileSource('/a'), encryption=Encryption(SecretRef(SecretUsage.VOLUME, usage='x')))


def live(disk: Disk, *, encrypted: bool) -> DomainDisk:
    """A disk as a guest has it."""
    return DomainDisk(disk, encrypted=encrypted)


class TestJudge(unittest.TestCase):
    def test_each_direction(self) -> None:
        for before, after, decrypt, told in (
            (_PLAIN, _PLAIN, False, 'neither side'),
            (_PLAIN, _LUKS, False, 'plain to LUKS'),
            (_LUKS, _LUKS, False, 'LUKS on both sides'),
            (_LUKS, _PLAIN, True, 'LUKS to plain'),
        ):
            encrypted = before.encryption is not None
            said = encryption.judge(live(before, encrypted=encrypted), after, decrypt=decrypt)
            self.assertIn(told, said)

    def test_nothing_is_decrypted_unasked(self) -> None:
        with self.assertRaises(exception.EncryptedVolume) as caught:
            encryption.judge(live(_LUKS, encrypted=True), _PLAIN, decrypt=False)
        self.assertIn('--decrypt', caught.exception.hint)

    def test_within_an_image_format(self) -> None:
        qcow2 = replace(_LUKS, driver=Driver('qcow2'))
        plain = live(_PLAIN, encrypted=False)
        self.assertIn('plain to LUKS', encryption.judge(plain, qcow2, decrypt=False))
        after = replace(_LUKS, driver=Driver('vmdk'))
        with self.assertRaises(exception.EncryptedVolume):
            encryption.judge(live(_PLAIN, encrypted=False), after, decrypt=True)

    def test_what_we_do_not_open(self) -> None:
        """The driver says luks, or the encryption is librbd's: refused, even to be decrypted."""
        foreign = Disk(FileSource('/a'), encryption=Encryption(None, 'luks by librbd'))
        for before in (_PLAIN, foreign):
            with self.assertRaises(exception.EncryptedVolume):
                encryption.judge(live(before, encrypted=True), _LUKS, decrypt=True)
