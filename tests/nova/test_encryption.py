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
"""Volumes that QEMU encrypts: Nova's own secrets, and whose names they have after a swap."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any
from unittest import mock

import testtools

from blockmirror_driver import exception
from blockmirror_driver.model import Encryption, RbdSource, SecretRef, SecretUsage
from blockmirror_driver.nova import encryption
from tests.nova.base import NEW_ID, OLD_ID, RBD, Cinder, info_of
from tests.nova.test_swap_volume import SwapCase

KEYS = {'old-key': b'\x0a', 'new-key': b'\x0b'}
LUKS: dict[str, Any] = {
    'encryption_key_id': 'new-key',
    'provider': 'luks',
    'control_location': 'front-end',
    'cipher': 'aes-xts-plain64',
    'key_size': 256,
}


class Died(BaseException):
    """The process is gone."""


class Secret:
    """As much of a ``libvirt.virSecret`` as is asked for."""

    def __init__(self, name: str, value: bytes) -> None:
        self.name, self.text = name, value

    def UUIDString(self) -> str:  # noqa: N802 - libvirt's name
        return self.name

    def value(self) -> bytes:
        return self.text


class Host:
    """Nova's host: secrets of volumes by usage; a UUID keeps its usage, as with libvirt.

    :ivar dies_at: the number of the change before which the process dies
    """

    def __init__(self) -> None:
        self.secrets: dict[str, Secret] = {}
        self.changes = 0
        self.dies_at: int | None = None
        self.known: Callable[[str], object] = str

    def _change(self) -> None:
        self.changes += 1
        if self.changes == self.dies_at:
            raise Died

    def find_secret(self, usage_type: str, usage_id: str) -> Secret | None:
        assert usage_type == 'volume'
        return self.secrets.get(usage_id)

    def create_secret(
        self, usage_type: str, usage_id: str, password: Any = None, uuid: str | None = None
    ) -> Secret:
        self._change()
        value = password.encode() if isinstance(password, str) else password
        known = self.secrets.get(usage_id)
        others = {one.name for usage, one in self.secrets.items() if usage != usage_id}
        assert uuid not in others, 'libvirt: already defined for use with another'
        assert known is None or uuid == known.name, 'libvirt: the usage is taken'
        self.secrets[usage_id] = Secret(uuid or _drawn(), value)
        self.known(self.secrets[usage_id].name)
        return self.secrets[usage_id]

    def delete_secret(self, usage_type: str, usage_id: str) -> None:
        if usage_id in self.secrets:
            self._change()
            del self.secrets[usage_id]

    def told(self) -> dict[str, tuple[str, bytes]]:
        return {usage: (one.name, one.text) for usage, one in self.secrets.items()}


def _drawn() -> str:
    return str(uuid.uuid4())


class TestTakeOver(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.host = Host()
        self.cited = self.host.create_secret('volume', NEW_ID, password='0b').name
        self.host.create_secret('volume', 'another', password='0c')
        self.host.changes = 0

    def take_over(self, cited: str | None) -> None:
        encryption.take_over(self.host, OLD_ID, NEW_ID, cited)

    def assert_taken(self) -> None:
        told = self.host.told()
        self.assertEqual((self.cited, b'0b'), told.pop(OLD_ID))
        self.assertEqual(['another'], list(told))

    def test_the_same_secret_by_another_name(self) -> None:
        self.take_over(self.cited)
        self.assert_taken()
        self.take_over(self.cited)
        self.assert_taken()

    def test_the_old_ones_is_in_the_way(self) -> None:
        self.host.create_secret('volume', OLD_ID, password='0a')
        self.take_over(self.cited)
        self.assert_taken()

    def test_whoever_dies_on_the_way_leaves_it_to_the_next(self) -> None:
        """Before each change of libvirt's secrets."""
        died = 0
        for number in range(1, 20):
            self.host = Host()
            for usage, value in ((NEW_ID, '0b'), (OLD_ID, '0a'), ('another', '0c')):
                self.host.create_secret('volume', usage, password=value)
            self.cited = self.host.secrets[NEW_ID].name
            self.host.changes, self.host.dies_at = 0, number
            try:
                self.take_over(self.cited)
            except Died:
                died += 1
                self.host.dies_at = None
                self.take_over(self.cited)
            self.assert_taken()
        self.assertEqual(5, died)

    def test_a_guest_that_is_gone(self) -> None:
        self.take_over(None)
        self.assertEqual(['another'], list(self.host.told()))

    def test_a_volume_that_is_not_encrypted(self) -> None:
        self.host.secrets = {}
        self.take_over(None)
        self.assertEqual({}, self.host.told())


class TestWhatCinderSays(testtools.TestCase):
    def luks(self, native: bool = True, flag: bool = True, **metadata: Any) -> bool:
        info = {'data': {'encrypted': flag}}
        return encryption.is_luks('new', info, metadata, native=native)

    def refused(self, **given: Any) -> str:
        error = self.assertRaises(exception.EncryptedVolume, self.luks, **given)
        return str(error)

    def test_plain_and_luks(self) -> None:
        self.assertFalse(self.luks(flag=False))
        self.assertTrue(self.luks(**LUKS))
        self.assertTrue(self.luks(provider='luks', control_location=None))

    def test_something_else(self) -> None:
        self.assertIn('by plain', self.refused(native=False, provider='plain'))
        back = {**LUKS, 'control_location': 'back-end'}
        self.assertIn('back-end', self.refused(**back))
        self.assertIn('does not say how', self.refused())


class EncryptedCase(SwapCase):
    """rbd volumes, by Nova's own driver where they are encrypted."""

    def setUp(self) -> None:
        super().setUp()
        self.metadata: dict[str, dict[str, Any]] = {}
        self.host = Host()
        for name in ('find_secret', 'create_secret', 'delete_secret'):
            self.give(mock.patch.object(self.driver._host, name, getattr(self.host, name)))
        manager = mock.Mock(get=self.key)
        self.give(mock.patch('nova.virt.libvirt.driver.key_manager.API', lambda *_: manager))
        self.give(
            mock.patch.object(
                Cinder, 'get_volume_encryption_metadata', lambda *given: self.metadata[given[-1]]
            )
        )
        self.old, self.new = info_of(RBD), info_of(RBD, NEW_ID)
        self.guest.live_source = self.guest.stored_source = RbdSource('volumes', 'old')
        known = self.world.hypervisor.fake_secrets.known
        self.host.known = lambda name: known.add(SecretRef(SecretUsage.VOLUME, uuid=name))

    def give(self, patcher: Any) -> None:
        patcher.start()
        self.addCleanup(patcher.stop)

    def key(self, _context: Any, key_id: str) -> Any:
        return mock.Mock(**{'get_encoded.return_value': KEYS[key_id]})

    def luks(self, side: dict[str, Any], key_id: str, **changes: Any) -> None:
        """Let Cinder say that a volume is encrypted."""
        side['data']['encrypted'] = True
        self.metadata[side['serial']] = {**LUKS, 'encryption_key_id': key_id, **changes}

    def starts_encrypted(self) -> str:
        """Let the guest have the old volume encrypted; returns the secret that it cites."""
        self.luks(self.old, 'old-key')
        name = self.host.create_secret('volume', OLD_ID, password='0a').name
        self.guest.encryption = _cites(name)
        return name

    def cited(self) -> str | None:
        found = self.guest.encryption
        return found.secret.uuid if found and found.secret else None

    def assert_untouched(self) -> None:
        self.assertEqual([], list(self.world.journal.records()))
        self.assertNotIn(NEW_ID, self.host.secrets)


class TestEncrypted(EncryptedCase):
    def test_plain_to_luks(self) -> None:
        self.luks(self.new, 'new-key')
        self.swap()
        name = self.cited()
        self.assertEqual({OLD_ID: (name, b'0b')}, self.host.told())

    def test_luks_to_luks_by_another_key(self) -> None:
        before = self.starts_encrypted()
        self.luks(self.new, 'new-key')
        self.swap()
        name = self.cited()
        self.assertNotEqual(before, name)
        self.assertEqual({OLD_ID: (name, b'0b')}, self.host.told())

    def test_luks_to_plain(self) -> None:
        self.starts_encrypted()
        self.swap()
        self.assertIsNone(self.guest.encryption)
        self.assertEqual({}, self.host.told())

    def test_a_copy_that_fails_leaves_no_secret(self) -> None:
        before = self.starts_encrypted()
        self.luks(self.new, 'new-key')
        self.guest.pivots = ['fail']
        self.refused()
        self.assertEqual(before, self.cited())
        self.assertEqual({OLD_ID: (before, b'0a')}, self.host.told())

    def test_libvirt_away_after_the_switch(self) -> None:
        """The guest runs on; the names are put right when libvirt is back."""
        self.starts_encrypted()
        self.luks(self.new, 'new-key')
        away = mock.patch.object(
            self.driver, 'take_over_secret', side_effect=ConnectionError('libvirt is away')
        )
        with away:
            self.swap()
        self.assertEqual([NEW_ID], list(self.host.secrets))
        self.assertTrue(self.driver.duties.settle(self.world.id))
        self.assertEqual({OLD_ID: (self.cited(), b'0b')}, self.host.told())


class TestRefused(EncryptedCase):
    def test_what_qemu_does_not_encrypt(self) -> None:
        for side in (self.old, self.new):
            for changes, told in (
                ({'provider': 'plain'}, 'by plain'),
                ({'provider': 'luks2'}, 'by luks2'),
                ({'control_location': 'back-end'}, 'back-end'),
            ):
                self.luks(side, 'new-key', **changes)
                self.assertIn(told, self.refused())
                self.assert_untouched()
            side['data']['encrypted'] = False

    def test_a_volume_of_which_cinder_does_not_say_how(self) -> None:
        self.new['data']['encrypted'] = True
        self.metadata[NEW_ID] = {}
        self.assertIn('does not say how', self.refused())
        self.assert_untouched()

    def test_a_guest_that_has_it_otherwise(self) -> None:
        self.luks(self.old, 'old-key')
        self.assertIn('is not encrypted by QEMU', self.refused())
        self.assert_untouched()
        self.starts_encrypted()
        self.old['data']['encrypted'] = False
        self.luks(self.new, 'new-key')
        self.assertIn('says that its volume is not', self.refused())
        self.assert_untouched()

    def test_a_key_that_is_not_given(self) -> None:
        self.luks(self.new, 'no-key')
        self.assertRaises(KeyError, self.swap)
        self.assert_untouched()

    def test_a_disk_of_novas_that_is_not_encrypted(self) -> None:
        self.luks(self.new, 'new-key')
        plain = mock.patch.object(self.driver, '_attach_encryptor')
        with plain:
            self.assertIn('not encrypted as Cinder says', self.refused())
        self.assert_untouched()


def _cites(name: str) -> Encryption:
    return Encryption(SecretRef(SecretUsage.VOLUME, uuid=name))
