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
"""A sample of the fault matrix; all of it is run by hand (``make faults``)."""

from __future__ import annotations

from typing import Any

from tests.faults.campaign import campaign, chosen
from tests.functional.base import LabTestCase

#: Other seeds, other samples.
_SEED, _CELLS, _GUESTS = 11, 6, 2


class FaultMatrixTest(LabTestCase):
    def test_a_sample(self) -> None:
        """Whatever strikes, the promises hold."""
        told: list[dict[str, Any]] = []
        self.addCleanup(self.lab.mend)
        campaign(chosen('', _CELLS, _SEED), told.append, _GUESTS)
        self.assertEqual([], [one for one in told if one['result'] != 'held'])
        self.assertEqual(_CELLS, len(told))
