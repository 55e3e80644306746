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
"""The front desk: preparing, the end after the switch, requests, resolving, secrets, doctor."""

from __future__ import annotations

import os
import subprocess
import sys

from blockmirror_driver import exception
from blockmirror_driver.model import Disk, Seconds
from blockmirror_driver.swap import cleanup, owner
from blockmirror_driver.swap.states import SwapState
from blockmirror_driver.virt.calls import HangingCall
from blockmirror_driver.virt.secrets import SecretLifetime
from tests.unit.swap.guest import DESTINATION, OTHER, SOURCE
from tests.unit.swap.orphans import RecoverTestCase
from tests.unit.swap.records import DEAD, record
from tests.unit.swap.world import WorldTestCase

AWAY = exception.HypervisorUnavailable('away', outcome_unknown=True)


class PrepareTest(WorldTestCase):
    def _reverts(self, error: exception.BlockmirrorError) -> None:
        raised = self.assertRaises(type(error), self.world.run)
        self.assertIs(error, raised)
        self.assertEqual(self.world.id, raised.swap_id)
        self.assert_states('reverted')
        self.assertEqual(error.exit_code, self.world.record().exit_code)
        self.assertEqual(0, self.guest.count('block_copy'))

    def test_a_secret_that_can_not_be_defined(self) -> None:
        error = exception.SecretUnavailable('taken')
        self.secrets.fail('prepare', None, error)  # the first is the probe's
        self._reverts(error)
        self.assert_clean_on_source()

    def test_a_stored_xml_that_can_not_be_brought_in_line(self) -> None:
        self.guest.stored_source = OTHER
        error = exception.HypervisorUnavailable('refused')
        self.guest.fail('rewrite_stored', error)
        self._reverts(error)
        self.assert_clean_on_source()

    def test_a_domain_that_can_not_be_had(self) -> None:
        self.journal.at[SwapState.PREPARED] = lambda: setattr(self.hypervisor, 'away', True)
        raised = self.assertRaises(exception.HypervisorUnavailable, self.world.run)
        self.assertEqual(self.world.id, raised.swap_id)
        self.assert_states('reverted')
        self.hypervisor.away = False
        self.world.service.recover()
        self.assert_clean_on_source()

    def test_secrets_that_can_not_be_taken_away_are_swept_later(self) -> None:
        self.guest.stored_source = OTHER
        self.guest.fail('rewrite_stored', exception.HypervisorUnavailable('refused'))
        self.secrets.fail('discard', None, AWAY, AWAY)  # the first is the probe's
        self.assertRaises(exception.HypervisorUnavailable, self.world.run)
        self.assertEqual(SwapState.REVERTED, self.world.record().state)
        self.assertTrue(self.secrets.kept)
        self.world.service.recover()
        self.assertEqual(set(), self.secrets.kept)

    def test_a_mark_that_can_not_be_written_stops_nothing(self) -> None:
        self.guest.fail('set_mark', AWAY, AWAY)
        self.assertEqual(0, self.world.run().exit_code)
        self.assert_on_destination()

    def test_a_destination_that_was_made_for_another_target(self) -> None:
        disk = Disk(DESTINATION.source, target_dev='vdz', secrets=DESTINATION.secrets)
        self.world.run(destination=disk)
        self.assertIn('dev="vda"', self.world.record().destination_xml)


class AfterTheSwitchTest(WorldTestCase):
    """Exit code 8, and never an exception."""

    def _unclean(self, *, words: str) -> None:
        outcome = self.world.run()
        self.assertEqual(8, outcome.exit_code)
        self.assertIn(words, ' '.join(outcome.notes))
        row = self.world.record()
        self.assertEqual((8, None), (row.exit_code, row.owner))
        self.check()

    def _completes(self) -> None:
        (result,) = self.world.service.recover()
        self.assertEqual((SwapState.CLEANED, 0), (result.state, result.exit_code))
        self.assert_on_destination()

    def test_the_mark_stays(self) -> None:
        self.guest.fail('set_mark', None, AWAY)
        self._unclean(words='away')
        self.assertEqual(SwapState.VERIFIED, self.world.record().state)
        self._completes()

    def test_a_damaged_mark_is_taken_off(self) -> None:
        self.journal.at[SwapState.PIVOTED] = lambda: setattr(self.guest, 'marked', '<x/>')
        self.assertEqual(0, self.world.run().exit_code)
        self.assertIsNone(self.guest.marked)

    def test_the_sweep_fails(self) -> None:
        self.secrets.fail('sweep', AWAY)
        self._unclean(words='away')
        self._completes()

    def test_libvirt_is_away(self) -> None:
        self.journal.at[SwapState.PIVOTED] = lambda: setattr(self.hypervisor, 'away', True)
        self._unclean(words='away')
        self.assertEqual(SwapState.PIVOTED, self.world.record().state)
        self.hypervisor.away = False
        self._completes()

    def test_the_stored_xml_can_not_be_mended(self) -> None:
        def stale() -> None:
            self.guest.stored_source = OTHER
            self.guest.fail('rewrite_stored', exception.HypervisorUnavailable('read-only'))

        self.journal.at[SwapState.PIVOTED] = stale
        self._unclean(words='read-only')
        self._completes()

    def test_the_stored_xml_is_mended(self) -> None:
        self.journal.at[SwapState.PIVOTED] = lambda: setattr(self.guest, 'stored_source', SOURCE)
        outcome = self.world.run()
        self.assertEqual(0, outcome.exit_code)
        self.assertIn('brought in line', ' '.join(outcome.notes))
        self.assert_on_destination()

    def test_a_job_of_another_tool_is_there_already(self) -> None:
        self.journal.at[SwapState.PIVOTED] = self.guest.foreign
        self._unclean(words='a block job is on the disk')
        self.guest.ends()
        self._completes()

    def test_the_guest_stops_with_a_stored_xml_that_names_the_source(self) -> None:
        def stop() -> None:
            self.guest.die()
            self.guest.stored_source = SOURCE

        self.journal.at[SwapState.PIVOTED] = stop
        self._unclean(words='names the source')
        (result,) = self.world.service.recover()
        self.assertEqual((SwapState.UNKNOWN, 7), (result.state, result.exit_code))
        self.assertEqual(
            SwapState.CLEANED, self.world.service.resolve(self.world.id, 'destination').state
        )
        self.assert_stored_on_destination()

    def assert_stored_on_destination(self) -> None:
        self.assertNotIn(self.guest.stored_source, (SOURCE, OTHER, None))


class RequestTest(RecoverTestCase):
    def test_nobody_is_asked_after_the_end_or_the_switch_or_without_an_owner(self) -> None:
        service = self.world.service
        for state in (
            SwapState.CLEANED,
            SwapState.PIVOTING,
            SwapState.PIVOTED,
            SwapState.VERIFIED,
        ):
            row = record(state=state)
            self.journal.create(row)
            self.assertRaises(exception.WrongState, service.request_cancel, row.id)
        orphan = self.orphan(SwapState.COPYING)
        error = self.assertRaises(exception.WrongState, service.request_speed, orphan.id, 1)
        self.assertIn('recover', error.hint)
        self.assertRaises(exception.SwapNotFound, service.request_pivot, 'nope')

    def test_a_request_is_seen_to_be_taken(self) -> None:
        numbers: list[int] = []
        ask = lambda: numbers.append(self.world.service.request_hold(self.world.id, False))  # noqa: E731
        self.world.later(1.0, ask)
        self.world.run()
        self.assertTrue(self.world.service.was_taken(numbers[0]))


class ResolveTest(RecoverTestCase):
    def unknown(self) -> str:
        return self.orphan(SwapState.UNKNOWN, pivot_requested=True, owner=None).id

    def test_a_guest_that_is_off(self) -> None:
        for side, state in (('source', SwapState.REVERTED), ('destination', SwapState.CLEANED)):
            with self.subTest(side):
                swap_id = self.unknown()
                self.guest.active = False
                self.guest.stored_source = OTHER
                settled = self.world.service.resolve(swap_id, side)
                self.assertEqual((state, 0), (settled.state, settled.exit_code))
                self.assertEqual(side == 'source', self.guest.stored_source == SOURCE)
                kept = {(swap_id, SecretLifetime.DISK)} if side == 'destination' else set()
                self.assertEqual(kept, self.secrets.kept)
                self.check()

    def test_the_mark_goes_with_the_source(self) -> None:
        self.guest.pivots = ['die']
        self.assertRaises(exception.StateUnknown, self.world.run)
        self.assertIsNotNone(self.guest.marked)
        self.world.service.resolve(self.world.id, 'source')
        self.assertIsNone(self.guest.marked)
        self.assertEqual(set(), self.secrets.kept)

    def test_a_running_guest_decides_itself(self) -> None:
        swap_id = self.unknown()
        self.assertRaises(exception.WrongState, self.world.service.resolve, swap_id, 'destination')
        self.guest.shows('yes')
        self.assertRaises(exception.WrongState, self.world.service.resolve, swap_id, 'source')
        self.guest.ends()
        self.assertEqual(SwapState.REVERTED, self.world.service.resolve(swap_id, 'source').state)

    def test_only_unknown_ones_and_only_two_sides(self) -> None:
        row = self.orphan(SwapState.COPYING)
        self.assertRaises(exception.WrongState, self.world.service.resolve, row.id, 'source')
        self.assertRaises(exception.UsageError, self.world.service.resolve, row.id, 'middle')


class SweepTest(RecoverTestCase):
    def test_secrets_of_living_planners_stay_and_those_of_dead_ones_go(self) -> None:
        living = owner.planner_name()
        child = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE)
        start = owner._start_time(child.pid)
        another = f'plan-{child.pid}-{start}-{"0" * 32}'
        recycled = f'plan-{os.getpid()}-1-{"0" * 32}'
        for name in (living, another, recycled, 'plan-x'):
            self.secrets.kept.add((name, SecretLifetime.JOB))
        cleanup.sweep(self.hypervisor, self.journal)
        self.assertEqual({living, another}, {name for name, _ in self.secrets.kept})
        child.communicate(b'\n')
        cleanup.sweep(self.hypervisor, self.journal)
        self.assertEqual({living}, {name for name, _ in self.secrets.kept})

    def test_a_swap_that_begins_during_the_sweep_keeps_its_secrets(self) -> None:
        self.guest.on('xml', self._begin_once)
        cleanup.sweep(self.hypervisor, self.journal)
        self.assertEqual(1, len(self.secrets.kept))

    def _begin_once(self) -> None:
        if not self.secrets.kept:
            self.orphan(SwapState.PREPARED)

    def test_a_swap_that_begins_and_ends_during_the_sweep_keeps_them_too(self) -> None:
        """Its disk cites them by now, which the sweep has not seen."""

        def begin_and_end() -> None:
            if not self.secrets.kept:
                row = self.orphan(SwapState.VERIFIED)
                self.journal.advance(row.id, SwapState.CLEANED)

        self.guest.on('xml', begin_and_end)
        cleanup.sweep(self.hypervisor, self.journal)
        self.assertEqual(1, len(self.secrets.kept))

    def test_what_an_ended_swap_left_goes_unless_a_disk_cites_it(self) -> None:
        for state in (SwapState.REVERTED, SwapState.CLEANED):
            row = self.orphan(state, updated_at=1.0)
            if state is SwapState.CLEANED:
                self.guest.stored_source = self.world.prepared
        cleanup.sweep(self.hypervisor, self.journal)
        self.assertEqual({(row.id, SecretLifetime.DISK)}, self.secrets.kept)


class DoctorTest(RecoverTestCase):
    def _found(self) -> dict[str, bool | None]:
        return {check.id: check.passed for check in self.world.service.doctor()}

    def test_all_well(self) -> None:
        self.assertEqual(
            {'libvirt', 'versions', 'block-module', 'event-loop', 'hanging-calls', 'journal'},
            set(self._found()),
        )
        self.assertEqual({True}, set(self._found().values()))

    def test_libvirt_away_at_any_call(self) -> None:
        self.hypervisor.fail('open', AWAY)
        self.assertEqual({'libvirt': False, 'journal': True}, self._found())
        self.hypervisor.fail('versions', AWAY)
        self.assertEqual({'libvirt': False, 'journal': True}, self._found())

    def test_calls_that_hang(self) -> None:
        self.hypervisor.fake_hanging = (HangingCall('blockCopy', Seconds(0.0)),)
        self.assertFalse(self._found()['hanging-calls'])

    def test_an_event_loop_that_stands_still(self) -> None:
        self.hypervisor.fake_events_arrive = False
        self.assertFalse(self._found()['event-loop'])

    def test_a_journal_that_is_full(self) -> None:
        self.journal.db.full = True
        self.assertFalse(self._found()['journal'])

    def test_what_is_left_open(self) -> None:
        self.journal.create(record(owner=DEAD, state=SwapState.COPYING))
        self.journal.create(record(owner=None, state=SwapState.UNKNOWN))
        found = self._found()
        self.assertEqual((False, False), (found['orphaned-swap'], found['unknown-swap']))
        fixes = [check.fix for check in self.world.service.doctor() if check.passed is False]
        self.assertTrue(all('blockmirror' in fix for fix in fixes))
