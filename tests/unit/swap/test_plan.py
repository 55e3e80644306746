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
"""Each check of the plan: passed, failed, not to be told; with its reason and its fix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest import mock

from blockmirror_driver import exception
from blockmirror_driver.mirror.options import CopyOptions
from blockmirror_driver.model import (
    Backing,
    Bytes,
    BytesPerSecond,
    Disk,
    Driver,
    Encryption,
    FileSource,
    Seconds,
    SecretRef,
    SecretUsage,
)
from blockmirror_driver.swap.checks import Check
from blockmirror_driver.swap.owner import is_living_planner
from blockmirror_driver.swap.plan import Plan
from blockmirror_driver.swap.states import SwapState
from blockmirror_driver.virt.capabilities import Versions
from blockmirror_driver.virt.counters import WriteCounters
from blockmirror_driver.virt.domain import JobInfo
from blockmirror_driver.virt.probe import ProbeResult
from tests.unit.swap.guest import DESTINATION, DEV, OTHER, SIZE, SOURCE, Guest
from tests.unit.swap.records import DEAD, record
from tests.unit.swap.world import WorldTestCase

IDS = [
    'versions',
    'domain-running',
    'disk-present',
    'no-block-job',
    'one-writer',
    'encryption',
    'access',
    'stored-xml',
    'destination-free',
    'copy-method',
    'chain',
    'contents',
    'block-module',
    'secrets',
    'inherits',
    'limits',
    'thin',
    'journal',
    'budget',
    'no-open-swap',
    'image',
    'destination-opens',
    'size',
    'in-flight',
]
LOCAL = Disk(source=FileSource('/volumes/new'))


class PlanTestCase(WorldTestCase):
    def plan(self, **changes: Any) -> Plan:
        return self.world.service.plan(replace(self.world.request, **changes))

    def check_of(self, name: str, **changes: Any) -> Check:
        (found,) = [check for check in self.plan(**changes).checks if check.id == name]
        return found

    def assert_fails(self, name: str, words: str, fix: str = '', **changes: Any) -> None:
        found = self.check_of(name, **changes)
        self.assertIs(False, found.passed, name)
        self.assertIn(words, found.detail)
        self.assertIn(fix, found.fix)
        plan = self.plan(**changes)
        self.assertFalse(plan.ok)
        error = self.assertRaises(exception.Refused, plan.raise_if_refused)
        self.assertIn(words, error.message)

    def assert_passes(self, name: str, words: str = '', **changes: Any) -> None:
        found = self.check_of(name, **changes)
        self.assertIs(True, found.passed, found.detail)
        self.assertIn(words, found.detail)

    def assert_unknown(self, name: str, words: str, **changes: Any) -> None:
        found = self.check_of(name, **changes)
        self.assertIsNone(found.passed, found.detail)
        self.assertIn(words, found.detail)
        self.assertTrue(self.plan(**changes).ok, 'it refuses nothing')


class PlanTest(PlanTestCase):
    def test_all_pass_in_this_order_and_nothing_is_changed(self) -> None:
        plan = self.plan()
        self.assertEqual(IDS, [check.id for check in plan.checks])
        self.assertTrue(plan.ok)
        self.assertEqual((), tuple(c for c in plan.checks if c.passed is not True))
        plan.raise_if_refused()
        changing = {'block_copy', 'set_mark', 'rewrite_stored', 'abort', 'pivot', 'set_speed'}
        self.assertEqual(set(), changing & {name for name, _args in self.guest.calls})
        self.assertEqual(set(), self.secrets.kept)
        self.assertEqual((SIZE, 'guest'), (plan.size, plan.domain_name))

    def test_a_guest_that_writes_has_less_in_its_way(self) -> None:
        self.assert_passes('in-flight', '32.0 MiB')
        self.assertFalse(self.plan().request.options.calm)
        self.hypervisor.on('probe', self._write)
        self.assert_passes('in-flight', '16.0 MiB only, since the guest writes')
        plan = self.plan()
        self.assertEqual((True, 0), (plan.request.options.calm, plan.request.options.buf_size))
        self.world.run()
        begun = [args[4] for name, args in self.guest.calls if name == 'block_copy']
        self.assertEqual([0], begun, "QEMU's own default")

    def test_nothing_is_said_of_it_where_it_makes_no_difference(self) -> None:
        for asked in (
            CopyOptions(buf_size=Bytes(64 << 20)),
            CopyOptions(latency_target=Seconds(1.0)),
        ):
            self.assertNotIn('in-flight', [check.id for check in self.plan(options=asked).checks])
        self.guest.fail('write_counters', exception.HypervisorUnavailable('away'))
        self.assertNotIn('in-flight', [check.id for check in self.plan().checks])

    def test_what_a_method_has_no_word_for_is_not_set(self) -> None:
        self.hypervisor.on('probe', self._write)
        for method in ('auto', 'rebase'):
            plan = self.plan(destination=LOCAL, options=CopyOptions(method=method))
            self.assertEqual(0, plan.request.options.buf_size, method)

    def _write(self) -> None:
        before = self.guest.written
        self.guest.written = WriteCounters(before.writes + 3, before.seconds)

    def test_the_probe_is_left_out_when_a_cheaper_check_failed(self) -> None:
        self.guest.jobs[DEV] = _job()
        plan = self.plan()
        self.assertNotIn('destination-opens', [check.id for check in plan.checks])
        self.assertEqual(0, self.hypervisor.count('probe'))

    def test_a_failure_without_an_error_of_its_own_is_raised_with_its_id(self) -> None:
        self.hypervisor.fake_versions = Versions(libvirt=7_000_000, qemu=7_000_000)
        error = self.assertRaises(exception.PlanRefused, self.plan().raise_if_refused)
        self.assertEqual(('versions',), error.failed)

    def test_a_refused_plan_leaves_no_row(self) -> None:
        self.guest.jobs[DEV] = _job()
        self.assertRaises(exception.DiskBusy, self.world.run)
        self.assertEqual((), self.journal.records())

    def test_libvirt_away(self) -> None:
        self.hypervisor.away = True
        self.assertRaises(exception.HypervisorUnavailable, self.plan)

    def test_secrets_of_the_probe_are_named_after_a_living_process_and_then_gone(self) -> None:
        seen: list[str] = []
        self.hypervisor.on('probe', lambda: seen.extend(name for name, _ in self.secrets.kept))
        self.plan()
        (name,) = seen
        self.assertTrue(is_living_planner(name))
        self.assertEqual(set(), self.secrets.kept)

    def test_secrets_that_can_not_be_taken_away_hide_no_answer(self) -> None:
        self.secrets.fail('discard', exception.HypervisorUnavailable('no'))
        self.assertTrue(self.plan().ok)


class GuestChecksTest(PlanTestCase):
    def test_versions(self) -> None:
        self.assert_passes('versions', 'libvirt 9.0.0, QEMU 7.2.0')
        self.hypervisor.fake_versions = Versions(libvirt=7_009_000, qemu=9_000_000)
        self.assert_fails('versions', 'libvirt is 7.9.0', 'needs 8.0.0')
        self.hypervisor.fake_versions = Versions(libvirt=9_000_000, qemu=6_001_001)
        self.assert_fails('versions', 'QEMU is 6.1.1', 'needs 6.2.0')
        self.hypervisor.fake_versions = Versions(libvirt=9_000_000, qemu=8_001_005)
        policy = CopyOptions(convergence='synchronous')
        self.assert_fails('versions', 'synchronous', '--synchronous-writes', options=policy)
        self.hypervisor.fake_versions = Versions(libvirt=9_000_000, qemu=8_002_000)
        self.assert_passes('versions', 'QEMU 8.2.0', options=policy)

    def test_domain(self) -> None:
        self.assert_fails('domain-running', 'no domain', 'virsh list', domain='nobody')
        self.guest.die()
        self.assert_fails('domain-running', 'not running', 'start it')

    def test_disk(self) -> None:
        self.assert_fails('disk-present', 'vdz', 'domblklist', dev='vdz')

    def test_job(self) -> None:
        self.guest.shows('no')
        self.assert_fails('no-block-job', 'already on vda')
        self.guest.jobs.clear()
        self.assert_fails('no-block-job', 'already on vda')

    def test_writers(self) -> None:
        shared = replace(DESTINATION, shareable=True)
        self.assert_fails('one-writer', 'destination', 'multiattach', destination=shared)

    def test_access(self) -> None:
        self.assert_fails(
            'access', 'read-only', 'access_mode', destination=replace(DESTINATION, readonly=True)
        )

    def test_stored_xml(self) -> None:
        self.guest.stored_source = OTHER
        self.assert_unknown('stored-xml', 'names another volume')
        self.guest.stored_source = None
        self.assert_unknown('stored-xml', 'no such disk')
        self.guest.persistent = False
        self.assert_passes('stored-xml', 'transient')


class DestinationChecksTest(PlanTestCase):
    def test_it_is_in_use(self) -> None:
        other = self.world.add(Guest(self.world, 'other'))
        self.assert_passes('destination-free')
        other.live_source = DESTINATION.source
        self.assert_fails('destination-free', 'vda of other')
        other.live_source = OTHER
        other.shows('no', DESTINATION.source)
        self.assert_fails('destination-free', 'vda of other')

    def test_it_is_the_source(self) -> None:
        self.assert_fails('destination-free', 'guest', destination=Disk(source=SOURCE))

    def test_it_is_that_of_a_guest_that_is_off(self) -> None:
        other = self.world.add(Guest(self.world, 'other'))
        other.stored_source = DESTINATION.source
        other.die()
        self.assert_fails('destination-free', 'vda of other')

    def test_a_domain_that_goes_is_no_user_and_one_that_can_t_be_read_may_be(self) -> None:
        other = self.world.add(Guest(self.world, 'other'))
        other.fail('xml', exception.DomainNotFound('gone'))
        self.assertTrue(self.check_of('destination-free').passed)
        other.fail('xml', exception.InvalidDisk('odd'))
        found = self.check_of('destination-free')
        self.assertEqual((None, True), (found.passed, 'other' in found.detail))

    def test_method(self) -> None:
        rebase = CopyOptions(method='rebase')
        self.assert_fails('copy-method', 'local paths', 'blockcopy', options=rebase)
        self.assert_fails('copy-method', 'transient domains', options=rebase, destination=LOCAL)
        self.guest.persistent = False
        self.assert_passes('copy-method', 'rebase', options=rebase, destination=LOCAL)

    def test_what_a_plain_path_can_not_say(self) -> None:
        """The older call would write over a LUKS header, and behind a part of a volume."""
        self.guest.persistent = False
        rebase = CopyOptions(method='rebase')
        key = SecretRef(SecretUsage.VOLUME, usage='x')
        encrypted = replace(LOCAL, encryption=Encryption(key))
        part = replace(LOCAL, slice_size=Bytes(4096))
        for destination, options in (
            (encrypted, rebase),
            (part, rebase),
            (LOCAL, replace(rebase, allow_larger=True)),
        ):
            self.assert_fails(
                'copy-method', 'blockRebase knows', options=options, destination=destination
            )
        creates = CopyOptions(reuse_external=False)
        self.assert_fails(
            'copy-method', 'not encrypted yet', options=creates, destination=encrypted
        )

    def test_flags(self) -> None:
        self.assert_fails(
            'copy-method', 'transient job', '--transient-job',
            options=CopyOptions(transient_job=False),
        )  # fmt: skip
        self.assert_fails(
            'copy-method', 'local files only', '--reuse-external',
            options=CopyOptions(reuse_external=False),
        )  # fmt: skip

    def test_a_file_that_libvirt_creates_is_not_opened(self) -> None:
        options = CopyOptions(reuse_external=False)
        self.assert_unknown(
            'destination-opens', 'libvirt creates', options=options, destination=LOCAL
        )

    def test_chain(self) -> None:
        shallow = CopyOptions(shallow=True)
        self.assert_passes('chain', 'one layer', options=shallow)
        below = replace(DESTINATION, backing=Backing(FileSource('/base')))
        self.assert_fails('chain', 'no backing file', '<backingStore>', destination=below)

    def test_block_module(self) -> None:
        self.hypervisor.block_drivers['rbd'] = None
        self.assert_unknown('block-module', "can't tell")
        self.hypervisor.block_drivers['rbd'] = False
        self.assert_fails('block-module', 'no rbd driver', 'qemu-block-extra')
        self.assert_passes('block-module', 'none', destination=LOCAL)

    def test_secrets(self) -> None:
        self.assert_passes('secrets', 'carries it')
        bare = replace(DESTINATION, secrets=())
        self.assert_fails('secrets', 'placeholder', destination=bare)
        auth = DESTINATION.source.auth  # type: ignore[union-attr]
        assert auth is not None
        self.secrets.known.add(auth.secret)
        self.assert_passes('secrets', 'libvirt has it', destination=bare)
        self.assert_passes('secrets', 'none is needed', destination=LOCAL)

    def test_what_it_inherits(self) -> None:
        wants = replace(DESTINATION, driver=Driver(discard='unmap', cache='writeback'))
        self.assert_unknown('inherits', 'cache=none, discard=None', destination=wants)

    def test_the_serial_always_stays_and_is_no_remark(self) -> None:
        self.assert_passes('inherits', destination=replace(DESTINATION, serial='another'))

    def test_it_does_not_open(self) -> None:
        for error in (
            exception.DestinationUnusable('no such image'),
            exception.DestinationSilent('no answer'),
            exception.HypervisorUnavailable('away'),
        ):
            self.hypervisor.fail('probe', error)
            found = self.check_of('destination-opens')
            self.assertEqual((False, error), (found.passed, found.error))
            self.assertEqual(set(), self.secrets.kept)

    def test_its_secret_can_not_be_defined(self) -> None:
        self.secrets.fail('prepare', exception.SecretUnavailable('taken'))
        self.assertFalse(self.check_of('destination-opens').passed)

    def test_it_is_opened_for_writing(self) -> None:
        self.plan()
        (call,) = [args for name, args in self.hypervisor.calls if name == 'probe']
        self.assertTrue(call[-1])

    def test_its_end_is_not_waited_for(self) -> None:
        for destination in (DESTINATION, LOCAL):
            self.hypervisor.calls.clear()
            self.plan(destination=destination)
            (call,) = [args for name, args in self.hypervisor.calls if name == 'probe']
            self.assertTrue(call[-2])

    def test_what_is_refused_is_closed_again(self) -> None:
        places = self.hypervisor.places
        endings = mock.Mock(places.endings)
        self.hypervisor.places = replace(places, endings=endings)
        self.plan()
        self.assertEqual([], endings.mock_calls)
        self.hypervisor.probe_result = ProbeResult(Bytes(1), Bytes(1), Seconds(0.1))
        self.plan()
        self.assertEqual([mock.call.wait()], endings.mock_calls)

    def test_remarks_of_the_volume_driver_are_shown(self) -> None:
        noted = replace(DESTINATION, notes=('the second portal was taken',))
        self.assert_passes('note', 'second portal', destination=noted)

    def test_sizes_to_the_byte(self) -> None:
        for capacity, words in ((SIZE - 1, '1 bytes too small'), (SIZE + 7, '7 bytes too large')):
            self.hypervisor.probe_result = ProbeResult(
                Bytes(capacity), Bytes(capacity), Seconds(0.1)
            )
            self.assert_fails('size', words, f'make it {SIZE} bytes')


class HostChecksTest(PlanTestCase):
    def test_journal(self) -> None:
        self.journal.db.full = True
        self.assert_fails('journal', 'disk is full', 'free space')

    def test_budget(self) -> None:
        self.world.conf.set_override('max_concurrent_swaps', 1, 'blockmirror')
        self.assert_passes('budget', '0 swaps')
        self.journal.create(record(state=SwapState.COPYING))
        self.assert_fails('budget', '1 of 1', 'raise the limit')

    def test_an_open_swap_of_the_disk(self) -> None:
        row = record(domain_uuid=self.guest.uuid, owner=DEAD, state=SwapState.PREPARED)
        self.journal.create(row)
        self.assert_fails('no-open-swap', row.id, f'blockmirror recover {row.id}')
        self.journal.advance(row.id, SwapState.REVERTED)
        self.assert_passes('no-open-swap')


class RaceTest(PlanTestCase):
    """What the plan saw may have changed when the swap begins."""

    def _run_after(self, change: Callable[[], object]) -> None:
        plan = self.plan()
        change()
        self.world.service.run(self.world.request, plan=plan)

    def test_another_swap_of_the_disk_was_faster(self) -> None:
        row = record(domain_uuid=self.guest.uuid)
        error = self.assertRaises(
            exception.DiskBusy, self._run_after, lambda: self.journal.create(row)
        )
        self.assertIsNone(error.swap_id)

    def test_the_budget_was_used_up(self) -> None:
        def use_up() -> None:
            for _ in range(2):
                self.journal.create(record(state=SwapState.COPYING))

        self.assertRaises(exception.BudgetExhausted, self._run_after, use_up)

    def test_the_host_drains(self) -> None:
        self.journal.drain(True)
        self.assertRaises(exception.HostDraining, self._run_after, lambda: None)

    def test_the_guest_went(self) -> None:
        self.assertRaises(exception.BlockmirrorError, self._run_after, self.guest.die)
        self.assertEqual(SwapState.REVERTED, self.world.record().state)
        self.check()


def _job() -> JobInfo:
    return JobInfo(5, BytesPerSecond(0), 0, 1)
