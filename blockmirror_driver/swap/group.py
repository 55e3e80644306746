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
"""Several disks of one guest: all ready before any of them is switched.

Each disk is a swap of its own, held in READY, in a thread of its own; what goes wrong with one
before the first switch takes all of them back. Then the guest's file systems are frozen, if its
agent can, all swaps are told to go on at once, and the file systems are thawed as soon as the
last one has switched, or after :attr:`Wishes.quiesce_timeout` seconds, whatever comes first.

After the first switch nothing goes back: a disk that fails to switch stays on its source, and
:class:`~blockmirror_driver.exception.GroupIncomplete` says which.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from oslo_log import log as logging

from blockmirror_driver import exception
from blockmirror_driver.model import Seconds
from blockmirror_driver.swap.ledger import Observer
from blockmirror_driver.swap.plan import Plan
from blockmirror_driver.swap.record import Outcome, SwapEvent, SwapRecord
from blockmirror_driver.swap.recover import thaw
from blockmirror_driver.swap.request import Ending, SwapRequest
from blockmirror_driver.swap.service import SwapService
from blockmirror_driver.swap.states import ENDED, SWITCHED, SwapState
from blockmirror_driver.virt.domain import Domain
from blockmirror_driver.xml.disk import same_volume

LOG = logging.getLogger(__name__)

Quiesce: TypeAlias = Literal['auto', 'always', 'never']


@dataclass(frozen=True, slots=True)
class Wishes:
    """How a group is to end.

    ``quiesce``: freeze the file systems if the agent can (``auto``), or go back where it can't
    (``always``), or don't (``never``). ``quiesce_timeout``: seconds for the freezing, and again
    until the thaw.
    """

    quiesce: Quiesce = 'auto'
    quiesce_timeout: Seconds = Seconds(10.0)


@dataclass(frozen=True, slots=True)
class GroupOutcome:
    """How it ended: each disk's outcome, and ``window``, the seconds from the first request to
    the last switch. ``frozen`` counts file systems.
    """

    outcomes: tuple[Outcome, ...]
    window: Seconds
    frozen: int


@dataclass
class _Member:
    """One disk: its swap's service, and what its thread has told."""

    request: SwapRequest
    service: SwapService
    plan: Plan | None = None
    record: SwapRecord | None = None
    swap_id: str = ''
    state: SwapState = SwapState.PLANNED
    outcome: Outcome | None = None
    error: exception.BlockmirrorError | None = None
    over: bool = False
    past: float | None = None
    thread: threading.Thread | None = field(default=None, repr=False)

    @property
    def dev(self) -> str:
        return self.request.dev


class Group:
    """Moves several disks of one guest together.

    :meth:`run` is called by one thread; :meth:`cancel_local` and :meth:`leave` may be called from
    any thread and from a signal handler.

    :param services: one for each disk, of one hypervisor and one journal.
    """

    def __init__(
        self, services: Sequence[SwapService], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._services = tuple(services)
        self._clock = clock
        self._changed = threading.Condition()
        self._members: tuple[_Member, ...] = ()
        self._stopping = False
        self._cause: exception.BlockmirrorError | None = None

    def cancel_local(self) -> None:
        """Ask all disks to go back; those that have switched stay."""
        self._stopping = True
        for service in self._services:
            service.cancel_local()

    def leave(self) -> None:
        """Leave all jobs running, each to be taken up by recover."""
        self._stopping = True
        for service in self._services:
            service.leave()

    def run(
        self,
        requests: Sequence[SwapRequest],
        wishes: Wishes,
        observer: Callable[[str, SwapEvent], None] | None = None,
    ) -> GroupOutcome:
        """Plan all, copy all, and end all at once.

        :param observer: called with the disk and each event, in several threads, one at a time.
        :raise Refused: TimedOut, Cancelled, CopyFailed: of the first disk that failed, named in
            it; every disk is on its source.
        :raise GroupIncomplete: some have switched, and others have not.
        :raise StateUnknown: of one disk at least it is not known.
        """
        _distinct(requests)
        quiesces = wishes.quiesce != 'never'
        self._members = tuple(
            _Member(
                replace(
                    one,
                    hold=True,
                    options=replace(one.options, quiesce=quiesces),
                    places=len(requests),
                ),
                service,
            )
            for one, service in zip(requests, self._services, strict=True)
        )
        self._admit(observer)
        for member in self._members:
            member.thread = threading.Thread(
                target=self._run, args=(member, observer), name=f'blockmirror-{member.dev}'
            )
            member.thread.start()
        try:
            frozen, window = self._end_together(wishes)
        finally:
            for member in self._members:
                assert member.thread is not None
                member.thread.join()
        return self._result(frozen, window)

    def _admit(self, observer: Callable[[str, SwapEvent], None] | None) -> None:
        """Plan all, and have room for all: they wait for it together, and get it together."""

        def plan_all(turn: int) -> list[Plan]:
            plans = []
            for member in self._members:
                with _named(member.dev):
                    plans.append(member.service.plan(replace(member.request, turn=turn)))
                    plans[-1].raise_if_refused()
            return plans

        def observe(event: SwapEvent) -> None:
            if observer is not None:
                observer(self._members[0].dev, event)

        plans, rows = self._services[0].admit(plan_all(0), plan_all, observe)
        for member, plan, row in zip(self._members, plans, rows, strict=True):
            member.plan, member.record = plan, row

    def _run(self, member: _Member, observer: Callable[[str, SwapEvent], None] | None) -> None:
        def observe(event: SwapEvent) -> None:
            with self._changed:
                member.swap_id = event.swap_id
                member.state = event.state
                if event.state in (*SWITCHED, SwapState.FINISHED) and member.past is None:
                    member.past = self._clock()
                if observer is not None:
                    observer(member.dev, event)
                self._changed.notify_all()

        told: Observer = observe
        try:
            member.outcome = member.service.run(
                member.request, observer=told, plan=member.plan, record=member.record
            )
        except exception.BlockmirrorError as error:
            member.error = error
        except Exception as error:
            LOG.exception('Swap of %s', member.dev)
            member.error = exception.StateUnknown(f'internal error: {type(error).__name__}')
        finally:
            with self._changed:
                member.over = True
                self._changed.notify_all()

    def _wait(self, until: Callable[[], bool], timeout: float | None = None) -> bool:
        with self._changed:
            return self._changed.wait_for(until, timeout)

    def _end_together(self, wishes: Wishes) -> tuple[int, Seconds]:
        """Wait until all are ready, and tell all to go on; return what froze, and the window."""

        def settled() -> bool:
            return any(member.over for member in self._members) or all(
                member.state is SwapState.HELD for member in self._members
            )

        self._wait(settled)
        if any(member.over for member in self._members):
            self._take_back()
            return 0, Seconds(0.0)
        domain = self._services[0].hypervisor.domain(self._members[0].request.domain)
        try:
            frozen = self._freeze(domain, wishes)
        except exception.BlockmirrorError as error:
            self._cause = error
            self._take_back()
            return 0, Seconds(0.0)
        began = self._clock()
        try:
            self._tell_all()
            self._wait(self._are_past, wishes.quiesce_timeout if frozen else None)
        finally:
            if frozen:
                thaw(self._services[0].hypervisor, domain.uuid)
        self._wait(self._are_past)
        last = max((member.past or began for member in self._members), default=began)
        return frozen, Seconds(last - began)

    def _are_past(self) -> bool:
        return all(member.over or member.past is not None for member in self._members)

    def _freeze(self, domain: Domain, wishes: Wishes) -> int:
        if wishes.quiesce == 'never':
            return 0
        try:
            return domain.freeze(wishes.quiesce_timeout)
        except exception.BlockmirrorError as error:
            # It may have frozen all the same, unanswered.
            thaw(self._services[0].hypervisor, domain.uuid)
            if wishes.quiesce == 'always':
                raise exception.Cancelled(
                    f'the file systems could not be frozen: {error.message}',
                    hint='the guest needs a guest agent; or say --quiesce auto',
                ) from error
            LOG.warning('Domain %s: not quiesced: %s', domain.name, error)
            return 0

    def _tell_all(self) -> None:
        for member in self._members:
            # One that an operator has told before is on its way.
            with contextlib.suppress(exception.WrongState):
                member.service.request_pivot(member.swap_id)
        for member in self._members:
            member.service.look()

    def _take_back(self) -> None:
        """One is over before the others were told: take all back, unless the job is left."""
        if not self._stopping:
            for member in self._members:
                if not member.over:
                    member.service.cancel_local()
        self._wait(lambda: all(member.over for member in self._members))

    def _result(self, frozen: int, window: Seconds) -> GroupOutcome:
        outcomes = tuple(one.outcome for one in self._members if one.outcome is not None)
        if len(outcomes) == len(self._members):
            return GroupOutcome(outcomes, window, frozen)
        moved = [one for one in self._members if one.outcome and one.outcome.state in _GOOD]
        rest = [one for one in self._members if one not in moved]
        # What made the others go back is told, not that they did.
        first = min(rest, key=lambda one: isinstance(one.error, exception.Cancelled | None))
        unknown = [one for one in rest if isinstance(one.error, exception.StateUnknown)]
        if moved and not unknown:
            done = ', '.join(one.dev for one in moved)
            left = '; '.join(f'{one.dev}: {one.error or "left running"}' for one in rest)
            raise exception.GroupIncomplete(f'done: {done}; not done: {left}')
        if self._cause is not None and not unknown:
            raise self._cause
        with _named((unknown or [first])[0].dev):
            raise (unknown or [first])[0].error or exception.Cancelled('left running')


#: Ends that were wished for, cleaning up apart.
_GOOD = frozenset({*ENDED - {SwapState.REVERTED}, *SWITCHED})


@contextlib.contextmanager
def _named(dev: str) -> Iterator[None]:
    """Name the disk in what is raised."""
    try:
        yield
    except exception.BlockmirrorError as error:
        error.message = f'{dev}: {error.message}'
        raise


def _distinct(requests: Sequence[SwapRequest]) -> None:
    if not requests:
        raise exception.UsageError('a group needs a disk')
    for number, one in enumerate(requests):
        if one.ending is Ending.ASYNC:
            raise exception.UsageError('a group ends together: with a pivot, or with --finish')
        for other in requests[:number]:
            if one.dev == other.dev:
                raise exception.UsageError(f'{one.dev} is given twice')
            if same_volume(one.destination.source, other.destination.source):
                raise exception.UsageError(f'{other.dev} and {one.dev} go to the same volume')
