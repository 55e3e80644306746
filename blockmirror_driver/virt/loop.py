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
"""libvirt's event loop, which is one per process.

Without a running loop no event and no keepalive message is handled. Standalone, the
first :meth:`EventLoop.start` registers libvirt's default implementation and runs it in a
daemon thread until the process ends: libvirt can't take a registration back. Embedded
(inside nova-compute) the loop is the caller's, and nothing is done here.
"""

from __future__ import annotations

import queue
import threading

import libvirt
from oslo_log import log

from blockmirror_driver.model import Seconds

LOG = log.getLogger(__name__)

_register_lock = threading.Lock()
_thread: threading.Thread | None = None


class EventLoop:
    """The process's event loop.

    :param embedded: the caller has registered an implementation and runs it; it must have
        done so before a connection is opened.
    """

    def __init__(self, *, embedded: bool = False) -> None:
        self.embedded = embedded

    def start(self) -> None:
        """Make sure that the loop runs; once per process, from any thread."""
        if not self.embedded:
            _start_once()

    def answers(self, timeout: Seconds) -> bool:
        """Tell whether the loop runs callbacks within ``timeout`` seconds.

        A loop that does not (the caller forgot it, or one of its handlers hangs) leaves
        us with the slow readings only.
        """
        ticks: queue.SimpleQueue[None] = queue.SimpleQueue()
        try:
            timer = libvirt.virEventAddTimeout(10, lambda _timer, opaque: opaque.put(None), ticks)
        except libvirt.libvirtError:
            return False  # no implementation is registered
        try:
            ticks.get(timeout=timeout)
        except queue.Empty:
            return False
        finally:
            libvirt.virEventRemoveTimeout(timer)
        return True


def _start_once() -> None:
    global _thread  # noqa: PLW0603 - libvirt's registration is just as global
    with _register_lock:
        if _thread is not None:
            return
        libvirt.virEventRegisterDefaultImpl()
        _thread = threading.Thread(target=_run, name='blockmirror-libvirt-events', daemon=True)
        _thread.start()


def _run() -> None:
    pause = threading.Event()
    while True:
        try:
            libvirt.virEventRunDefaultImpl()
        except libvirt.libvirtError as error:
            LOG.warning('the libvirt event loop failed and goes on: %s', error)
            pause.wait(1.0)  # a lasting failure must not spin
