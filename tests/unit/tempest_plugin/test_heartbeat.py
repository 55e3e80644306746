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
"""What the tempest tests read on a console."""

from __future__ import annotations

import unittest

from blockmirror_driver.tempest_plugin import heartbeat

VOLUME = '0f5e7a6c-91b4-4c57-9f4e-0b8d0c6a3a11'
DISK = (
    '{"serial": "0f5e7a6c-91b4-4c57-9", "run": "41d7", "found": 210, "acked": 288,'
    ' "errors": 0, "wrong": 0, "longest_ms": 3}'
)


def line(n: int, boot: str = '9f3c', disk: str = DISK) -> str:
    return f'heartbeat {{"boot": "{boot}", "n": {n}, "disks": {{"vdb": {disk}}}}}'


class HeartbeatTest(unittest.TestCase):
    def test_the_last_whole_line_counts(self) -> None:
        console = f'booting\n{line(1)}\n{line(2)}\n[ 3.1] vdb: changed\n{line(3)[:60]}\n'
        found = heartbeat.newest(console)
        assert found is not None
        self.assertEqual(('9f3c', 2), (found.boot, found.n))

    def test_a_line_with_the_kernel_s_words_before_it(self) -> None:
        found = heartbeat.newest(f'[ 3.1] virtio_blk {line(7)}')
        assert found is not None
        self.assertEqual(7, found.n)

    def test_what_is_no_heartbeat(self) -> None:
        for text in (
            '',
            'heartbeat',
            'heartbeat {}',
            'heartbeat []',
            'heartbeat {"boot": "a", "n": 1, "disks": []}',
            line(1, disk='{"serial": "x"}'),
            line(1, disk='7'),
        ):
            with self.subTest(text):
                self.assertIsNone(heartbeat.newest(text))

    def test_a_volume_is_known_by_the_start_of_its_id(self) -> None:
        found = heartbeat.Heartbeat.parse(line(1))
        assert found is not None
        disk = found.of_volume(VOLUME)
        assert disk is not None
        self.assertEqual((210, 288, True), (disk.found, disk.acked, disk.faultless))
        self.assertIsNone(found.of_volume('1' + VOLUME[1:]))

    def test_order(self) -> None:
        first, second, other = (
            heartbeat.Heartbeat.parse(text) for text in (line(5), line(6), line(1, 'aaaa'))
        )
        assert first is not None
        assert second is not None
        assert other is not None
        self.assertTrue(second.is_later_than(first))
        self.assertFalse(first.is_later_than(first))
        self.assertFalse(first.is_later_than(second))
        self.assertTrue(other.is_later_than(second))

    def test_a_disk_with_any_fault_is_not_faultless(self) -> None:
        for key in ('errors', 'wrong'):
            found = heartbeat.Heartbeat.parse(
                line(1, disk=DISK.replace(f'"{key}": 0', f'"{key}": 1'))
            )
            assert found is not None
            self.assertFalse(found.disks['vdb'].faultless)
