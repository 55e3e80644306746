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
"""Mount options: what can be left out is, with a reason; what protects is not."""

from __future__ import annotations

from blockmirror_driver import exception
from tests.unit.volume import cases


class TestMountOptions(cases.VolumeTestCase):
    kind = 'nfs'

    def test_none(self) -> None:
        for options in (None, '', '-o', '-o ', ' ', ',,', cases.ABSENT):
            disk = self.disk(options=options)
            self.assertEqual(((), False), (disk.notes, disk.readonly))

    def test_those_of_the_kernels_client(self) -> None:
        (note,) = self.disk(options='-o intr,nfsvers=3').notes
        self.assertEqual("nfs: intr ignored: of the kernel's client only", note)
        for options in ('hard,timeo=600', '-ohard,timeo=600', '-o hard -o timeo=600'):
            (note,) = self.disk(options=options).notes
            self.assertIn('hard,timeo=600 ignored', note)

    def test_those_that_are_met(self) -> None:
        for options in ('vers=3', 'nfsvers=3,proto=tcp', 'v3', 'rw', 'sec=sys', 'port=2049'):
            notes = self.disk(options=options).notes
            self.assertFalse([n for n in notes if 'the server must' in n], notes)

    def test_another_version_is_noted(self) -> None:
        """The probe tells whether the server has version 3 too."""
        for option in ('vers=4', 'nfsvers=4.1', 'v4', 'vers=4.2', 'minorversion=1', 'vers=2'):
            (note,) = self.disk(options=f'-o {option}').notes
            self.assertIn(f'{option} ignored: QEMU speaks NFSv3', note)

    def test_another_transport_is_noted(self) -> None:
        for option in ('udp', 'proto=udp', 'rdma', 'proto=rdma'):
            (note,) = self.disk(options=option).notes
            self.assertIn('QEMU uses TCP', note)

    def test_read_only(self) -> None:
        self.assertTrue(self.disk(options='ro').readonly)
        self.assertTrue(self.disk(options='rw,hard,ro').readonly)
        self.assertFalse(self.disk(options='ro,rw').readonly)
        self.assertTrue(self.disk(options='rw', access_mode='ro').readonly)

    def test_what_protects_or_leads_elsewhere_is_refused(self) -> None:
        for options in (
            'sec=krb5',
            '-o hard,sec=krb5p',
            'sec=krb5:krb5i',
            'xprtsec=tls',
            'xprtsec=mtls',
            'port=20049',
            'mountport=635',
        ):
            with self.subTest(options):
                error = self.refused(exception.UnsupportedVolume, options=options)
                self.assertIn('data.options', str(error))

    def test_a_list_of_flavours_with_sys(self) -> None:
        self.disk(options='sec=sys:krb5')

    def test_what_is_no_text(self) -> None:
        for options in (5, ['ro'], {'ro': True}, 'ro\n', 'ro\0', True):
            self.refused(options=options)
