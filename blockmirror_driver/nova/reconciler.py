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
"""Takes up what an interrupted swap has left: in libvirt, in Nova and in Cinder.

A thread of nova-compute. It finds swaps that nobody runs, at the start and every
``reconcile_interval`` seconds, and brings each to its end in a thread of its own, under Nova's
lock of the instance. Then it does what Nova and Cinder are owed, until it is done.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from nova import utils as nova_utils
from oslo_config import cfg
from oslo_log import log as logging

from blockmirror_driver import exception
from blockmirror_driver.nova.context import SwapContext
from blockmirror_driver.nova.duties import MAPPING, NovaDuties
from blockmirror_driver.nova.notifications import Notifier
from blockmirror_driver.swap.duties import Duty
from blockmirror_driver.swap.owner import is_run
from blockmirror_driver.swap.record import SwapRecord
from blockmirror_driver.swap.states import SwapState

if TYPE_CHECKING:
    from blockmirror_driver.nova.engine import Engine

LOG = logging.getLogger(__name__)

#: States in which nobody can tell which volume has the guest's last writes.
_UNDECIDED = frozenset({SwapState.PIVOTING, SwapState.UNKNOWN})
#: Seconds between two looks at the least.
_SHORTEST = 1.0


class Reconciler:
    """Started once by the driver; :meth:`blocked` may be asked by any thread.

    :param take_back: what takes back moves that were never begun, until it succeeds once.
    :param notifier: is told of the swaps that are taken up.
    """

    def __init__(
        self,
        engine: Engine,
        duties: NovaDuties,
        conf: cfg.ConfigOpts,
        take_back: Callable[[], None],
        notifier: Notifier,
    ) -> None:
        self._engine = engine
        self._take_back = take_back
        self._notifier = notifier
        self._duties = duties
        self._conf = conf
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._taken: set[str] = set()

    def start(self) -> None:
        """Look for the first time now, in the background: a copy may have hours to go.

        What may not be started before is refused by :meth:`blocked`, which reads the same
        journal.
        """
        threading.Thread(target=self._loop, name='blockmirror-reconciler', daemon=True).start()

    def stop(self) -> None:
        """Take up nothing more."""
        self._stopping.set()

    def blocked(self, instance_uuid: str) -> str:
        """Return why a guest must be neither started nor moved; empty when it may.

        Nova's mapping is mended here first, if that is all.
        """
        try:
            for record in self._engine.journal.records(active_only=True):
                if record.domain_uuid == instance_uuid and record.state in _UNDECIDED:
                    return (
                        f'swap {record.id} of {record.dev} is {record.state.value}: nobody can '
                        'tell yet which volume has its last writes'
                    )
            for swap_id in self._unmapped(instance_uuid):
                self._duties.settle(swap_id)
            for swap_id in self._unmapped(instance_uuid):
                return f"after swap {swap_id} Nova's mapping still names the old attachment"
        except exception.BlockmirrorError as error:
            return f'the journal can not be read: {error.message}'
        return ''

    def _unmapped(self, instance_uuid: str) -> list[str]:
        owed = self._engine.journal.duties.owed()
        return [
            duty.swap_id
            for duty in owed
            if duty.name == MAPPING
            and self._engine.journal.record(duty.swap_id).domain_uuid == instance_uuid
        ]

    def _loop(self) -> None:
        wait = 0.0
        strays = True
        while not self._stopping.wait(wait):
            try:
                self.look()
                if strays:
                    self._take_back()
                    strays = False
            except Exception:  # the next look may do better, and there must be one
                LOG.exception('Looking for interrupted swaps failed')
            wait = self._wait()

    def _wait(self) -> float:
        longest: float = self._conf.blockmirror.reconcile_interval
        try:
            due = [duty.due_at for duty in self._next()]
        except exception.BlockmirrorError:
            return longest
        return min([longest, *(max(_SHORTEST, at - time.time()) for at in due)])

    def look(self) -> None:
        """Take up each swap that nobody runs, and do what is owed and due."""
        for record in self._engine.journal.records(active_only=True):
            if SwapContext.from_json(record.door) and not is_run(record.id, record.owner):
                self._take_up(record)
        now = time.time()
        for swap_id in [duty.swap_id for duty in self._next() if duty.due_at <= now]:
            if self._stopping.is_set():
                return
            record = self._engine.journal.record(swap_id)
            # Who runs it does what is owed himself, with more at hand.
            if not is_run(record.id, record.owner):
                self._duties.settle(swap_id)

    def _next(self) -> list[Duty]:
        """Return the next step that is owed of each swap: the others wait for it."""
        found: dict[str, Duty] = {}
        for duty in self._engine.journal.duties.owed():
            found.setdefault(duty.swap_id, duty)
        return list(found.values())

    def _take_up(self, record: SwapRecord) -> None:
        with self._lock:
            if record.id in self._taken:
                return
            self._taken.add(record.id)
        threading.Thread(
            target=self._recover,
            args=(record,),
            name=f'blockmirror-{record.id[:8]}',
            daemon=True,
        ).start()

    def _recover(self, record: SwapRecord) -> None:
        def take_up() -> None:
            ids = SwapContext.from_json(record.door)
            assert ids is not None  # no other is taken up
            observer = self._notifier.observer(ids)
            for result in self._engine.recover(record.id, observer):
                LOG.info('Swap %s: %s, %s', record.id, result.state.value, result.message)
            self._duties.settle(record.id)

        try:
            LOG.info('Swap %s of %s is taken up, %s', record.id, record.dev, record.state.value)
            nova_utils.synchronized(record.domain_uuid)(take_up)()
        except exception.BlockmirrorError as error:
            LOG.warning('Swap %s is not taken up: %s', record.id, error)
        except Exception:
            LOG.exception('Swap %s is not taken up', record.id)
        finally:
            with self._lock:
                self._taken.discard(record.id)
