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
"""What is compared, what is read again, and that a guest is never left standing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import fixtures
import tenacity
import testtools

from blockmirror_driver import exception
from blockmirror_driver.mirror.options import CopyOptions
from blockmirror_driver.model import (
    BytesPerSecond,
    Disk,
    Driver,
    FileSource,
    OtherSource,
    RbdSource,
    Seconds,
)
from blockmirror_driver.swap import cleanup, contents, images
from blockmirror_driver.swap.contents import BLOCK, CHUNK, Comparison
from blockmirror_driver.swap.ledger import Swap
from blockmirror_driver.swap.request import Ending
from blockmirror_driver.virt.domain import DomainState, JobInfo
from tests.unit.fakes import FakeDomain, FakeHypervisor

SIZE = 2 * CHUNK + BLOCK + 4096
RBD = Disk(RbdSource('pool', 'image'))
UNAVAILABLE = exception.HypervisorUnavailable('no connection')


class Side:
    """One side; ``reads`` counts, and ``on_read`` may change things."""

    def __init__(self) -> None:
        self.data = bytearray(SIZE)
        self.asked = (0, 0)
        self.on_read: Callable[[], object] = lambda: None
        self.closed = False

    def within(self, timeout: Seconds) -> None:
        self.timeout = timeout

    def ask(self, offset: int, length: int) -> None:
        self.asked = (offset, length)

    def answer(self) -> bytes:
        self.on_read()
        offset, length = self.asked
        return bytes(self.data[offset : offset + length])

    def hang_up(self) -> None:
        self.closed = True

    def close(self) -> None:
        self.closed = True


class ComparisonCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.hypervisor = FakeHypervisor()
        self.domain = self.hypervisor.add(FakeDomain('guest'))
        self.domain.capacities['vda'] = SIZE
        self.domain.jobs['vda'] = JobInfo(2, BytesPerSecond(0), SIZE, SIZE)
        self.source, self.destination = Side(), Side()
        self.openings = 0
        for name, value in (
            ('_BETWEEN', 0.0),
            ('_WHILE_PAUSED', 0.0),
        ):
            self.patch_(mock.patch.object(contents, name, value))
        self.patch_(mock.patch.object(images, 'opened', self.opened))
        self.patch_(
            mock.patch.object(tenacity, 'wait_fixed', lambda _seconds: tenacity.wait_none())
        )

    def patch_(self, patcher: Any) -> None:
        patcher.start()
        self.addCleanup(patcher.stop)

    @contextlib.contextmanager
    def opened(self, *_args: object) -> Iterator[tuple[Side, Side]]:
        self.openings += 1
        yield self.source, self.destination

    def swap(self, **options: Any) -> Swap:
        return Swap(
            'swap-1', 'guest', self.domain.uuid, 'vda', RBD, '', RBD,
            CopyOptions(verify_contents=True, **options), Ending.PIVOT, None,
        )  # fmt: skip

    def compare(self, **options: Any) -> contents.Compared:
        swap = self.swap(**options)
        comparison = Comparison(
            self.hypervisor, swap, lambda: None, lambda: swap.options.bandwidth
        )
        with comparison:
            comparison._thread.join()
        return comparison.result()

    def is_hot_until_paused(self) -> None:
        """The guest writes one block before each look, until it is paused."""

        def write() -> None:
            if self.domain.run_state is DomainState.RUNNING:
                self.source.data[CHUNK] = self.source.data[CHUNK] % 250 + 1
            else:
                self.destination.data[CHUNK] = self.source.data[CHUNK]

        self.source.on_read = write

    def assert_runs(self) -> None:
        self.assertIs(DomainState.RUNNING, self.domain.run_state)
        self.assertNotIn('paused', self.domain.marked or '')


class TestComparison(ComparisonCase):
    def test_the_same(self) -> None:
        told = self.compare()
        self.assertEqual((SIZE, 0, 0.0), (told.size, told.again, told.paused))
        self.assertEqual(0, self.domain.count('suspend'))
        self.assertEqual(1, self.openings)

    def test_behind_for_a_moment(self) -> None:
        """What differs is read again, and only that."""
        self.source.data[SIZE - 1] = 1
        looks: list[tuple[int, int]] = []

        def look() -> None:
            looks.append(self.destination.asked)
            if len(looks) > 4:
                self.destination.data[SIZE - 1] = 1

        self.destination.on_read = look
        told = self.compare()
        self.assertEqual(1, told.again)
        self.assertEqual((2 * CHUNK + BLOCK, 4096), looks[-1])
        self.assertEqual(0, self.domain.count('suspend'))

    def test_hot_blocks_are_compared_while_the_guest_stands(self) -> None:
        self.is_hot_until_paused()
        told = self.compare()
        self.assertGreater(told.paused, 0)
        self.assertEqual(1, self.domain.count('suspend'))
        self.assert_runs()

    def test_a_pause_that_is_not_allowed(self) -> None:
        self.is_hot_until_paused()
        self.assertRaises(exception.NotConverging, self.compare, verify_pause=Seconds(0.0))
        self.assertEqual(0, self.domain.count('suspend'))

    def test_a_guest_that_is_paused_anyway(self) -> None:
        """It is not ours to let go on."""
        self.is_hot_until_paused()
        self.source.data[CHUNK] = 1
        self.domain.run_state = DomainState.PAUSED
        self.destination.on_read = self.source.on_read
        self.source.on_read = lambda: None
        self.compare(verify_pause=Seconds(0.0))
        self.assertEqual(0, self.domain.count('resume'))
        self.assertIs(DomainState.PAUSED, self.domain.run_state)

    def test_a_difference_that_stays(self) -> None:
        self.source.data[CHUNK + 7] = 1
        error = self.assertRaises(exception.CopyFailed, self.compare, verify_pause=Seconds(0.05))
        self.assertIn(f'1 blocks of {BLOCK} bytes, the first at {CHUNK}', str(error))
        self.assert_runs()

    def test_a_copy_that_is_still_behind_is_no_difference(self) -> None:
        self.source.data[CHUNK + 7] = 1
        self.domain.jobs['vda'] = JobInfo(2, BytesPerSecond(0), SIZE, SIZE + 4096)
        self.assertRaises(exception.NotConverging, self.compare, verify_pause=Seconds(0.05))
        self.assert_runs()

    def test_a_side_that_does_not_answer(self) -> None:
        """Whatever goes wrong, the guest runs afterwards."""
        self.is_hot_until_paused()

        def fail() -> None:
            if self.domain.run_state is DomainState.PAUSED:
                raise exception.CopyFailed('no answer in time')

        self.destination.on_read = fail
        self.assertRaises(exception.CopyFailed, self.compare)
        self.assert_runs()

    def test_libvirt_that_is_away_for_a_while(self) -> None:
        self.is_hot_until_paused()
        self.domain.fail('resume', UNAVAILABLE, UNAVAILABLE)
        self.compare()
        self.assertEqual(3, self.domain.count('resume'))
        self.assert_runs()

    def test_libvirt_that_is_away_for_good(self) -> None:
        self.patch_(mock.patch.object(contents, '_LET_GO_ON_WITHIN', 0.0))
        self.is_hot_until_paused()
        self.domain.fail('resume', UNAVAILABLE)
        error = self.assertRaises(exception.StateUnknown, self.compare)
        self.assertIn('resume', error.hint)
        self.assertIn('paused', self.domain.marked or '')

    def test_a_pause_that_may_have_happened(self) -> None:
        self.is_hot_until_paused()
        self.domain.fail('suspend', UNAVAILABLE)
        self.assertRaises(exception.CopyFailed, self.compare)
        self.assert_runs()

    def test_no_pause_without_a_mark(self) -> None:
        """Recovery would not know that it was us."""
        self.is_hot_until_paused()
        self.domain.fail('set_mark', UNAVAILABLE)
        self.assertRaises(exception.CopyFailed, self.compare)
        self.assertEqual(0, self.domain.count('suspend'))

    def test_what_does_not_open_has_failed(self) -> None:
        """A swap that is ready is past being refused."""

        def refuse(*_args: object) -> Any:
            raise exception.DestinationUnusable('no')

        self.patch_(mock.patch.object(images, 'opened', refuse))
        self.assertRaises(exception.CopyFailed, self.compare)

    def test_ended_early(self) -> None:
        comparison = Comparison(self.hypervisor, self.swap(), lambda: None, lambda: 0)
        self.source.on_read = comparison._stop.set
        with comparison:
            comparison._thread.join()
        self.assertRaises(exception.Cancelled, comparison.result)


class TestLetGoOn(ComparisonCase):
    def mark(self, intent: str) -> None:
        cleanup.mark(self.hypervisor, self.swap(), intent)
        self.domain.run_state = DomainState.PAUSED

    def test_ours(self) -> None:
        self.mark(contents.PAUSED)
        contents.let_go_on(self.hypervisor, self.swap())
        self.assert_runs()

    def test_the_mark_tells_that_it_has_to_be_compared(self) -> None:
        """Without the journal nobody else would know."""
        self.mark(contents.PAUSED)
        contents.let_go_on(self.hypervisor, self.swap())
        (mark,) = cleanup.marks_of(self.domain)
        self.assertEqual(cleanup.COMPARED, mark.intent)

    def test_somebody_elses(self) -> None:
        self.mark('copying')
        contents.let_go_on(self.hypervisor, self.swap())
        self.assertIs(DomainState.PAUSED, self.domain.run_state)

    def test_one_that_is_gone(self) -> None:
        self.mark(contents.PAUSED)
        del self.hypervisor.fake_domains[self.domain.uuid]
        contents.let_go_on(self.hypervisor, self.swap())
        self.assertEqual(0, self.domain.count('resume'))


class TestRefusal(testtools.TestCase):
    def test_what_can_not_be_read(self) -> None:
        wanted = CopyOptions(verify_contents=True)
        for disk, word in (
            (Disk(RbdSource('p', 'i'), driver=Driver('qcow2')), 'qcow2'),
            (Disk(OtherSource('vhostuser', 'x')), 'kind'),
            (Disk(FileSource('/does/not/exist')), 'may not read'),
        ):
            for sides in ((disk, RBD), (RBD, disk)):
                told = contents.refusal(*sides, wanted)
                assert told is not None
                self.assertIn(word, told.why)
            self.assertIsNone(contents.refusal(disk, RBD, CopyOptions()))
        self.assertIsNone(contents.refusal(RBD, RBD, wanted))


class TestSpans(testtools.TestCase):
    def test_the_last_is_shorter(self) -> None:
        self.assertEqual([(4, 8), (8, 10)], list(contents.spans(4, 10, 4)))
        self.assertEqual([], list(contents.spans(0, 0, 4)))


class TestLocalImage(testtools.TestCase):
    def test_reads(self) -> None:
        path = Path(self.useFixture(fixtures.TempDir()).path) / 'image'
        path.write_bytes(b'0123456789')
        image = images.LocalImage(str(path))
        self.addCleanup(image.close)
        image.ask(3, 4)
        self.assertEqual(b'3456', image.answer())
        image.ask(8, 4)
        self.assertRaises(exception.CopyFailed, image.answer)

    def test_what_is_not_there(self) -> None:
        self.assertRaises(exception.CopyFailed, images.LocalImage, '/does/not/exist')
