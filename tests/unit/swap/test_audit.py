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
"""The audit: what disagrees is named, and only what the journal proves is mended."""

from __future__ import annotations

from dataclasses import replace

import testtools

from blockmirror_driver.swap.audit import DiskFacts, Finding, Records, Repair, examine
from blockmirror_driver.swap.auditor import Row
from blockmirror_driver.swap.owner import Owner
from blockmirror_driver.swap.states import SwapState
from blockmirror_driver.virt.secrets import SecretLifetime
from blockmirror_driver.xml import disk as xml_disk
from blockmirror_driver.xml import metadata
from blockmirror_driver.xml.domain import DomainDisk
from tests.unit.swap.guest import DESTINATION, DEV, OTHER, SOURCE, Guest
from tests.unit.swap.world import WorldTestCase

VOLUME = '0a7f7c10-5f1c-4d0c-9c1b-000000000001'
ANOTHER = '0a7f7c10-5f1c-4d0c-9c1b-000000000002'
WELL = Records(VOLUME, 'att', '/dev/vda', VOLUME, 'attached', 'in-use')


class HostAuditTest(WorldTestCase):
    """What libvirt and the journal say."""

    def audit(self, *, repair: bool = False) -> tuple[Row, ...]:
        return self.world.service.audit(repair=repair)

    def findings(self) -> list[Finding]:
        return [finding for row in self.audit() for finding in row.findings]

    def one(self, *words: str) -> Finding:
        (found,) = self.findings()
        for word in words:
            self.assertIn(word, found.text + found.fix)
        return found

    def test_all_is_well_before_and_after_a_swap(self) -> None:
        self.assertEqual([], self.findings())
        self.world.run()
        self.assertEqual([], self.findings())
        (row,) = self.audit()
        assert row.facts is not None
        self.assertEqual(('guest', DEV), (row.facts.domain_name, row.facts.dev))

    def test_a_stored_xml_that_names_what_we_moved_away_from_is_mended(self) -> None:
        self.world.run()
        self.guest.stored_source = SOURCE
        found = self.one(self.world.id, 'old data', '--repair')
        self.assertEqual((Repair.STORED, 8), (found.repair, found.exit_code))
        self.assertEqual(SOURCE, self.guest.stored_source)  # looking changes nothing
        (row,) = self.audit(repair=True)
        self.assertEqual(((), (found,)), (row.findings, row.repaired))
        self.assert_on_destination()
        self.assertEqual([], self.findings())

    def test_a_stored_xml_that_names_a_third_volume_is_left_alone(self) -> None:
        """Somebody may want the next start from there: P4."""
        self.world.run()
        self.guest.stored_source = OTHER
        found = self.one('another volume', 'virsh edit')
        self.assertEqual((None, 7), (found.repair, found.exit_code))
        self.audit(repair=True)
        self.assertEqual(OTHER, self.guest.stored_source)

    def test_one_that_was_moved_on_since_is_left_alone(self) -> None:
        """Our swap is not what made them differ: the guest is on a third volume."""
        self.world.run()
        self.guest.stored_source, self.guest.live_source = SOURCE, OTHER
        stale, secret = self.findings()
        self.assertIn('another volume', stale.text)
        self.assertIsNone(stale.repair)
        self.assertIs(Repair.SWEEP, secret.repair)

    def test_what_changed_after_the_look_is_not_mended(self) -> None:
        self.world.run()
        self.guest.stored_source = SOURCE
        looked = self.audit()

        def somebody_edits() -> None:
            self.guest.stored_source = OTHER

        self.assertEqual(Repair.STORED, looked[0].findings[0].repair)
        self.guest.on('mark', somebody_edits)
        self.audit(repair=True)
        self.assertEqual(OTHER, self.guest.stored_source)

    def test_a_foreign_job_is_named_and_not_touched(self) -> None:
        self.guest.foreign()
        self.assertIsNone(self.one('not ours').repair)
        self.audit(repair=True)
        self.assertIsNotNone(self.guest.mirrored)
        self.assertEqual(0, self.guest.count('abort'))

    def test_a_disk_that_the_guest_would_lose(self) -> None:
        self.guest.stored_source = None
        self.one('no such disk', 'attach-device --config')

    def test_a_guest_that_is_off(self) -> None:
        self.guest.die()
        self.assertEqual([], self.findings())

    def test_a_secret_that_nobody_needs(self) -> None:
        self.secrets.prepare(DESTINATION, 'long-gone', lifetime=SecretLifetime.JOB)
        found = self.one('blockmirror/job/long-gone/0', 'left over')
        self.assertEqual(8, found.exit_code)
        rows = self.audit(repair=True)
        self.assertEqual(
            (None, (), (found,)), (rows[-1].facts, rows[-1].findings, rows[-1].repaired)
        )
        self.assertEqual(set(), self.secrets.kept)

    def test_the_mark_of_a_swap_that_has_ended(self) -> None:
        self.world.run()
        self.guest.marked = mark(self.world.id)
        self.assertEqual(Repair.UNMARK, self.one('mark', self.world.id).repair)
        self.audit(repair=True)
        self.assertIsNone(self.guest.marked)

    def test_another_guest_is_left_alone(self) -> None:
        self.world.run()
        self.guest.stored_source = SOURCE
        self.secrets.prepare(DESTINATION, 'long-gone', lifetime=SecretLifetime.JOB)
        self.world.add(Guest(self.world, 'another'))
        (row,) = self.world.service.audit('another', repair=True)
        assert row.facts is not None
        self.assertEqual('another', row.facts.domain_name)
        self.assertEqual(SOURCE, self.guest.stored_source)
        self.assertIn(('long-gone', SecretLifetime.JOB), self.secrets.kept)
        self.world.service.audit('guest', repair=True)
        self.assertNotEqual(SOURCE, self.guest.stored_source)

    def test_the_mark_of_an_open_swap_stays(self) -> None:
        """A lost journal would be rebuilt from it; only the ended one's goes."""
        self.world.run()
        ended = self.world.record()
        orphan = replace(ended, id='orphan', state=SwapState.COPYING, owner=None, exit_code=None)
        self.journal.create(orphan)
        both = [*metadata.parse(mark(ended.id)), *metadata.parse(mark('orphan'))]
        self.guest.marked = metadata.build(both)
        self.audit(repair=True)
        assert self.guest.marked is not None
        self.assertEqual(['orphan'], [m.swap_id for m in metadata.parse(self.guest.marked)])

    def test_the_mark_of_a_swap_that_the_journal_lost(self) -> None:
        self.guest.marked = mark('lost')
        found = self.one('mark', 'lost', 'blockmirror recover')
        self.assertIsNone(found.repair)
        self.audit(repair=True)
        self.assertIsNotNone(self.guest.marked)


class SwapAuditTest(WorldTestCase):
    """A disk that a swap is open for is that swap's."""

    def facts(self, state: SwapState) -> DiskFacts:
        self.world.run()
        record = replace(self.world.record(), state=state, owner=None)
        return DiskFacts('guest', 'uuid', DEV, None, None, swaps=(record,))

    def test_one_that_is_run_is_left_in_peace(self) -> None:
        facts = self.facts(SwapState.COPYING)
        running = replace(facts.swaps[0], owner=Owner.current())
        self.assertEqual((), examine(replace(facts, swaps=(running,))))

    def test_one_that_nobody_runs(self) -> None:
        (found,) = examine(self.facts(SwapState.READY))
        self.assertIn('nobody runs it', found.text)
        self.assertIn('recover', found.fix)

    def test_one_that_an_operator_must_settle(self) -> None:
        (found,) = examine(self.facts(SwapState.UNKNOWN))
        self.assertIn('either volume', found.text)
        self.assertIn('resolve', found.fix)
        self.assertEqual(7, found.exit_code)


class RecordsAuditTest(testtools.TestCase):
    """What Nova and Cinder say."""

    def facts(self, records: Records | None, serial: str = VOLUME) -> DiskFacts:
        disk = DomainDisk(replace(DESTINATION, serial=serial))
        return DiskFacts('guest', 'uuid', DEV, disk, disk, records=records, asked=True)

    def texts(self, facts: DiskFacts) -> str:
        return '\n'.join(finding.text for finding in examine(facts))

    def test_all_agree(self) -> None:
        self.assertEqual('', self.texts(self.facts(WELL)))

    def test_each_that_disagrees(self) -> None:
        for change, words in (
            ({'volume_id': ANOTHER, 'attached_volume_id': ANOTHER}, 'mapping has volume'),
            ({'attached_volume_id': ''}, 'no attachment att'),
            ({'attached_volume_id': ANOTHER}, f"Cinder's of volume {ANOTHER}"),
            ({'attachment_status': 'reserved'}, 'as reserved'),
            ({'volume_status': 'retyping'}, 'as retyping'),
            ({'migration_status': 'migrating'}, 'in-use, migrating'),
        ):
            with self.subTest(**change):
                self.assertIn(words, self.texts(self.facts(replace(WELL, **change))))

    def test_a_volume_that_the_guest_does_not_have(self) -> None:
        facts = replace(self.facts(WELL), live=None, stored=None)
        self.assertIn('has no such disk', self.texts(facts))

    def test_a_volume_that_nova_does_not_have(self) -> None:
        self.assertIn('Nova does not have', self.texts(self.facts(None)))
        self.assertEqual('', self.texts(self.facts(None, serial='bm-local-1')))
        self.assertEqual('', self.texts(replace(self.facts(None), asked=False)))


def mark(swap_id: str) -> str:
    destination = xml_disk.build(replace(DESTINATION, target_dev=DEV))
    return metadata.build([metadata.SwapMark(swap_id, DEV, '', destination, 'copying')])
