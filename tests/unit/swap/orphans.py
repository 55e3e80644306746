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
"""A test case of swaps whose process died."""

from __future__ import annotations

import uuid
from typing import Any

from blockmirror_driver.model import Source
from blockmirror_driver.swap.reconcile import Job, Side
from blockmirror_driver.swap.record import RecoverResult, SwapRecord
from blockmirror_driver.swap.states import SWITCHED, SwapState
from blockmirror_driver.virt.secrets import SecretLifetime
from blockmirror_driver.xml import disk as xml_disk
from tests.unit.swap.guest import DESTINATION, DEV, OTHER, SOURCE, disk_element
from tests.unit.swap.records import DEAD, record
from tests.unit.swap.world import WorldTestCase

LIVE: dict[Side, Source | None] = {
    Side.SOURCE: SOURCE,
    Side.DESTINATION: DESTINATION.source,
    Side.OTHER: OTHER,
    Side.ABSENT: None,
}


class RecoverTestCase(WorldTestCase):
    def orphan(self, state: SwapState, **changes: Any) -> SwapRecord:
        """A swap whose process died when the journal said ``state``."""
        swap_id = str(uuid.uuid4())
        disk = self.secrets.prepare(DESTINATION, swap_id, lifetime=SecretLifetime.DISK)
        self.world.prepared = disk.source
        planned = state in (SwapState.PLANNED, SwapState.PREPARED)
        changed = {
            'id': swap_id,
            'domain_uuid': self.guest.uuid,
            'owner': DEAD,
            'source_xml': disk_element(SOURCE, DEV, None),
            'destination_xml': xml_disk.build(DESTINATION if planned else disk),
            'serial': 'serial-1',
            'state': state,
            'pivot_requested': state in (SwapState.PIVOTING, *SWITCHED),
        } | changes
        row = record(**changed)
        self.journal.create(row)
        return row

    def shows(self, job: Job, live: Side, stored: Side) -> None:
        """Let the running guest be like this."""
        self.guest.live_source, self.guest.stored_source = LIVE[live], LIVE[stored]
        if job is Job.FOREIGN:
            self.guest.foreign()
        elif job is not Job.NONE:
            words = {Job.PIVOTING: 'pivot', Job.ABORTING: 'abort', Job.READY: 'yes'}
            self.guest.shows(words.get(job, 'no'))  # type: ignore[arg-type]

    def recover(self, **options: Any) -> RecoverResult:
        (result,) = self.world.service.recover(**options)
        return result
