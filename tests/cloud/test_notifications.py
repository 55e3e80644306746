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
"""Notifications of a swap, as somebody who listens to the message bus gets them."""

from __future__ import annotations

import importlib.resources
import json
import uuid
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import oslo_messaging
from oslo_config import cfg

from tests.cloud import site as places
from tests.cloud.base import CloudTestCase
from tests.lab.deadline import wait_until

_PREFIX = 'blockmirror.swap.'


class _Listener:
    """Keeps what is notified of swaps; the threads of oslo.messaging call it."""

    def __init__(self) -> None:
        self.got: list[tuple[str, str, dict[str, Any]]] = []

    def _take(self, publisher: str, kind: str, payload: dict[str, Any]) -> None:
        if kind.startswith(_PREFIX):
            self.got.append((publisher, kind.removeprefix(_PREFIX), payload))

    def info(self, ctxt: Any, publisher_id: str, event_type: str, payload: Any, meta: Any) -> None:
        self._take(publisher_id, event_type, payload)

    error = info


class NotificationsTest(CloudTestCase):
    def test_a_swap_from_start_to_end(self) -> None:
        """In order, by the published schema, and of the volumes that were asked for."""
        listener = self.listen()
        server, volume, dev, swap_id = self.slow_copy()
        self.assert_moved(server, volume, dev, 'rbd2')
        wait_until(lambda: 'end' in self.kinds(listener), 60, 'the end is notified')
        kinds = self.kinds(listener)
        without = [kind for kind in kinds if kind != 'progress']
        self.assertEqual(['start', 'ready', 'end'], without)
        self.assertIn('progress', kinds)
        package = importlib.resources.files('blockmirror_driver.nova')
        schema = json.loads(package.joinpath('notifications.schema.json').read_text())
        for publisher, _kind, payload in listener.got:
            jsonschema.validate(payload, schema)
            self.assertEqual(f'nova-compute:{places.NODE}', publisher)
            self.assertEqual(
                (swap_id, server.id, volume.id),
                (payload['swap_id'], payload['instance_uuid'], payload['old_volume_id']),
            )

    @staticmethod
    def kinds(listener: _Listener) -> list[str]:
        """The last word of each type of event so far."""
        return [kind for _publisher, kind, _payload in listener.got]

    def listen(self) -> _Listener:
        """Listen from now on, with a queue of its own: others get theirs all the same."""
        site = self.api.site
        conf = cfg.ConfigOpts()
        conf([], default_config_files=[str(site.etc / 'nova' / 'nova-compute.conf')])
        transport = oslo_messaging.get_notification_transport(conf)
        found = _Listener()
        server = oslo_messaging.get_notification_listener(
            transport,
            [oslo_messaging.Target(exchange='nova', topic='notifications')],
            [found],
            executor='threading',
            pool=f'test-{uuid.uuid4()}',
        )
        server.start()

        def end() -> None:
            server.stop()
            server.wait()
            transport.cleanup()

        self.addCleanup(end)
        return found
