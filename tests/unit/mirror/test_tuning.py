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
"""How much is in flight."""

from __future__ import annotations

from dataclasses import replace

from blockmirror_driver.mirror.options import CopyOptions
from blockmirror_driver.mirror.tuning import tuned
from blockmirror_driver.model import (
    Bytes,
    BytesPerSecond,
    FileSource,
    Host,
    IscsiSource,
    RbdSource,
    Seconds,
)
from tests.unit.mirror.test_engine import EngineTest

MIB = 1 << 20
RBD = RbdSource('pool', 'image')
FILE = FileSource('/volumes/new')
ISCSI = IscsiSource('iqn.2026-01.example:target', 1, Host('storage.example'))


class TuningTest(EngineTest):
    def test_what_suits_the_destination(self) -> None:
        slow, fast, gentle = BytesPerSecond(MIB), BytesPerSecond(900 * MIB), Seconds(0.01)
        for options, destination, expected, first in (
            (CopyOptions(), RBD, 32 * MIB, 0),
            (CopyOptions(), ISCSI, 0, 0),
            (CopyOptions(calm=True), RBD, 0, 0),
            (CopyOptions(method='rebase'), FILE, 0, 0),
            (CopyOptions(calm=True, buf_size=Bytes(4096)), RBD, 4096, 0),
            (CopyOptions(calm=True, latency_target=gentle), RBD, MIB, 32 * MIB),
            (CopyOptions(bandwidth=slow), RBD, 0, slow),
            (CopyOptions(latency_target=gentle), ISCSI, MIB, 32 * MIB),
            (CopyOptions(latency_target=gentle, bandwidth=fast), ISCSI, MIB, 32 * MIB),
            (CopyOptions(latency_target=gentle, bandwidth=slow), RBD, MIB, slow),
            (CopyOptions(latency_target=gentle, buf_size=Bytes(4096)), RBD, 4096, 32 * MIB),
            (CopyOptions(buf_size=Bytes(4096), bandwidth=slow), ISCSI, 4096, slow),
        ):
            wanted = replace(options, buf_size=Bytes(expected), bandwidth=BytesPerSecond(first))
            self.assertEqual(wanted, tuned(options, FILE, destination))

    def test_what_suits_the_source(self) -> None:
        for source, expected in ((RBD, 32 * MIB), (ISCSI, 0)):
            self.assertEqual(expected, tuned(CopyOptions(), source, RBD).buf_size)

    def test_the_hypervisor_is_told(self) -> None:
        self.mirror.start()
        (call,) = [args for name, args in self.domain.calls if name == 'block_copy']
        self.assertEqual(32 * MIB, call[4])
