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
"""Notifications of swaps: by the schema, without secrets, and never in a swap's way."""

from __future__ import annotations

import importlib.resources
import json
import threading
from typing import Any
from unittest import mock

import jsonschema  # type: ignore[import-untyped]
import nova.conf
import oslo_messaging
import testtools
from nova import rpc
from oslo_messaging.notify import _impl_test

from blockmirror_driver.mirror.progress import Progress
from blockmirror_driver.model import Bytes, BytesPerSecond, Seconds
from blockmirror_driver.nova import notifications
from blockmirror_driver.nova.context import SwapContext
from blockmirror_driver.nova.notifications import Notifier
from blockmirror_driver.swap.record import SwapEvent
from blockmirror_driver.swap.states import SwapState
from tests.nova.base import INSTANCE_UUID, NEW_ID, OLD_ID, NovaTestCase
from tests.nova.test_duties import DutiesCase

IDS = SwapContext(INSTANCE_UUID, '/dev/vda', OLD_ID, NEW_ID, 'attachment-old', 'attachment-new')
PROGRESS = Progress(Bytes(1), Bytes(2), BytesPerSecond(3), BytesPerSecond(4), Seconds(5.0))


def event(kind: str, **more: Any) -> SwapEvent:
    return SwapEvent(1.5, 'swap-1', kind, SwapState.COPYING, **more)


def schema() -> Any:
    package = importlib.resources.files('blockmirror_driver.nova')
    return json.loads(package.joinpath('notifications.schema.json').read_text())


class TestNotifier(NovaTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.notifier = Notifier(nova.conf.CONF, lambda *what: self.sent.append(what))

    def told(self, *events: SwapEvent) -> list[str]:
        observer = self.notifier.observer(IDS)
        for one in events:
            observer(one)
        self.notifier.join()
        return [name.removeprefix('blockmirror.swap.') for name, _payload in self.sent]

    def test_each_event_by_the_schema(self) -> None:
        kinds = ['start', 'progress', 'ready', 'end', 'error']
        told = self.told(event('plan'), event('state'), *(event(kind) for kind in kinds))
        self.assertEqual(kinds, told)
        for _name, payload in self.sent:
            jsonschema.validate(payload, schema())
        self.assertEqual(OLD_ID, self.sent[0][1]['old_volume_id'])
        self.assertNotIn('attachment', json.dumps(self.sent))

    def test_progress_is_told_now_and_then(self) -> None:
        moved = event('progress', progress=PROGRESS)
        self.assertEqual(['progress', 'end'], self.told(moved, moved, moved, event('end')))
        jsonschema.validate(self.sent[0][1], schema())
        self.sent.clear()
        self.conf.config(notification_interval=0.0, group='blockmirror')
        self.assertEqual(['progress'] * 3, self.told(moved, moved, moved))

    def test_switched_off(self) -> None:
        self.conf.config(notifications=False, group='blockmirror')
        self.assertEqual([], self.told(event('start')))

    def test_a_bus_that_refuses_ends_nothing(self) -> None:
        answers = iter([oslo_messaging.MessageDeliveryFailure('away'), None])

        def send(name: str, payload: dict[str, Any]) -> None:
            error = next(answers)
            if error is not None:
                raise error
            self.sent.append((name, payload))

        self.notifier = Notifier(nova.conf.CONF, send)
        self.assertEqual(['end'], self.told(event('start'), event('end')))

    def test_a_bus_that_hangs_holds_nobody(self) -> None:
        """What the queue can't hold is dropped and counted."""
        hanging = threading.Event()
        self.addCleanup(hanging.set)

        def send(_name: str, _payload: dict[str, Any]) -> None:
            hanging.wait(60)

        with mock.patch.object(notifications, '_PLACES', 2):
            notifier = Notifier(nova.conf.CONF, send)
        observer = notifier.observer(IDS)
        for _ in range(10):
            observer(event('ready'))
        self.assertGreaterEqual(notifier.dropped, 7)

    def test_over_oslo_messaging(self) -> None:
        """By the driver that oslo.messaging is configured with; errors with their priority."""
        transport = oslo_messaging.get_notification_transport(nova.conf.CONF, url='fake:/')
        self.conf.config(driver=['test'], group='oslo_messaging_notifications')
        self.addCleanup(_impl_test.reset)
        with mock.patch.object(rpc, 'NOTIFICATION_TRANSPORT', transport):
            self.notifier = Notifier(nova.conf.CONF)
            self.told(event('start'), event('error', detail='no space'))
        found = [(sent[1]['event_type'], sent[2]) for sent in _impl_test.NOTIFICATIONS]
        self.assertEqual(
            [('blockmirror.swap.start', 'INFO'), ('blockmirror.swap.error', 'ERROR')], found
        )
        self.assertEqual(
            f'nova-compute:{nova.conf.CONF.host}',
            _impl_test.NOTIFICATIONS[0][1]['publisher_id'],
        )


class TestSchema(testtools.TestCase):
    def test_what_both_schemas_have_is_the_same(self) -> None:
        package = importlib.resources.files('blockmirror_driver.cli')
        events = json.loads(package.joinpath('events.schema.json').read_text())
        for name in ('time', 'state', 'detail', 'progress'):
            self.assertEqual(events['properties'][name], schema()['properties'][name], name)


class TestSwaps(DutiesCase):
    def setUp(self) -> None:
        super().setUp()
        self.sent: list[dict[str, Any]] = []
        self.driver.notifier._send = lambda _name, payload: self.sent.append(payload)

    def told(self) -> list[str]:
        self.driver.notifier.join()
        for payload in self.sent:
            jsonschema.validate(payload, schema())
        return [payload['event'] for payload in self.sent]

    def test_a_swap_from_start_to_end(self) -> None:
        self.swap()
        told = self.told()
        self.assertEqual(('start', 'end'), (told[0], told[-1]))
        self.assertIn('ready', told)

    def test_one_that_fails(self) -> None:
        self.guest.pivots = ['fail']
        self.refused()
        self.assertEqual('error', self.told()[-1])
