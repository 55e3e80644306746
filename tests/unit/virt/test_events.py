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
"""Events: libvirt's numbers, and who is told."""

from __future__ import annotations

import queue
from typing import Any

import libvirt
import testtools

from blockmirror_driver.virt.domain import CopyFlag, DomainState, RebaseFlag
from blockmirror_driver.virt.events import (
    BlockJobEvent,
    BlockJobStatus,
    ConnectionLost,
    HypervisorEvent,
    Lifecycle,
    LifecycleEvent,
    Reconnected,
)
from blockmirror_driver.virt.subscriptions import Fanout, Subscription

ENUMS: tuple[tuple[Any, str], ...] = (
    (BlockJobStatus, 'VIR_DOMAIN_BLOCK_JOB_'),
    (Lifecycle, 'VIR_DOMAIN_EVENT_'),
    (DomainState, 'VIR_DOMAIN_'),
    (CopyFlag, 'VIR_DOMAIN_BLOCK_COPY_'),
    (RebaseFlag, 'VIR_DOMAIN_BLOCK_REBASE_'),
)
#: Ours, or newer than the oldest libvirt that we support.
NOT_LIBVIRTS = {'NONE', 'UNKNOWN', 'TARGET_ZEROED'}


def drain(subscription: Subscription) -> list[Any]:
    found = []
    while True:
        try:
            found.append(subscription.queue.get_nowait())
        except queue.Empty:
            return found


class TestNumbers(testtools.TestCase):
    def test_enums_are_libvirts(self) -> None:
        for enum, prefix in ENUMS:
            for member in enum:
                if member.name not in NOT_LIBVIRTS:
                    self.assertEqual(getattr(libvirt, prefix + member.name), member.value)

    def test_no_value_of_libvirt_is_missing(self) -> None:
        names = {name for name in dir(libvirt) if name.startswith('VIR_DOMAIN_BLOCK_REBASE_')}
        self.assertEqual(
            names, {f'VIR_DOMAIN_BLOCK_REBASE_{flag.name}' for flag in RebaseFlag if flag}
        )

    def test_a_newer_value_is_unknown_and_raises_nothing(self) -> None:
        self.assertIs(BlockJobStatus.UNKNOWN, BlockJobStatus(99))
        self.assertIs(Lifecycle.UNKNOWN, Lifecycle(99))


class TestFanout(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.fanout = Fanout()

    def test_each_gets_what_it_wants_in_order(self) -> None:
        everything, one = self.fanout.subscribe(), self.fanout.subscribe('a')
        events: list[HypervisorEvent] = [
            BlockJobEvent('a', 'vda', 2, BlockJobStatus.READY),
            LifecycleEvent('b', Lifecycle.STOPPED, 0),
            ConnectionLost('end of file'),
            Reconnected(2),
        ]
        for event in events:
            self.fanout.publish(event)
        self.assertEqual(events, drain(everything))
        self.assertEqual([events[0], *events[2:]], drain(one))

    def test_nothing_arrives_after_close(self) -> None:
        with self.fanout.subscribe() as subscription:
            self.fanout.publish(Reconnected(1))
        self.fanout.publish(Reconnected(2))
        subscription.close()
        self.assertEqual([Reconnected(1)], drain(subscription))
        self.assertEqual(0, len(self.fanout))

    def test_publishing_takes_no_lock(self) -> None:
        """A callback must get through while another thread holds the list's lock."""
        subscription = self.fanout.subscribe()
        with self.fanout._lock:
            self.fanout.publish(Reconnected(1))
        self.assertEqual([Reconnected(1)], drain(subscription))
