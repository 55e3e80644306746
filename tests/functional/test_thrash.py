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
"""A short campaign of random swaps and faults; ``python -m tests.thrash`` is the long one."""

from __future__ import annotations

from tests.functional.base import LabTestCase
from tests.thrash.campaign import campaign

SEED = 2
SWAPS = 6


class ThrashTest(LabTestCase):
    def test_no_promise_is_broken(self) -> None:
        """P1 to P6, whatever the seed draws; the report tells which swap to run again."""
        report = campaign(SEED, SWAPS, guests=2)
        self.assertEqual([], report['violations'])
        self.assertEqual(SWAPS, report['swaps'])
