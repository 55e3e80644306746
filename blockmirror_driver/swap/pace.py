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
"""Who waits for whom: the copy for the guest (``latency_target``), or the guest for the copy.

The latter where that is the policy for a copy that its guest outruns. And copies for each other,
where a budget says how much all may move together.
"""

from __future__ import annotations

from dataclasses import replace

from oslo_log import log as logging

from blockmirror_driver import exception
from blockmirror_driver.mirror import copy_mode, passthrough
from blockmirror_driver.mirror.engine import Mirror
from blockmirror_driver.mirror.options import SYNCHRONOUS, CopyOptions
from blockmirror_driver.mirror.states import RUNNING
from blockmirror_driver.mirror.throttle import INTERVAL, Throttle
from blockmirror_driver.model import BytesPerSecond, Seconds
from blockmirror_driver.swap.ledger import Ledger, Swap
from blockmirror_driver.swap.request import Ending
from blockmirror_driver.swap.sharing import EVERY, Sharing
from blockmirror_driver.virt.connection import Hypervisor

LOG = logging.getLogger(__name__)


def begun_with(swap: Swap) -> CopyOptions:
    """Return the options of the block job.

    Of one that is left running nobody would lift the limit that it began with.
    """
    options = passthrough.options_for(swap.options)
    if swap.ending is Ending.ASYNC:
        return replace(options, latency_target=Seconds(0.0))
    return options


class Pace:
    """Of one swap. One thread uses it, the runner's."""

    def __init__(
        self, hypervisor: Hypervisor, swap: Swap, ledger: Ledger, sharing: Sharing | None = None
    ) -> None:
        self._hypervisor = hypervisor
        self._sharing = sharing if sharing is not None and sharing.counts else None
        self._ceiling = swap.options.bandwidth
        self._swap = swap
        self._ledger = ledger
        self._done = swap.options.convergence != SYNCHRONOUS
        self._throttle: Throttle | None = None
        self._looked = -INTERVAL
        #: Whether it was said that the target can't be met.
        self._told = False

    @property
    def ceiling(self) -> BytesPerSecond:
        """What the copy may move at the most by now, bytes/s; 0: unlimited. For any thread."""
        return self._ceiling

    @property
    def every(self) -> Seconds | None:
        """Seconds between two looks whether something is due; ``None``: whenever one looks."""
        if self._swap.options.latency_target:
            return INTERVAL
        return EVERY if self._sharing is not None else None

    def is_due(self, mirror: Mirror) -> bool:
        """Whether there is something to do."""
        return self._is_losing(mirror) or self._is_time() or self.may_share()

    def may_share(self) -> bool:
        """Whether it is time to look at what other copies move. Cheap."""
        return self._sharing is not None and self._sharing.is_due()

    def keep(self, mirror: Mirror) -> None:
        """Do what is due; what libvirt or QEMU refuse is told, and the copy goes on."""
        if self._is_losing(mirror):
            self._done = True
            self._make_synchronous()
        if self._is_time():
            self._looked = self._ledger.clock()
            self._follow(mirror)
        self.share(mirror)

    def share(self, mirror: Mirror) -> None:
        """Have this copy's part of the budget, if it is time for a look at it."""
        if self._sharing is None or not self._sharing.is_due():
            return
        if mirror.state in RUNNING:
            self._share(mirror)
        else:
            self._sharing.put_off()

    def set_speed(self, mirror: Mirror, bandwidth: BytesPerSecond) -> None:
        """Let the copy move as much as an operator wants from now on; 0 is no limit.

        Where a budget says what all may move together that is as much as it leaves, and with 0
        the copy has its part again.
        """
        if self._sharing is not None:
            self._set_own(self._sharing, mirror, bandwidth)
            return
        try:
            mirror.set_speed(bandwidth)
        except exception.BlockmirrorError as error:
            self._ledger.note(f'the speed could not be changed: {error}')
            return
        self._set_ceiling(bandwidth)
        self._ledger.set_bandwidth(bandwidth)

    def _set_ceiling(self, bandwidth: BytesPerSecond) -> None:
        self._ceiling = bandwidth
        if self._throttle is not None:
            self._throttle.set_ceiling(bandwidth)

    def _set_own(self, sharing: Sharing, mirror: Mirror, bandwidth: BytesPerSecond) -> None:
        try:
            own = sharing.own(bandwidth)
        except exception.BlockmirrorError as error:
            self._ledger.note(f'the speed could not be changed: {error}')
            return
        if own < bandwidth:
            self._ledger.note(f'the budget leaves {own} bytes/s of {bandwidth} asked for')
        if (failure := self._share(mirror)) is not None:
            self._ledger.note(f'the speed could not be changed, it is tried again: {failure}')

    def _share(self, mirror: Mirror) -> exception.BlockmirrorError | None:
        assert self._sharing is not None

        def set_limit(bandwidth: BytesPerSecond) -> None:
            if self._throttle is not None and self._throttle.keeps_below(bandwidth):
                self._ceiling = bandwidth
            else:
                mirror.set_speed(bandwidth)
                self._set_ceiling(bandwidth)

        try:
            self._sharing.look(self._limit, set_limit)
        except exception.BlockmirrorError as error:
            LOG.warning('Swap %s: it does not share the budget: %s', self._swap.id, error)
            return error
        return None

    def _limit(self) -> int | None:
        """Return what the job may move now, bytes/s; ``None`` where there is none."""
        job = self._hypervisor.domain(self._swap.domain_uuid).job(self._swap.dev)
        return None if job is None else job.bandwidth

    def _is_losing(self, mirror: Mirror) -> bool:
        return not self._done and mirror.snapshot().diverges

    def _is_time(self) -> bool:
        wanted = self._swap.options.latency_target > 0
        return wanted and self._ledger.clock() - self._looked >= INTERVAL

    def _follow(self, mirror: Mirror) -> None:
        options, dev = self._swap.options, self._swap.dev
        try:
            domain = self._hypervisor.domain(self._swap.domain_uuid)
            job = domain.job(dev)
            if job is None:
                return
            if self._throttle is None:
                self._throttle = Throttle(options.latency_target, self._ceiling, job.bandwidth)
            speed = self._throttle.feed(
                self._ledger.clock(),
                domain.write_counters(dev),
                job.cur,
                mirror.snapshot().progress.dirty_rate,
            )
            if speed is not None:
                took = self._throttle.latency * 1000
                LOG.info(
                    'Swap %s: a write takes %.1f ms, so that the copy may move %d bytes/s',
                    self._swap.id,
                    took,
                    speed,
                )
                mirror.throttle(speed)
            self._tell_of_target(self._throttle)
        except exception.BlockmirrorError as error:
            LOG.warning('Swap %s: its speed does not follow the guest: %s', self._swap.id, error)

    def _tell_of_target(self, throttle: Throttle) -> None:
        if throttle.undisturbed and not self._told:
            self._told = True
            self._ledger.note(
                f"the guest's writes take {1000 * throttle.undisturbed:.1f} ms without the copy, "
                'which is more than latency_target: they may take half of that again'
            )

    def _make_synchronous(self) -> None:
        try:
            domain = self._hypervisor.domain(self._swap.domain_uuid)
            copy_mode.make_synchronous(domain, self._swap.dev)
        except exception.BlockmirrorError as error:
            self._ledger.note(f'the copy could not be made synchronous: {error}')
        else:
            self._ledger.note("the guest's writes go to both sides from now on")
