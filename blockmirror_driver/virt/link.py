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
"""One libvirt connection, from opening to its end; it is never revived.

:class:`~blockmirror_driver.virt.connection.Hypervisor` replaces a lost link by a new one.
The methods block in libvirt and are meant to run in a
:class:`~blockmirror_driver.virt.calls.CallPool`.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import libvirt
from oslo_log import log

from blockmirror_driver import exception
from blockmirror_driver.virt import handles
from blockmirror_driver.virt.events import (
    BlockJobEvent,
    BlockJobStatus,
    HypervisorEvent,
    Lifecycle,
    LifecycleEvent,
)

_T = TypeVar('_T')

LOG = log.getLogger(__name__)

#: ``virConnectCloseReason``.
_REASONS = {0: 'I/O error', 1: 'end of file', 2: 'keepalive timeout', 3: 'closed by the client'}

Publish = Callable[[HypervisorEvent], None]


class Link:
    """A connection and what is registered on it.

    :param publish: gets each event of any domain, in libvirt's event thread; without it
        no events are registered.
    :param on_close: gets the reason when the connection breaks, in the same thread.
    :param keepalive: seconds between messages (0: none), and how many may stay unanswered.

    Both callables must neither lock, log nor call libvirt.
    """

    def __init__(
        self,
        uri: str,
        *,
        read_only: bool = False,
        keepalive: tuple[int, int] = (0, 1),
        publish: Publish | None = None,
        on_close: Callable[[str], None] | None = None,
    ) -> None:
        self.uri = uri
        self.read_only = read_only
        self._keepalive = keepalive
        self._publish = publish
        self._on_close = on_close
        self._lock = threading.Lock()
        self._conn: libvirt.virConnect | None = None
        self._callbacks: list[int] = []
        self._ended = False
        self._users = 0

    @property
    def is_alive(self) -> bool:
        """Whether libvirt thinks that the connection stands; asks nobody."""
        with self._lock:
            if self._conn is None or self._ended:
                return False
            try:
                return self._conn.isAlive() == 1
            except libvirt.libvirtError:
                return False

    def open(self) -> None:
        """Connect and register; after a failure nothing is left registered.

        :raise libvirt.libvirtError: the connection could not be made.
        """
        conn = (libvirt.openReadOnly if self.read_only else libvirt.open)(self.uri)
        try:
            self._register(conn)
        except libvirt.libvirtError:
            self._tear_down(conn)
            raise
        with self._lock:
            if not self._ended:
                handles.keep(conn)
                self._conn = conn
                return
        # close() came while we were under way: whoever opened us has given up waiting.
        self._tear_down(conn)

    def call(self, function: Callable[[libvirt.virConnect], _T]) -> _T:
        """Return what ``function`` returns, holding the connection meanwhile.

        :raise HypervisorUnavailable: it is closed, or not open yet.
        """
        with self._lock:
            conn = self._conn
            if conn is None or self._ended:
                raise exception.HypervisorUnavailable('the libvirt connection is closed')
            self._users += 1
        try:
            return function(conn)
        finally:
            self._leave()

    def close(self) -> None:
        """Deregister and close; idempotent, and never raises.

        libvirt frees a connection that is closed under a call, which then crashes. So
        while calls are under way, the last one to return closes it.
        """
        with self._lock:
            self._ended = True
        self._leave(0)

    def _leave(self, users: int = 1) -> None:
        with self._lock:
            self._users -= users
            if self._users or not self._ended:
                return
            conn, self._conn = self._conn, None
        if conn is not None:
            self._tear_down(conn)

    def _register(self, conn: libvirt.virConnect) -> None:
        if self._on_close is not None:
            _if_supported(lambda: conn.registerCloseCallback(_closed, self._on_close))
        interval, count = self._keepalive
        if interval:
            _if_supported(lambda: conn.setKeepAlive(interval, count))
        if self._publish is not None:
            for event_id, callback in (
                (libvirt.VIR_DOMAIN_EVENT_ID_BLOCK_JOB_2, _block_job),
                (libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, _lifecycle),
            ):
                self._callbacks.append(
                    conn.domainEventRegisterAny(None, event_id, callback, self._publish)
                )

    def _tear_down(self, conn: libvirt.virConnect) -> None:
        # Each callback keeps a reference on the connection, which would never be freed.
        for callback_id in self._callbacks:
            _ignoring_errors(functools.partial(conn.domainEventDeregisterAny, callback_id))
        self._callbacks.clear()
        handles.forget(conn)
        if self._on_close is not None:
            _ignoring_errors(conn.unregisterCloseCallback)
        _ignoring_errors(conn.close)


def _if_supported(call: Callable[[], int]) -> None:
    # Only the remote driver has keepalive and a stream that can break; qemu:///embed and
    # test:///default have neither.
    try:
        call()
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_SUPPORT:
            raise


def _ignoring_errors(call: Callable[[], Any]) -> None:
    try:
        call()
    except libvirt.libvirtError as error:
        LOG.debug('while closing a libvirt connection: %s', error)


# libvirt's callbacks: they run in the event thread, which inside nova-compute is Nova's.


def _closed(_conn: libvirt.virConnect, reason: int, on_close: Callable[[str], None]) -> None:
    on_close(_REASONS.get(reason, f'reason {reason}'))


def _block_job(
    _conn: libvirt.virConnect,
    dom: libvirt.virDomain,
    dev: str,
    job_type: int,
    status: int,
    publish: Publish,
) -> None:
    publish(BlockJobEvent(dom.UUIDString(), dev, job_type, BlockJobStatus(status)))


def _lifecycle(
    _conn: libvirt.virConnect, dom: libvirt.virDomain, event: int, detail: int, publish: Publish
) -> None:
    publish(LifecycleEvent(dom.UUIDString(), Lifecycle(event), detail))
