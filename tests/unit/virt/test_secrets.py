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
"""Our secrets: two lifetimes, our prefix, and hands off all others."""

from __future__ import annotations

import dataclasses
import uuid as uuids

import testtools

from blockmirror_driver import exception
from blockmirror_driver.model import (
    Auth,
    Disk,
    Host,
    IscsiSource,
    RbdSource,
    Secret,
    SecretRef,
    SecretSpec,
    SecretUsage,
)
from blockmirror_driver.virt.secrets import SecretLifetime, SecretStore, derived_uuid
from tests.unit.virt.stand_ins import DirectHypervisor, SecretConnect

JOB, DISK = SecretLifetime.JOB, SecretLifetime.DISK


def iscsi_disk(value: str = 'chap-password') -> Disk:
    auth = Auth('user', SecretRef(SecretUsage.ISCSI, usage='placeholder'))
    return Disk(
        IscsiSource('iqn.2026-11.lab:x', 1, Host('10.0.0.1', 3260), auth),
        secrets=(SecretSpec(SecretUsage.ISCSI, 'placeholder', Secret(value)),),
    )


class SecretCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.conn = SecretConnect()
        self.store = SecretStore(DirectHypervisor(self.conn))

    def usages(self) -> list[str]:
        return sorted(secret.usageID() for secret in self.conn.listAllSecrets())


class TestPrepare(SecretCase):
    def test_the_disk_cites_a_private_secret_of_its_lifetime(self) -> None:
        for lifetime, ephemeral in ((JOB, True), (DISK, False)):
            disk = self.store.prepare(iscsi_disk(), 'swap-1', lifetime=lifetime)
            assert isinstance(disk.source, IscsiSource)
            assert disk.source.auth is not None
            ref = disk.source.auth.secret
            usage = f'blockmirror/{lifetime.value}/swap-1/0'
            self.assertEqual(SecretRef(SecretUsage.ISCSI, uuid=derived_uuid(usage)), ref)
            assert ref.uuid is not None
            secret = self.conn.secrets[ref.uuid]
            self.assertEqual(b'chap-password', secret.value)
            self.assertEqual(usage, secret.usageID())
            quoted = secret.xml.replace("'", '"')
            self.assertIn('private="yes"', quoted)
            self.assertIs(ephemeral, 'ephemeral="yes"' in quoted)
            self.assertNotIn('chap-password', secret.xml)
            self.assertTrue(self.store.exists(ref))

    def test_again_after_libvirtd_forgot(self) -> None:
        """Repeating is safe, and brings back what a restart of libvirtd took."""
        first = self.store.prepare(iscsi_disk(), 'swap-1', lifetime=JOB)
        self.conn.forget_ephemeral()
        self.assertEqual([], self.usages())
        second = self.store.prepare(iscsi_disk(), 'swap-1', lifetime=JOB)
        third = self.store.prepare(second, 'swap-1', lifetime=JOB)
        self.assertEqual((first, first), (second, third))
        self.assertEqual(['blockmirror/job/swap-1/0'], self.usages())

    def test_a_new_value_replaces_the_old(self) -> None:
        self.store.prepare(iscsi_disk('old'), 'a', lifetime=DISK)
        self.store.prepare(iscsi_disk('new'), 'a', lifetime=DISK)
        self.assertEqual([b'new'], [s.value for s in self.conn.listAllSecrets()])

    def test_a_disk_without_secrets_stays_as_it_is(self) -> None:
        disk = Disk(RbdSource('p', 'i'))
        self.assertIs(disk, self.store.prepare(disk, 'swap-1', lifetime=JOB))

    def test_our_name_in_foreign_hands_is_refused_and_left(self) -> None:
        foreign = str(uuids.uuid4())
        self.conn.add(foreign, 3, 'blockmirror/job/swap-1/0').value = b'theirs'
        error = self.assertRaises(
            exception.SecretUnavailable,
            self.store.prepare,
            iscsi_disk(),
            'swap-1',
            lifetime=JOB,
        )
        self.assertIn(foreign, str(error))
        self.assertEqual(b'theirs', self.conn.secrets[foreign].value)
        self.assertEqual((), self.store.discard('swap-1', JOB))
        self.assertIn(foreign, self.conn.secrets)

    def test_a_value_that_is_refused_leaves_no_empty_secret(self) -> None:
        self.conn.refuse_values = True
        self.assertRaises(
            exception.SecretUnavailable, self.store.prepare, iscsi_disk(), 'a', lifetime=DISK
        )
        self.assertEqual([], self.usages())

    def test_a_value_that_is_refused_leaves_the_old_one(self) -> None:
        """A running guest may cite it already."""
        self.store.prepare(iscsi_disk('old'), 'a', lifetime=DISK)
        self.conn.refuse_values = True
        self.assertRaises(
            exception.SecretUnavailable, self.store.prepare, iscsi_disk('new'), 'a', lifetime=DISK
        )
        self.assertEqual([b'old'], [s.value for s in self.conn.listAllSecrets()])

    def test_an_owner_can_not_reach_into_another_ones(self) -> None:
        for owner in ('', 'a/b', '../a', 'a b', 'x' * 200, '\n'):
            for call in (
                lambda o=owner: self.store.prepare(iscsi_disk(), o, lifetime=JOB),
                lambda o=owner: self.store.discard(o, JOB),
            ):
                self.assertRaises(exception.UsageError, call)

    def test_several_secrets_are_numbered(self) -> None:
        one = iscsi_disk()
        two = dataclasses.replace(
            one, secrets=(*one.secrets, SecretSpec(SecretUsage.ISCSI, 'other', Secret('x')))
        )
        self.store.prepare(two, 'a', lifetime=JOB)
        self.assertEqual(['blockmirror/job/a/0', 'blockmirror/job/a/1'], self.usages())


class TestRemoval(SecretCase):
    def setUp(self) -> None:
        super().setUp()
        for owner in ('a', 'ab', 'c'):
            for lifetime in SecretLifetime:
                self.store.prepare(iscsi_disk(), owner, lifetime=lifetime)
        self.foreign = self.conn.add(str(uuids.uuid4()), 2, 'client.cinder secret')
        self.lookalike = self.conn.add(str(uuids.uuid4()), 3, 'blockmirror/disk/c/7')

    def test_discard_takes_one_owner_and_one_lifetime(self) -> None:
        before = self.usages()
        self.assertEqual(('blockmirror/job/a/0',), self.store.discard('a', JOB))
        self.assertEqual([u for u in before if u != 'blockmirror/job/a/0'], self.usages())
        self.assertEqual((), self.store.discard('a', JOB))

    def test_sweep_spares_the_living_the_cited_and_the_foreign(self) -> None:
        cited_uuid = derived_uuid('blockmirror/disk/ab/0')
        gone = self.store.sweep('a'.__eq__, [cited_uuid, 'blockmirror/disk/c/0'])
        self.assertEqual(('blockmirror/job/ab/0', 'blockmirror/job/c/0'), gone)
        self.assertIn(self.foreign.UUIDString(), self.conn.secrets)
        self.assertIn(self.lookalike.UUIDString(), self.conn.secrets)

    def test_sweep_asks_only_about_owners_of_what_nothing_cites(self) -> None:
        asked: list[str] = []

        def is_alive(owner: str) -> bool:
            asked.append(owner)
            return True

        cited = [
            derived_uuid(f'blockmirror/{lifetime.value}/{owner}/0')
            for owner in ('ab', 'c')
            for lifetime in SecretLifetime
        ]
        self.assertEqual((), self.store.sweep(is_alive, cited))
        self.assertEqual(['a', 'a'], asked)

    def test_sweep_removes_nothing_when_an_owner_can_not_be_asked_about(self) -> None:
        def is_alive(_owner: str) -> bool:
            raise exception.JournalUnusable('full')

        before = self.usages()
        self.assertRaises(exception.JournalUnusable, self.store.sweep, is_alive, [])
        self.assertEqual(before, self.usages())

    def test_sweep_of_everything_leaves_the_foreign(self) -> None:
        self.store.sweep(lambda _owner: False, [])
        self.assertEqual(['blockmirror/disk/c/7', 'client.cinder secret'], self.usages())


class TestExists(SecretCase):
    def test_by_uuid_and_usage(self) -> None:
        foreign = self.conn.add(str(uuids.uuid4()), 2, 'client.cinder secret')
        kind = SecretUsage.CEPH
        self.assertTrue(self.store.exists(SecretRef(kind, uuid=foreign.UUIDString())))
        self.assertTrue(self.store.exists(SecretRef(kind, usage='client.cinder secret')))
        self.assertFalse(self.store.exists(SecretRef(kind, uuid=str(uuids.uuid4()))))
        self.assertFalse(self.store.exists(SecretRef(kind, usage='nope')))
        self.assertFalse(
            self.store.exists(SecretRef(SecretUsage.ISCSI, usage='client.cinder secret'))
        )
