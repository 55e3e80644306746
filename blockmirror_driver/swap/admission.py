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
"""From a plan to the row of a swap: the host's own checks, the turn, and what the row says."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

from oslo_config import cfg
from oslo_log import log as logging

from blockmirror_driver import exception
from blockmirror_driver.model import Disk, Seconds
from blockmirror_driver.swap import backends, budget, checks, history, line
from blockmirror_driver.swap.budget import Budget, Claim
from blockmirror_driver.swap.checks import Check, Subject
from blockmirror_driver.swap.control import Control
from blockmirror_driver.swap.journal import Journal
from blockmirror_driver.swap.ledger import Observer
from blockmirror_driver.swap.owner import Owner
from blockmirror_driver.swap.plan import Plan
from blockmirror_driver.swap.record import SwapEvent, SwapRecord
from blockmirror_driver.swap.request import SwapRequest
from blockmirror_driver.swap.states import SwapState
from blockmirror_driver.swap.tickets import Tickets
from blockmirror_driver.swap.turn import Turn, before
from blockmirror_driver.xml import disk as xml_disk

LOG = logging.getLogger(__name__)

#: Plans made anew, given the number of the place in the line that they wait at.
Again = Callable[[int], Sequence[Plan]]


class Admission:
    """What a host says to a swap before it begins. One thread uses it."""

    def __init__(
        self,
        journal: Journal,
        conf: cfg.ConfigOpts,
        control: Control,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._journal = journal
        self._conf = conf
        self._control = control
        self._clock = clock

    def checks(self, subject: Subject) -> list[Check]:
        """Checks that need the journal."""
        try:
            self._journal.check()
            draining = self._journal.draining
            found = [checks.passed('journal', 'it can be written')]
            if draining:
                refusal = exception.HostDraining('this host takes no new swaps')
                found.append(checks.failed('drain', refusal))
            found.append(self._room(subject.request))
        except exception.JournalUnusable as error:
            return [checks.failed('journal', error)]
        return [*found, *history.look(self._journal.records(), subject)]

    def admit(
        self, plans: Sequence[Plan], again: Again, observer: Observer | None = None
    ) -> tuple[tuple[Plan, ...], tuple[SwapRecord, ...]]:
        """Write the first rows of swaps that begin together, once it is their turn.

        :param plans: none of them refused.
        :param again: called after waiting, since what was planned on may be otherwise by then.
        :param observer: is told what is waited for.
        :return: the plans that count, and the rows.
        :raise BudgetExhausted: Cancelled: nothing was changed.
        :raise Refused: by a plan that was made anew.
        """

        def tell(text: str) -> None:
            LOG.info('Swap of %s of %s: %s', _devs(plans), plans[0].domain_name, text)
            if observer is not None:
                # It has no row yet, so no id that anybody could look up.
                observer(SwapEvent(time.time(), '', 'state', SwapState.PLANNED, text))

        wait = max(plan.request.options.budget_wait for plan in plans)
        limits = Budget.from_conf(self._conf)
        with Turn(self._journal, limits, self._control, wait, self._clock) as turn:
            while True:
                rows = turn.reserve([record_of(plan) for plan in plans])
                if rows is not None:
                    return tuple(plans), rows
                turn.wait(tell)
                tell('planning anew')
                plans = again(turn.number)
                for plan in plans:
                    plan.raise_if_refused()

    def _room(self, request: SwapRequest) -> Check:
        limits = Budget.from_conf(self._conf)
        wants = [
            Claim(backends.name_of(request.destination.source), request.options.bandwidth),
            *[Claim(None, request.options.bandwidth)] * (request.places - 1),
        ]
        never = line.shortage(limits, (), wants)
        if never:
            return checks.failed(
                'budget', exception.BudgetExhausted(never, hint='raise the limit')
            )
        running = tuple(budget.claims(self._journal, limits).values())
        ahead = before(Tickets(self._journal.database), request.turn)
        over, _called = line.stand(limits, running, ahead, wants)
        wait = request.options.budget_wait
        if over and not wait:
            return checks.failed('budget', exception.BudgetExhausted(over))
        if over:
            return checks.passed('budget', f'{over}; it waits for its turn, {_at_most(wait)}')
        return checks.passed('budget', f'{len(running)} swaps are running')


def record_of(plan: Plan) -> SwapRecord:
    """Return the first row of a swap of this process."""
    assert plan.source is not None
    now = time.time()
    request = plan.request
    return SwapRecord(
        id=str(uuid.uuid4()),
        domain_name=plan.domain_name,
        domain_uuid=plan.domain_uuid,
        dev=request.dev,
        state=SwapState.PLANNED,
        ending=request.ending,
        source_xml=plan.source_xml,
        destination_xml=xml_disk.build(destination_of(request)),
        source_desc=plan.source.source.describe(),
        destination_desc=request.destination.source.describe(),
        size=plan.size,
        serial=plan.source.serial,
        bandwidth=request.options.bandwidth,
        hold=request.hold,
        pivot_requested=False,
        owner=Owner.current(),
        created_at=now,
        updated_at=now,
        options=json.dumps(asdict(request.options)),
        guest_run=plan.guest_run,
        door=request.door,
    )


def destination_of(request: SwapRequest) -> Disk:
    """Return the destination as the disk that it is to become: found by its target later."""
    return replace(request.destination, target_dev=request.dev)


def _devs(plans: Sequence[Plan]) -> str:
    return ', '.join(plan.request.dev for plan in plans)


def _at_most(wait: Seconds) -> str:
    return f'{wait:g} s at most'
