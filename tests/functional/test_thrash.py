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
"""A short campaign of the thrasher; the long ones are run by hand (``make thrash``)."""

from __future__ import annotations

from tests.functional.base import LabTestCase
from tests.thrash.campaign import campaign

_SEED, _SWAPS, _GUESTS = 7, 8, 3


class ThrashTest(LabTestCase):
    def test_a_short_campaign(self) -> None:
        """Random moves and blows, side by side; no promise is broken by any."""
        report = campaign(_SEED, _SWAPS, _GUESTS)
        self.assertEqual([], report['violations'])
        self.assertEqual((_SWAPS, _SWAPS), (report['swaps'], sum(report['blows'].values())))
        self.assertGreater(report['ends'].get('cleaned', 0), 0)
        self.assertGreater(report['writes_acknowledged'], 0)
