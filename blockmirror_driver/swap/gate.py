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
"""Nothing is ended, and nothing is switched, on a destination that does not answer.

When a copy ends, QEMU closes the destination in its main loop: it flushes it and waits for
what is under way there. On a server that hangs that freezes the whole guest for as long as
it hangs (seen with rbd and iscsi on QEMU 7.2: ``blockdev-del`` after a cancelled job), while
the copy left alone does the guest no harm. And after a pivot to it the guest would have a
disk that hangs. So the destination is asked first, in a throwaway domain.

A copy that has just become ready needs no such question: QEMU says so only after the
destination has answered a flush, on the very connection that the guest is going to use. What
was said within the last :data:`FRESH` seconds counts, which is about as long as it takes to
end the throwaway domain after its answer; so the moment that nobody looks at is no longer
than it is with the question.

Where libvirt has lost the destination's secret nobody can ask any more. Then nothing is
switched, since the guest could not be started again; but a copy that goes on while one looks is
answered, and may be ended.
"""

from __future__ import annotations

from collections.abc import Callable

from oslo_log import log as logging

from blockmirror_driver import exception
from blockmirror_driver.mirror.engine import Mirror
from blockmirror_driver.mirror.states import TERMINAL
from blockmirror_driver.model import BlockSource, FileSource, QemuSource, Seconds
from blockmirror_driver.qemu import blockdev, copy
from blockmirror_driver.swap.ledger import Swap
from blockmirror_driver.virt.connection import Hypervisor

LOG = logging.getLogger(__name__)

#: How old (seconds) an answer to the job itself may be to count for one to a probe.
FRESH = 1.5
#: The least time (seconds) that one probe is given: less would call a busy host silent.
_SHORTEST = 3.0
#: Seconds between two looks at a job which is asked instead of the destination.
_LOOK = Seconds(1.0)


class Gate:
    """Asks the destination of one swap whether it answers. One thread, the runner's."""

    def __init__(self, hypervisor: Hypervisor, swap: Swap, clock: Callable[[], float]) -> None:
        self._hypervisor = hypervisor
        self._swap = swap
        self._clock = clock
        self._forgotten = False

    def forget(self) -> None:
        """Let nothing count that the copy has told so far: it was ready a while ago."""
        self._forgotten = True

    def wait(
        self, mirror: Mirror, pending: Callable[[], bool], take_up: Callable[[Mirror], None]
    ) -> None:
        """Return once the guest may be switched; requests are taken up meanwhile.

        :raise Stalled: the destination does not answer within ``stall_timeout`` seconds.
        """
        deadline = self._clock() + self._swap.options.stall_timeout
        while True:
            left = Seconds(max(0.0, deadline - self._clock()))
            if self.opens_for_pivot(mirror, left, pending):
                return
            take_up(mirror)
            if self._clock() >= deadline:
                raise exception.Stalled('the destination does not answer, so there was no pivot')

    def opens_for_pivot(self, mirror: Mirror, timeout: Seconds, stop: Callable[[], bool]) -> bool:
        """As :meth:`opens`; at once when the destination answered the job a moment ago."""
        age = self._clock() - mirror.answered_since
        if age <= FRESH and not self._forgotten:
            return True
        return self._opens(mirror, timeout, stop, lambda: False)

    def opens(self, mirror: Mirror, timeout: Seconds, stop: Callable[[], bool]) -> bool:
        """Wait until the destination answers; ``False`` when it does not within ``timeout``.

        A copy that ends meanwhile opens the gate as well: there is nothing to hold back.

        :param timeout: seconds; the last probe may take it over by a few.
        :param stop: looked at between two probes, and while waiting for the next.
        """
        return self._opens(mirror, timeout, stop, lambda: self._moves(mirror, stop))

    def _opens(
        self,
        mirror: Mirror,
        timeout: Seconds,
        stop: Callable[[], bool],
        instead: Callable[[], bool],
    ) -> bool:
        """Wait for an answer; ``instead`` is asked where nobody can ask the destination."""
        deadline = self._clock() + timeout
        while mirror.state not in TERMINAL:
            left = deadline - self._clock()
            if self._answers(Seconds(max(_SHORTEST, left)), instead):
                return True
            left = deadline - self._clock()
            if left <= 0 or stop():
                return False
            _pause(mirror, Seconds(min(left, self._swap.options.poll_interval)), stop)
        return True

    def _answers(self, longest: Seconds, instead: Callable[[], bool]) -> bool:
        destination = self._swap.destination
        if isinstance(destination.source, FileSource | BlockSource):
            # QEMU locks a local file that it has open, so that it can't be opened again.
            return True
        timeout = Seconds(min(self._swap.options.probe_timeout, longest))
        try:
            if isinstance(destination.source, QemuSource):
                copy.size(blockdev.of(destination, 'probe'), timeout, in_use=True)
                return True
            domain = self._hypervisor.domain(self._swap.domain_uuid)
            self._hypervisor.probe(destination, like=domain, timeout=timeout, lingers=True)
        except exception.SecretUnavailable as error:
            LOG.warning('Swap %s: the destination can not be asked: %s', self._swap.id, error)
            return instead()
        except exception.BlockmirrorError as error:
            LOG.warning('Swap %s: the destination does not answer: %s', self._swap.id, error)
            return False
        return True

    def _moves(self, mirror: Mirror, stop: Callable[[], bool]) -> bool:
        """Tell whether the job goes on: each step is a write that was acknowledged."""
        try:
            before = self._cursor()
            _pause(mirror, _LOOK, stop)
            return before < self._cursor()
        except exception.BlockmirrorError as error:
            LOG.warning('Swap %s: nor can the job: %s', self._swap.id, error)
            return False

    def _cursor(self) -> int:
        job = self._hypervisor.domain(self._swap.domain_uuid).job(self._swap.dev)
        return 0 if job is None else job.cur


def _pause(mirror: Mirror, timeout: Seconds, stop: Callable[[], bool]) -> None:
    try:
        mirror.wait(TERMINAL, timeout=timeout, interrupt=stop)
    except exception.TimedOut:
        return
