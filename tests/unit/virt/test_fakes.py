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
"""The fakes that other rooms test against are complete, and keep the contract."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import testtools

from blockmirror_driver import exception
from blockmirror_driver.model import BytesPerSecond
from blockmirror_driver.virt.connection import Hypervisor
from blockmirror_driver.virt.domain import Domain
from blockmirror_driver.virt.events import BlockJobStatus, LifecycleEvent, Reconnected
from blockmirror_driver.virt.secrets import SecretStore
from tests.unit import fakes

PAIRS: tuple[tuple[type, type], ...] = (
    (fakes.FakeHypervisor, Hypervisor),
    (fakes.FakeDomain, Domain),
    (fakes.FakeSecretStore, SecretStore),
)


class TestCompleteness(testtools.TestCase):
    def test_nothing_public_is_left_real(self) -> None:
        inherited = {'from_conf'}
        for fake, real in PAIRS:
            public = {name for name in vars(real) if not name.startswith('_')}
            self.assertEqual(set(), public - set(vars(fake)) - inherited, real.__name__)

    @staticmethod
    def parameters(function: Callable[..., object]) -> list[tuple[str, object, object]]:
        found = inspect.signature(function).parameters.values()
        return [(p.name, p.kind, p.default) for p in found]

    def test_signatures_are_the_same(self) -> None:
        for fake, real in PAIRS:
            for name, member in inspect.getmembers(real, inspect.isfunction):
                if not name.startswith('_') and name != 'run':
                    # Annotations are mypy's business, which compares overrides.
                    self.assertEqual(
                        self.parameters(member), self.parameters(getattr(fake, name)), name
                    )


class TestBehaviour(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.hypervisor = fakes.FakeHypervisor()
        self.domain = self.hypervisor.add(fakes.FakeDomain())

    def test_finds_domains(self) -> None:
        self.assertIs(self.domain, self.hypervisor.domain('guest'))
        self.assertIs(self.domain, self.hypervisor.domain(self.domain.uuid))
        self.assertRaises(exception.DomainNotFound, self.hypervisor.domain, 'x')

    def test_planned_failures_come_once_in_order(self) -> None:
        self.domain.fail('state', None, exception.DomainNotFound('gone'))
        self.domain.state()
        self.assertRaises(exception.DomainNotFound, self.domain.state)
        self.domain.state()
        self.assertEqual(3, self.domain.count('state'))

    def test_a_copy_and_its_events(self) -> None:
        self.domain.on('block_copy', lambda: self.domain.emit_job('vda', BlockJobStatus.READY))
        with self.hypervisor.subscribe(self.domain.uuid) as events:
            self.domain.block_copy('vda', '<disk/>', bandwidth=BytesPerSecond(5))
            self.assertEqual(BlockJobStatus.READY, events.queue.get_nowait().status)  # type: ignore[union-attr]
            self.assertRaises(exception.DiskBusy, self.domain.block_copy, 'vda', '<disk/>')
            self.domain.die()
            self.assertIsInstance(events.queue.get_nowait(), LifecycleEvent)
            self.hypervisor.lose_connection()
            self.hypervisor.reconnect()
            events.queue.get_nowait()
            self.assertEqual(Reconnected(2), events.queue.get_nowait())
        self.assertEqual(0, self.hypervisor.subscribed)
        self.assertRaises(exception.DomainNotFound, self.domain.job, 'vda')

    def test_no_job_is_code_8(self) -> None:
        for call in (self.domain.pivot, self.domain.abort):
            error = self.assertRaises(exception.HypervisorUnavailable, call, 'vda')
            self.assertEqual(8, error.code)
