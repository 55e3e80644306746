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
"""Who is told about events: a list that callbacks may walk without a lock."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from blockmirror_driver.virt.events import BlockJobEvent, HypervisorEvent, LifecycleEvent


class Subscription:
    """A queue of events, from all domains or from one; a context manager.

    ``queue`` never blocks its writer. After :meth:`close` nothing more arrives; what is
    in the queue stays readable. Any thread may call.
    """

    def __init__(
        self, domain_uuid: str | None, unsubscribe: Callable[[Subscription], None]
    ) -> None:
        self.domain_uuid = domain_uuid
        self.queue: queue.SimpleQueue[HypervisorEvent] = queue.SimpleQueue()
        self._unsubscribe = unsubscribe

    def wants(self, event: HypervisorEvent) -> bool:
        """Tell whether this event belongs here; those of the connection always do."""
        if self.domain_uuid is None or not isinstance(event, BlockJobEvent | LifecycleEvent):
            return True
        return event.domain_uuid == self.domain_uuid

    def close(self) -> None:
        """Unsubscribe; a second call does nothing."""
        self._unsubscribe(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Fanout:
    """Hands each event to every subscription that wants it.

    The subscriptions are a tuple which is replaced, never changed: :meth:`publish` reads
    it once and needs no lock, so that it may run in libvirt's callbacks.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._subscriptions: tuple[Subscription, ...] = ()

    def subscribe(self, domain_uuid: str | None = None) -> Subscription:
        """Return a new subscription. Any thread may call."""
        subscription = Subscription(domain_uuid, self._drop)
        with self._lock:
            self._subscriptions = (*self._subscriptions, subscription)
        return subscription

    def publish(self, event: HypervisorEvent) -> None:
        """Put the event on the queues; safe in a callback."""
        for subscription in self._subscriptions:
            if subscription.wants(event):
                subscription.queue.put(event)

    def __len__(self) -> int:
        return len(self._subscriptions)

    def _drop(self, subscription: Subscription) -> None:
        with self._lock:
            self._subscriptions = tuple(s for s in self._subscriptions if s is not subscription)
