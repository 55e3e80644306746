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
"""The engine inside nova-compute: one hypervisor, one journal, a service for each swap."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from oslo_config import cfg
from oslo_log import log as logging

from blockmirror_driver import exception
from blockmirror_driver.model import NetworkSource, Seconds
from blockmirror_driver.swap.journal import Journal
from blockmirror_driver.swap.ledger import Observer
from blockmirror_driver.swap.record import Outcome, RecoverResult
from blockmirror_driver.swap.request import SwapRequest
from blockmirror_driver.swap.service import SwapService
from blockmirror_driver.virt.connection import Hypervisor
from blockmirror_driver.virt.loop import EventLoop
from blockmirror_driver.xml import domain as xml_domain

LOG = logging.getLogger(__name__)

#: Seconds within which a timer of 10 ms has to fire in Nova's event loop.
_LOOP_DEADLINE = Seconds(5.0)


class Engine:
    """What all swaps of this nova-compute share.

    The connections to libvirt are our own, since Nova's may be busy with calls that hang;
    the event loop is Nova's, since a process has only one. Any thread may call.

    :param uri: of Nova's own connection.
    :param conf: nova-compute's configuration, with the options of ``[blockmirror]``.
    """

    def __init__(self, uri: str, conf: cfg.ConfigOpts) -> None:
        group = conf.blockmirror
        self._conf = conf
        self.journal = Journal(group.journal_path)
        self.hypervisor = Hypervisor(
            uri,
            loop=EventLoop(embedded=True),
            call_timeout=Seconds(group.call_timeout),
            keepalive=(group.keepalive_interval, group.keepalive_count),
        )
        self._lock = threading.Lock()
        self._running: set[SwapService] = set()
        self._leaving = False

    def open(self) -> None:
        """Connect, after Nova has started its event loop.

        :raise HypervisorUnavailable: libvirt can't be reached.
        :raise JournalUnusable: without a journal nobody could tell after a crash which
            volume a guest is on.
        """
        self.journal.check()
        self.hypervisor.open()
        if not self.hypervisor.events_arrive(_LOOP_DEADLINE):
            LOG.error(
                "Nova's libvirt event loop does not answer within %.0f s: a swap learns of its "
                "job's end by slow readings only",
                _LOOP_DEADLINE,
            )

    def close(self) -> None:
        """Let go of libvirt; jobs go on. Swaps must have been left before."""
        self.hypervisor.close()
        self.journal.close()

    def network_disks(self, domain_uuid: str) -> set[str]:
        """Return which volumes QEMU opens in a guest, live, stored, or as a copy's destination.

        :raise HypervisorUnavailable: libvirt does not answer.
        """
        try:
            domain = self.hypervisor.domain(domain_uuid)
            texts = {domain.xml(), domain.xml(inactive=True)}
        except exception.DomainNotFound:
            return set()
        found = [disk for text in texts for disk in xml_domain.disks(text)]
        sources = [disk.disk.source for disk in found]
        sources += [disk.mirror.source for disk in found if disk.mirror and disk.mirror.source]
        return {source.describe() for source in sources if isinstance(source, NetworkSource)}

    def moving(self) -> set[str]:
        """Return both volumes of each swap that has not ended."""
        records = self.journal.records(active_only=True)
        return {name for each in records for name in (each.source_desc, each.destination_desc)}

    def service(self) -> SwapService:
        """Return a service of one thread's own: requests to stop reach only what it runs."""
        return SwapService(self.hypervisor, self.journal, self._conf)

    def run(self, request: SwapRequest, observer: Observer | None = None) -> Outcome:
        """Run a swap to its end in the calling thread; see :meth:`SwapService.run`.

        :raise Refused: also when nova-compute is stopping.
        """
        with self._kept(self.service()) as service:
            return service.run(request, observer=observer)

    def recover(self, swap_id: str, observer: Observer | None = None) -> tuple[RecoverResult, ...]:
        """Take up a swap that nobody runs; see :meth:`SwapService.recover`.

        :raise Refused: also when nova-compute is stopping.
        """
        with self._kept(self.service()) as service:
            return service.recover(swap_id, observer=observer)

    @contextlib.contextmanager
    def _kept(self, service: SwapService) -> Iterator[SwapService]:
        with self._lock:
            if self._leaving:
                raise exception.PlanRefused('nova-compute is stopping', failed=['stopping'])
            self._running.add(service)
        try:
            yield service
        finally:
            with self._lock:
                self._running.discard(service)

    def leave(self) -> None:
        """Leave all swaps running, to be taken up by the next nova-compute; begin no other.

        Returns at once; each swap's own thread returns within moments.
        """
        with self._lock:
            self._leaving = True
            running = tuple(self._running)
        if running:
            LOG.info('Leaving %d swaps, to be taken up by the next nova-compute', len(running))
        for service in running:
            service.leave()
