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
"""The marks of several swaps of one guest."""

from __future__ import annotations

import threading
from collections.abc import Callable

import testtools

from blockmirror_driver.mirror.options import CopyOptions
from blockmirror_driver.model import Disk, RbdSource
from blockmirror_driver.swap import cleanup
from blockmirror_driver.swap.ledger import Swap
from blockmirror_driver.swap.request import Ending
from tests.unit.fakes import FakeDomain, FakeHypervisor

DISK = Disk(RbdSource('pool', 'image'))
#: Long enough for a thread that nothing holds back.
A_WHILE = 0.5


class SlowDomain(FakeDomain):
    """Things happen between the reading of the marks and the answer."""

    meanwhile: Callable[[], object] = staticmethod(lambda: None)

    def mark(self) -> str | None:
        text = super().mark()
        self.meanwhile()
        return text


class MarksTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.hypervisor = FakeHypervisor()
        self.domain = SlowDomain()
        self.hypervisor.add(self.domain)

    def swap(self, dev: str) -> Swap:
        return Swap(
            f'swap-{dev}', 'guest', self.domain.uuid, dev, DISK, '', DISK, CopyOptions(),
            Ending.PIVOT, None,
        )  # fmt: skip

    def test_two_that_end_in_the_same_moment(self) -> None:
        """While one has read the marks the other takes its own away: both are gone."""
        for dev in ('vda', 'vdb'):
            cleanup.mark(self.hypervisor, self.swap(dev), 'copying')
        self.assertIn('swap-vda', self.domain.marked or '')
        self.assertIn('swap-vdb', self.domain.marked or '')
        other = threading.Thread(
            target=cleanup.unmark, args=(self.hypervisor, 'swap-vdb', self.domain.uuid)
        )

        def meanwhile() -> None:
            if other.ident is None:
                other.start()
                other.join(A_WHILE)

        self.domain.meanwhile = meanwhile
        cleanup.unmark(self.hypervisor, 'swap-vda', self.domain.uuid)
        other.join()
        self.assertIsNone(self.domain.marked)
