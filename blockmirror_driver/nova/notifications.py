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
"""Notifications of swaps, on the message bus that Nova's own go to.

``blockmirror.swap.start``, ``progress``, ``ready``, ``end`` and ``error``; the payload is
described by ``notifications.schema.json`` beside this module. A swap never waits for the bus: a
thread of their own sends them, from a queue that drops what it can't hold.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from dataclasses import asdict
from threading import Lock, Thread
from typing import Any

import oslo_messaging
from nova import rpc
from oslo_config import cfg
from oslo_log import log as logging

from blockmirror_driver.nova.context import SwapContext
from blockmirror_driver.swap.ledger import Observer
from blockmirror_driver.swap.record import SwapEvent

LOG = logging.getLogger(__name__)

#: Events that are told; the others are steps between them.
EVENTS = ('start', 'progress', 'ready', 'end', 'error')
#: Notifications that may wait for the bus: a few for each of very many swaps.
_PLACES = 1000

Send = Callable[[str, dict[str, Any]], None]


class Notifier:
    """One for nova-compute. :meth:`observer` may be called by any thread.

    :param conf: nova-compute's, with the options of ``[blockmirror]``.
    :param send: hands a notification to the bus, and may block; Nova's by default.
    """

    def __init__(self, conf: cfg.ConfigOpts, send: Send | None = None) -> None:
        self._conf = conf
        self._send = send or _Bus()
        self._waiting: queue.Queue[tuple[str, dict[str, Any]]] = queue.Queue(_PLACES)
        self._lock = Lock()
        self._thread: Thread | None = None
        #: How many the queue did not take.
        self.dropped = 0

    def observer(self, ids: SwapContext) -> Observer:
        """Return what takes the events of one swap; it never blocks and never raises."""
        if not self._conf.blockmirror.notifications:
            return lambda _event: None
        common = {'host': self._conf.host, **_shown(ids)}
        sent_at = float('-inf')

        def observe(event: SwapEvent) -> None:
            nonlocal sent_at
            if event.event not in EVENTS:
                return
            if event.event == 'progress':
                now = time.monotonic()
                if now - sent_at < self._conf.blockmirror.notification_interval:
                    return
                sent_at = now
            self._put(event.event, {**common, **event.to_dict()})

        return observe

    def _put(self, event: str, payload: dict[str, Any]) -> None:
        try:
            self._waiting.put_nowait((event, payload))
        except queue.Full:
            self.dropped += 1
            LOG.warning(
                'The message bus does not take notifications: %d were dropped', self.dropped
            )
        with self._lock:
            if self._thread is None:
                self._thread = Thread(
                    target=self._loop, name='blockmirror-notifications', daemon=True
                )
                self._thread.start()

    def _loop(self) -> None:
        while True:
            event, payload = self._waiting.get()
            try:
                self._send(f'blockmirror.swap.{event}', payload)
            except Exception as error:  # noqa: BLE001 - whatever the bus's driver raises
                LOG.warning(
                    'A notification of swap %s was not sent: %s', payload['swap_id'], error
                )
            finally:
                self._waiting.task_done()

    def join(self) -> None:
        """Wait until the bus has taken all that waits; for tests."""
        self._waiting.join()


def _shown(ids: SwapContext) -> dict[str, str]:
    names = ('instance_uuid', 'mountpoint', 'old_volume_id', 'new_volume_id')
    return {name: text for name, text in asdict(ids).items() if name in names}


class _Bus:
    """Nova's transport, with the topics and the driver that oslo.messaging has."""

    def __init__(self) -> None:
        self._notifier: Any = None

    def __call__(self, event_type: str, payload: dict[str, Any]) -> None:
        """Send one; the first finds out how, which reads the metadata of packages."""
        if self._notifier is None:
            publisher = f'nova-compute:{payload["host"]}'
            self._notifier = oslo_messaging.Notifier(
                rpc.NOTIFICATION_TRANSPORT, publisher_id=publisher, retry=0
            )
        is_error = payload['event'] == 'error'
        emit = self._notifier.error if is_error else self._notifier.info
        emit({}, event_type, payload)
