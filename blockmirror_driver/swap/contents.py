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
"""Comparing source and destination, byte for byte, before the pivot.

The guest goes on writing meanwhile, and the copy is always a moment behind it. So what differs
is read again, and again, until it is the same; most blocks are at the second look. A block that
the guest writes all the time never is. For those its vCPUs are stopped, for
``verify_pause`` seconds at most: then nothing changes but by the copy, which catches up, and
each block was the same on both sides at some moment since the copy was ready. What the guest
writes after that moment the mirror sends to both.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeAlias, TypeVar

import tenacity
from oslo_log import log as logging

from blockmirror_driver import exception
from blockmirror_driver.mirror.engine import Mirror
from blockmirror_driver.mirror.options import CopyOptions
from blockmirror_driver.mirror.states import TERMINAL
from blockmirror_driver.model import Bytes, Disk, Seconds, format_bytes
from blockmirror_driver.swap import cleanup, images
from blockmirror_driver.swap.images import Image
from blockmirror_driver.swap.ledger import Ledger, Swap
from blockmirror_driver.swap.methods import Refusal
from blockmirror_driver.virt.connection import Hypervisor
from blockmirror_driver.virt.domain import DomainState

LOG = logging.getLogger(__name__)

CHUNK = Bytes(4 << 20)
BLOCK = Bytes(64 << 10)
#: How often what differs is read again before the guest is stopped for it.
PASSES = 12
#: Both sides are opened anew after so much: an old throwaway domain counts as left over.
_AT_ONCE = Bytes(4 << 30)
_BETWEEN, _WHILE_PAUSED = 0.25, 0.02
#: Seconds for a guest that was paused elsewhere, which costs it nothing.
_LEAST = 1.0
_TOLD_EVERY = Seconds(10.0)
#: Seconds for which it is tried to let the guest go on.
_LET_GO_ON_WITHIN = 300.0
#: What the mark on the domain says while we have stopped it.
PAUSED = 'paused'

_NEVER = float('inf')

Span: TypeAlias = tuple[int, int]
_T = TypeVar('_T')


@dataclass(frozen=True, slots=True)
class Compared:
    """What was compared: bytes, blocks that were read again, and for how long it stood still."""

    size: Bytes
    again: int
    paused: Seconds

    def __str__(self) -> str:
        text = f'contents compared: {format_bytes(self.size)} are the same on both sides'
        if self.again:
            text += f'; {self.again} blocks of {format_bytes(BLOCK)} were being written'
        if self.paused:
            text += f'; the guest was paused for {self.paused:.3f} s'
        return text


def refusal(source: Disk, destination: Disk, options: CopyOptions) -> Refusal | None:
    """Return why the contents of two disks can't be compared, if they are to be."""
    if not options.verify_contents:
        return None
    for which, disk in (('source', source), ('destination', destination)):
        why = images.unreadable(disk)
        if why:
            return Refusal(
                f"the contents can't be compared: of the {which}, {why}",
                'leave out --verify-contents',
            )
    return None


class Comparison:
    """Compares the two sides of one swap that is ready, in a thread of its own.

    A context manager: leaving it ends the comparison, and a guest that it has stopped runs.

    :param wake: called once it is over.
    :param limit: tells what may be read of each side by now, bytes/s; 0 is unlimited.
    """

    def __init__(
        self,
        hypervisor: Hypervisor,
        swap: Swap,
        wake: Callable[[], object],
        limit: Callable[[], int],
    ) -> None:
        self._limit = limit
        self._hypervisor = hypervisor
        self._swap = swap
        self._wake = wake
        self.size = hypervisor.domain(swap.domain_uuid).capacity(swap.dev)
        #: Bytes that were looked at once.
        self.done = Bytes(0)
        self._stop = threading.Event()
        self._found: Compared | None = None
        self._error: exception.BlockmirrorError | None = None
        self._sides: tuple[Image, ...] = ()
        #: Whether there is a result.
        self.over = False
        self._thread = threading.Thread(target=self._run, name='blockmirror-compare', daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        for side in self._sides:
            side.hang_up()
        self._thread.join()

    def result(self) -> Compared:
        """Return what was found.

        :raise CopyFailed: they differ, or one could not be read.
        :raise NotConverging: blocks changed too fast for it.
        """
        if self._error is not None:
            raise self._error
        assert self._found is not None
        return self._found

    def _run(self) -> None:
        try:
            self._found = self._compare()
        except exception.BlockmirrorError as error:
            self._error = error
        except Exception as error:
            LOG.exception('Swap %s: comparing', self._swap.id)
            self._error = exception.CopyFailed(f'internal error: {type(error).__name__}')
        finally:
            self.over = True
            self._wake()

    def _compare(self) -> Compared:
        left: list[Span] = []
        paused = Seconds(0.0)
        for part in spans(0, self.size, _AT_ONCE):
            with self._opened() as sides:
                left += self._differing(sides, list(spans(*part, CHUNK)))
                self.done = Bytes(part[1])
        again = len(left)
        if left:
            with self._opened() as sides:
                for _pass in range(PASSES):
                    if not left or self._stop.wait(_BETWEEN):
                        break
                    left = self._differing(sides, left)
                if left:
                    paused = self._paused(sides, left)
        return Compared(self.size, again, paused)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[tuple[Image, ...]]:
        if self._stop.is_set():
            raise exception.Cancelled('the comparison was ended')
        swap = self._swap
        domain = self._hypervisor.domain(swap.domain_uuid)
        timeout = swap.options.probe_timeout
        try:
            with images.opened(
                self._hypervisor, domain, (swap.source, swap.destination), timeout
            ) as sides:
                self._sides = sides
                yield sides
        except exception.Refused as error:
            raise exception.CopyFailed(
                f'the contents could not be compared: {error.message}'
            ) from error

    def _differing(
        self, sides: tuple[Image, ...], look: Sequence[Span], until: float = _NEVER
    ) -> list[Span]:
        """Read spans of both sides, and return the blocks that are not the same, or not read."""
        found: list[Span] = []
        for number, (start, end) in enumerate(look):
            began = time.monotonic()
            if began >= until or self._stop.is_set():
                return found + list(look[number:])
            for side in sides:
                side.ask(start, end - start)
            one, other = (side.answer() for side in sides)
            if one != other:
                found += [
                    (low, high)
                    for low, high in spans(start, end, BLOCK)
                    if one[low - start : high - start] != other[low - start : high - start]
                ]
            if until == _NEVER and (bandwidth := self._limit()):
                self._stop.wait(began + (end - start) / bandwidth - time.monotonic())
        return found

    def _paused(self, sides: tuple[Image, ...], left: list[Span]) -> Seconds:
        """Stop the guest, and look until the blocks are the same; return for how long."""
        budget = self._swap.options.verify_pause
        domain = self._hypervisor.domain(self._swap.domain_uuid)
        running = domain.state() is not DomainState.PAUSED
        if running and not budget:
            raise exception.NotConverging(
                f'{len(left)} blocks change too fast to be compared',
                hint='allow a pause of the guest with --verify-pause',
            )
        budget = budget if running else Seconds(max(budget, _LEAST))
        idle = False
        began = time.monotonic()
        with self._standing(running):
            until = time.monotonic() + budget
            for side in sides:
                side.within(budget)
            while left and time.monotonic() < until and not self._stop.wait(_WHILE_PAUSED):
                idle = self._is_idle()
                left = self._differing(sides, left, until)
        took = Seconds(time.monotonic() - began if running else 0.0)
        if left and idle and not self._stop.is_set():
            raise exception.CopyFailed(
                f'source and destination differ: {len(left)} blocks of {BLOCK} bytes, the first '
                f'at {left[0][0]}'
            )
        if left and not self._stop.is_set():
            raise exception.NotConverging(
                f'{len(left)} blocks could not be compared while the guest was paused for '
                f'{took:.3f} s',
                hint='allow a longer pause with --verify-pause',
            )
        return took

    def _is_idle(self) -> bool:
        """Whether the copy has nothing left to send, while the guest stands."""
        job = self._hypervisor.domain(self._swap.domain_uuid).job(self._swap.dev)
        return job is not None and job.cur == job.end

    @contextlib.contextmanager
    def _standing(self, running: bool) -> Iterator[None]:
        """Keep the guest from writing; one that stood before is left as it is."""
        if not running:
            yield
            return
        # Should we die now, recovery knows who stopped it.
        cleanup.mark(self._hypervisor, self._swap, PAUSED)
        if not _is_marked(self._hypervisor, self._swap):
            raise exception.CopyFailed('the guest could not be marked, so that it is not paused')
        try:
            self._hypervisor.domain(self._swap.domain_uuid).suspend()
            yield
        finally:
            _patiently(_let_go_on, self._hypervisor, self._swap)


def spans(start: int, end: int, length: int) -> Iterator[Span]:
    """Cut a range into pieces of a length; the last may be shorter."""
    for low in range(start, end, length):
        yield low, min(low + length, end)


def follow(
    comparison: Comparison,
    mirror: Mirror,
    ledger: Ledger,
    pending: Callable[[], bool],
    take_up: Callable[[Mirror], None],
) -> None:
    """Wait for a comparison, or for the end of its job; requests are taken up meanwhile.

    :raise CopyFailed: NotConverging: see :meth:`Comparison.result`.
    """
    with comparison:
        while not comparison.over and mirror.state not in TERMINAL:
            done = format_bytes(comparison.done)
            ledger.emit('state', f'comparing contents: {done} of {format_bytes(comparison.size)}')
            with contextlib.suppress(exception.TimedOut):
                mirror.wait(
                    TERMINAL,
                    timeout=_TOLD_EVERY,
                    interrupt=lambda: comparison.over or pending(),
                )
            take_up(mirror)
    if mirror.state not in TERMINAL:
        ledger.note(str(comparison.result()))


def let_go_on(hypervisor: Hypervisor, swap: Swap) -> None:
    """Let a guest run that a comparison has stopped whose process died.

    One that somebody else has paused stays so. What libvirt refuses is tried for minutes.

    :raise StateUnknown: it may stand still.
    """
    if _patiently(_is_marked, hypervisor, swap):
        _patiently(_let_go_on, hypervisor, swap)


def _is_marked(hypervisor: Hypervisor, swap: Swap) -> bool:
    marks = cleanup.marks_of(hypervisor.domain(swap.domain_uuid))
    return any(mark.swap_id == swap.id and mark.intent == PAUSED for mark in marks)


def _let_go_on(hypervisor: Hypervisor, swap: Swap) -> None:
    domain = hypervisor.domain(swap.domain_uuid)
    if domain.state() is DomainState.PAUSED:
        domain.resume()
    cleanup.mark(hypervisor, swap, cleanup.first_intent(swap))


def _patiently(
    step: Callable[[Hypervisor, Swap], _T], hypervisor: Hypervisor, swap: Swap
) -> _T | None:
    """Take a step, again and again while libvirt does not answer; none on a guest that is gone."""
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(exception.HypervisorUnavailable),
        wait=tenacity.wait_fixed(1.0),
        stop=tenacity.stop_after_delay(_LET_GO_ON_WITHIN),
        reraise=True,
    )
    try:
        return retrying(step, hypervisor, swap)
    except exception.DomainNotFound:
        return None
    except exception.HypervisorUnavailable as error:
        raise exception.StateUnknown(
            f'the guest may be paused: {error.message}', hint='virsh resume, and then recover'
        ) from error
