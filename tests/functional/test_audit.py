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
"""The audit on a real libvirt: what is wrong on purpose is named, and mended where it may be."""

from __future__ import annotations

from typing import Any

import libvirt

from blockmirror_driver.model import Disk, Host, NfsSource, Secret, SecretSpec, SecretUsage
from blockmirror_driver.virt.connection import Hypervisor
from blockmirror_driver.virt.domain import CopyFlag
from blockmirror_driver.virt.secrets import SecretLifetime
from tests.functional.base import SLOW, LabTestCase
from tests.lab.guest.guest import Guest

COPY = int(CopyFlag.REUSE_EXT | CopyFlag.TRANSIENT_JOB)


class AuditTest(LabTestCase):
    def audit(self, guest: Guest, *options: str) -> tuple[int, list[dict[str, Any]]]:
        """The exit code, and the rows of the guest and of the host."""
        ran = self.command.run('audit', '-f', 'json', *options)
        rows = [row for row in ran.json if row['domain'] in (guest.name, '')]
        return ran.code, rows

    def test_a_stale_stored_xml_and_what_was_left_over(self) -> None:
        """P2, P4: the cold start would be from old data; P7: what is left over is swept."""
        source, destination = self.volume('file', filled=True), self.volume('nfs')
        guest = self.writing_guest(source)
        before = guest.domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
        self.assert_ok(self.swap(guest, destination))
        code, (row,) = self.audit(guest)
        self.assertEqual((0, 'agrees', row['live']), (code, row['result'], row['stored']))

        self.lab.connect().defineXML(before)
        self._leave_a_secret()
        code, rows = self.audit(guest)
        self.assertEqual((8, ['disagrees', 'left over']), (code, [r['result'] for r in rows]))
        self.assertIn('old data', rows[0]['detail'])
        self.assertNotEqual(rows[0]['live'], rows[0]['stored'])

        code, rows = self.audit(guest, '--repair')
        self.assertEqual((0, {'repaired'}), (code, {r['result'] for r in rows}))
        self.assert_on(guest, destination)
        self.assert_nothing_left(guest)
        self.assertEqual(0, self.audit(guest)[0])
        self.assert_survived(guest, destination)

    def test_another_tools_job_is_named_and_left_alone(self) -> None:
        """P4."""
        source, destination = self.volume('file', filled=True), self.volume('file')
        guest = self.writing_guest(source)
        limit = {libvirt.VIR_DOMAIN_BLOCK_COPY_BANDWIDTH: 1 << 20}
        guest.domain.blockCopy('vda', destination.disk_xml('vda'), limit, COPY)
        self.addCleanup(guest.domain.blockJobAbort, 'vda', 0)
        code, (row,) = self.audit(guest, '--repair')
        self.assertEqual((7, 'disagrees'), (code, row['result']))
        self.assertIn('not ours', row['detail'])
        self.assertIsNotNone(self.source_of(guest).find('mirror'))

    def test_a_swap_that_nobody_runs(self) -> None:
        source, destination = self.volume('file', filled=True), self.volume('nfs')
        guest = self.writing_guest(source)
        running = self.command.start(
            'swap', guest.name, 'vda', self.connection(destination),
            '--bandwidth', SLOW, '--events', 'jsonl',
        )  # fmt: skip
        running.wait_copied(1)
        code, (row,) = self.audit(guest)
        self.assertEqual((0, 'agrees'), (code, row['result']))
        running.kill()
        running.wait()
        code, (row,) = self.audit(guest)
        self.assertEqual(7, code)
        self.assertIn('blockmirror recover', row['fix'])
        self.command.run('recover', '--cancel')
        self.assertEqual(0, self.audit(guest)[0])
        self.assert_on(guest, source)

    def _leave_a_secret(self) -> None:
        spec = SecretSpec(SecretUsage.ISCSI, 'placeholder', Secret('left-over-value'))
        disk = Disk(NfsSource(Host('127.0.0.1'), '/export', 'x'), secrets=(spec,))
        with Hypervisor(self.lab.uri) as hypervisor:
            hypervisor.secrets.prepare(disk, 'long-gone', lifetime=SecretLifetime.DISK)
