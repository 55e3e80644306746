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
import pathlib
import tempfile
import unittest

from tests.lab.oracle import Acked, Report, check, same
from tests.lab.pattern import BLOCK, ZEROS, Fill, Layers, Run, read_header, writer_block

SIZE = 1 << 20
RUN = Run('vda', tag=7, writers=2, blocks=16, stride=4 * BLOCK, base=8 * BLOCK)
BASE = Fill(seed=3, offset=0, length=SIZE // 2)


class RunTest(unittest.TestCase):
    def test_each_place_is_taken_once_in_a_round(self) -> None:
        for start in (1, 5, 1000):
            places = {RUN.place(sequence) for sequence in range(start, start + RUN.blocks)}
            self.assertEqual(set(range(RUN.blocks)), places)

    def test_latest_is_the_highest_that_goes_to_a_place(self) -> None:
        for run in (RUN, Run('vda', 1, 1, 1, BLOCK), Run('vda', 1, 1, 64, BLOCK)):
            held: dict[int, int] = {}
            for sequence in range(1, 200):
                held[run.place(sequence)] = sequence
                for place in range(run.blocks):
                    self.assertEqual(held.get(place, 0), run.latest(place, sequence))

    def test_overlapping_places_are_refused(self) -> None:
        for blocks, stride in ((3, 2 * BLOCK), (4, BLOCK), (4, 2 * BLOCK + 1), (0, 2 * BLOCK)):
            with self.assertRaises(ValueError):
                Run('vda', 1, 2, blocks, stride)


class PatternTest(unittest.TestCase):
    def test_a_block_says_what_it_is(self) -> None:
        header = read_header(writer_block(9, 1, 7, 1234))
        assert header is not None
        self.assertEqual(
            (9, 1, 7, 1234), (header.sequence, header.writer, header.tag, header.time_us)
        )

    def test_one_flipped_bit_is_noticed(self) -> None:
        good = writer_block(9, 1, 7)
        for at in (0, 8, 100, BLOCK - 5, BLOCK - 1):
            bad = bytearray(good)
            bad[at] ^= 1
            self.assertIsNone(read_header(bytes(bad)))

    def test_blocks_of_a_fill_differ(self) -> None:
        blocks = [BASE.read(offset, BLOCK) for offset in range(0, 64 * BLOCK, BLOCK)]
        self.assertEqual(len(blocks), len(set(blocks)))
        self.assertNotEqual(blocks[0], Fill(4, 0, SIZE).read(0, BLOCK))

    def test_beyond_a_fill_there_are_zeros(self) -> None:
        self.assertEqual(bytes(BLOCK), BASE.read(SIZE // 2, BLOCK))
        self.assertEqual(bytes(3 * BLOCK), ZEROS.read(0, 3 * BLOCK))

    def test_the_later_layer_wins(self) -> None:
        upper = Fill(5, 2 * BLOCK, BLOCK)
        both = Layers([BASE, upper])
        self.assertEqual(
            BASE.read(0, 2 * BLOCK) + upper.read(2 * BLOCK, BLOCK) + BASE.read(3 * BLOCK, BLOCK),
            both.read(0, 4 * BLOCK),
        )


class OracleTest(unittest.TestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.image = pathlib.Path(directory.name, 'image')
        self.image.write_bytes(BASE.read(0, SIZE))
        self.acked = [Acked(RUN, writer, 0, 0) for writer in range(RUN.writers)]

    def put(self, offset: int, data: bytes) -> None:
        with self.image.open('r+b') as out:
            out.seek(offset)
            out.write(data)

    def write(self, count: int, run: Run = RUN, writer: int = 0, first: int = 1) -> Acked:
        """What a writer does, up to block `count`."""
        for sequence in range(first, count + 1):
            offset = run.offset(writer, run.place(sequence))
            self.put(offset, writer_block(sequence, writer, run.tag))
        return Acked(run, writer, count, count)

    def check(self, *acked: Acked, exact: bool = True) -> Report:
        return check(self.image, acked, BASE, exact=exact)

    def test_an_honest_volume_passes(self) -> None:
        for count in (0, 1, 15, 16, 17, 100):
            with self.subTest(count=count):
                report = self.check(self.write(count), Acked(RUN, 1, 0, 0))
                self.assertTrue(report.ok, report)
                self.assertEqual(2 * RUN.blocks, report.checked)
                self.assertEqual(SIZE // BLOCK - 2 * RUN.blocks, report.compared)

    def test_an_old_block_is_a_lost_write(self) -> None:
        self.write(50)
        report = self.check(Acked(RUN, 0, 51, 51))
        self.assertEqual((1, 0, 0), (report.lost, report.foreign, report.newer))
        self.assertFalse(report.ok)
        offset = RUN.offset(0, RUN.place(51))
        self.assertTrue(report.first[0].startswith(f'{offset:#x}: lost'))

    def test_the_old_content_is_a_lost_write(self) -> None:
        self.assertEqual(3, self.check(Acked(RUN, 0, 3, 3)).lost)

    def test_a_block_that_nobody_issued_is_newer(self) -> None:
        self.write(20)
        self.assertFalse(self.check(Acked(RUN, 0, 19, 19)).ok)
        self.assertEqual(1, self.check(Acked(RUN, 0, 19, 19)).newer)

    def test_newer_blocks_are_no_fault_while_the_writer_runs(self) -> None:
        self.write(25)
        report = self.check(Acked(RUN, 0, 19, 19), exact=False)
        self.assertEqual(6, report.newer)
        self.assertTrue(report.ok)

    def test_a_write_in_flight_may_have_arrived_or_not(self) -> None:
        for count in (19, 20):
            self.write(count)
            self.assertTrue(self.check(Acked(RUN, 0, 19, 20)).ok)

    def test_damage_and_strangers_are_foreign(self) -> None:
        acked = self.write(40)
        offset = RUN.offset(0, RUN.place(40))
        elsewhere = writer_block(39, 0, RUN.tag)
        for block in (b'\xff' * BLOCK, writer_block(40, 0, 99), elsewhere):
            self.put(offset, block)
            report = self.check(acked)
            self.assertEqual((0, 1), (report.lost, report.foreign), report)

    def test_a_change_outside_of_all_places_is_found(self) -> None:
        acked = self.write(40)
        self.put(SIZE - BLOCK, b'x')
        self.put(0, bytes(BLOCK))
        report = self.check(acked, Acked(RUN, 1, 0, 0))
        self.assertEqual(2, report.changed)
        self.assertFalse(report.ok)

    def test_a_later_run_covers_an_earlier(self) -> None:
        later = Run('vda', tag=8, writers=1, blocks=4, stride=4 * BLOCK, base=8 * BLOCK)
        first, second = self.write(16), self.write(3, later)
        self.assertTrue(self.check(first, second).ok)
        self.assertEqual(1, self.check(first, Acked(later, 0, 4, 4)).lost)
        self.assertTrue(self.check(first, Acked(later, 0, 2, 2), exact=False).ok)

    def test_nothing_checked_is_no_pass(self) -> None:
        self.assertFalse(self.check().ok)

    def test_same_compares_size_and_bytes(self) -> None:
        copy = self.image.with_name('copy')
        copy.write_bytes(self.image.read_bytes())
        self.assertTrue(same(self.image, copy))
        copy.write_bytes(copy.read_bytes() + b'\0')
        self.assertFalse(same(self.image, copy))
