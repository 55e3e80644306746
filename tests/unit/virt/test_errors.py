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
"""libvirt's errors, with the texts that libvirt 9.0 was seen to give, as ours."""

from __future__ import annotations

import libvirt
import testtools
from hypothesis import given
from hypothesis import strategies as st

from blockmirror_driver import exception
from blockmirror_driver.virt import errors
from tests.unit.virt.stand_ins import QEMU, RPC, SECRET_DRIVER, libvirt_error

MEANINGS: tuple[tuple[int, int, str, type[exception.BlockmirrorError]], ...] = (
    (42, QEMU, "Domain not found: no domain with matching name 'x'", exception.DomainNotFound),
    (
        55,
        QEMU,
        'Requested operation is not valid: domain is not running',
        exception.DomainNotFound,
    ),
    (
        55,
        QEMU,
        'Requested operation is not valid: domain is not transient',
        exception.HypervisorUnavailable,
    ),
    (
        55,
        QEMU,
        "Requested operation is not valid: block job on disk 'vda' is still being ended",
        exception.DiskBusy,
    ),
    (
        83,
        QEMU,
        "block copy still active: disk 'vda' already in active block job",
        exception.DiskBusy,
    ),
    (8, QEMU, "invalid argument: disk 'vdz' not found in domain", exception.DiskNotFound),
    (
        8,
        QEMU,
        'invalid argument: disk vda does not have an active block job',
        exception.HypervisorUnavailable,
    ),
    (
        66,
        SECRET_DRIVER,
        "Secret not found: no secret with matching uuid 'u'",
        exception.SecretUnavailable,
    ),
    (68, QEMU, 'Timed out during operation', exception.HypervisorUnavailable),
)
LOSSES = (
    (38, RPC, 'End of file while reading data: Input/output error'),
    (38, RPC, 'Cannot recv data: Connection reset by peer'),
    (1, RPC, 'internal error: client socket is closed'),
    (1, RPC, 'internal error: connection closed due to keepalive timeout'),
    (39, RPC, 'RPC error'),
    (6, 0, 'invalid connection pointer in virDomainGetState'),
)
UNOPENABLE = (
    (1, "unable to execute QEMU command 'blockdev-add': error connecting: Permission denied"),
    (1, "internal error: unable to execute QEMU command 'x': iSCSI: Failed to connect"),
    (9, "operation failed: failed to format image: 'error rbd create: File exists'"),
    (38, 'missing destination file for disk vda: /x: No such file or directory'),
)


class TestTranslate(testtools.TestCase):
    def test_meanings(self) -> None:
        for number, domain, text, kind in MEANINGS:
            ours = errors.translate(libvirt_error(number, text, domain), 'call')
            self.assertIs(kind, type(ours), text)
            if isinstance(ours, exception.HypervisorUnavailable):
                self.assertEqual((number, False), (ours.code, ours.outcome_unknown))

    def test_a_broken_connection_leaves_the_outcome_unknown(self) -> None:
        for number, domain, text in LOSSES:
            for translate in (errors.translate, errors.translate_opening):
                ours = translate(libvirt_error(number, text, domain), 'blockJobAbort')
                assert isinstance(ours, exception.HypervisorUnavailable)
                self.assertTrue(ours.outcome_unknown, text)
                self.assertEqual(number, ours.code)

    def test_the_same_codes_from_elsewhere_are_no_loss(self) -> None:
        for number, text in UNOPENABLE:
            self.assertFalse(errors.is_connection_loss(libvirt_error(number, text)), text)

    def test_what_does_not_open_is_the_destination(self) -> None:
        for number, text in UNOPENABLE:
            ours = errors.translate_opening(libvirt_error(number, text), 'blockCopy')
            self.assertIs(exception.DestinationUnusable, type(ours))
            self.assertEqual(text, str(ours))

    def test_an_error_without_a_code(self) -> None:
        error = libvirt.libvirtError('virConnectOpen() failed')
        ours = errors.translate(error, 'open')
        assert isinstance(ours, exception.HypervisorUnavailable)
        self.assertEqual(0, ours.code)
        self.assertIn('virConnectOpen() failed', str(ours))


class TestClean(testtools.TestCase):
    def test_leaves_out_qemus_command_line(self) -> None:
        """QEMU's last words start with the whole node, with the server's address."""
        qemu = '2026-11-22T22:19:34Z qemu-system-x86_64: '
        for start in (
            'internal error: qemu unexpectedly closed the monitor: ',
            'internal error: process exited while connecting to monitor: ',
            "internal error: QEMU unexpectedly closed the monitor (vm='blockmirror-probe-2'): ",
        ):
            for middle in (
                f'{qemu}-blockdev {{"server":{{"host":"10.0.0.1"}},"user":"reader"}}: ',
                f'{qemu}warning: x\n{qemu}-blockdev {{"driver":"nfs","host":"10.0.0.1"}}: ',
                qemu,
                '',
            ):
                error = libvirt_error(1, f'{start}{middle}Failed to open file: no {{}} way')
                self.assertEqual('Failed to open file: no {} way', errors.clean(error))
            self.assertEqual(start.strip(), errors.clean(libvirt_error(1, start)))

    def test_knows_when_qemu_left_without_a_word(self) -> None:
        start = 'internal error: qemu unexpectedly closed the monitor'
        for text, without in (
            (start, True),
            (f'{start}: ', True),
            (f'{start}: 2026-11-22T22:19:34Z qemu: no such image', False),
            ('internal error: process exited while connecting to monitor: \n', True),
            ("internal error: QEMU unexpectedly closed the monitor (vm='probe'): ", True),
            ("internal error: QEMU unexpectedly closed the monitor (vm='probe'): no", False),
            ('Domain not found', False),
        ):
            self.assertIs(without, errors.gives_no_reason(libvirt_error(1, text)), text)

    def test_redacts_what_looks_like_a_secret(self) -> None:
        for text in (
            'iscsi://labuser%hunter2@10.0.0.1/iqn/1 failed',
            'bad option password=hunter2, port=3',
            "{'key': 'hunter2'}",
            '"passphrase" = "hunter2"',
            'secret:hunter2;',
        ):
            self.assertNotIn('hunter2', errors.clean(libvirt_error(1, text)), text)

    def test_leaves_the_story(self) -> None:
        text = "no secret with matching uuid '3f', error connecting: Invalid argument"
        self.assertEqual(text, errors.clean(libvirt_error(1, text)))

    @given(st.text())
    def test_is_one_printable_line(self, text: str) -> None:
        cleaned = errors.clean(libvirt_error(1, text))
        self.assertTrue(cleaned.isprintable())
