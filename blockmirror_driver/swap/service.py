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
"""What the doors call: plan, run, watch, ask, recover, resolve."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from oslo_config import cfg
from oslo_log import log as logging

from blockmirror_driver import conf as our_conf
from blockmirror_driver import exception
from blockmirror_driver.model import Bytes
from blockmirror_driver.swap import cleanup, growth, resolve
from blockmirror_driver.swap.admission import Admission, Again, destination_of
from blockmirror_driver.swap.auditor import Auditor, RecordsOf, Row
from blockmirror_driver.swap.budget import Budget
from blockmirror_driver.swap.checks import Check
from blockmirror_driver.swap.control import Control
from blockmirror_driver.swap.doctor import examine
from blockmirror_driver.swap.journal import Journal, Step
from blockmirror_driver.swap.ledger import Ledger, Observer, swap_of
from blockmirror_driver.swap.owner import claimed, is_run
from blockmirror_driver.swap.plan import Plan, Planner
from blockmirror_driver.swap.prepare import prepare
from blockmirror_driver.swap.rebuild import rebuild
from blockmirror_driver.swap.reconcile import Side
from blockmirror_driver.swap.record import Outcome, RecoverResult, SwapRecord
from blockmirror_driver.swap.recover import Recovery
from blockmirror_driver.swap.request import RecoverAction, RequestKind, SwapRequest
from blockmirror_driver.swap.runner import Runner
from blockmirror_driver.swap.settlement import Settlement
from blockmirror_driver.swap.states import ENDED, SwapState
from blockmirror_driver.virt.connection import Hypervisor
from blockmirror_driver.volume import portals

LOG = logging.getLogger(__name__)


class SwapService:
    """The transaction room's front desk.

    One thread runs a swap; :meth:`cancel_local` and :meth:`leave` may be called from any
    thread and from a signal handler. Methods that only read the journal need no libvirt:
    the hypervisor is opened at first use.

    :param clock: monotonic seconds, for deadlines.
    """

    def __init__(
        self,
        hypervisor: Hypervisor,
        journal: Journal,
        conf: cfg.ConfigOpts | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._hypervisor = hypervisor
        self._opened = False
        self._journal = journal
        self._conf = conf if conf is not None else our_conf.CONF
        self._control = Control()

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts, *, read_only: bool = False) -> SwapService:
        """Make the service that the options describe; nothing is opened yet."""
        journal = Journal(Path(conf.blockmirror.journal_path))
        return cls(Hypervisor.from_conf(conf, read_only=read_only), journal, conf)

    @property
    def hypervisor(self) -> Hypervisor:
        """The hypervisor, opened.

        :raise HypervisorUnavailable: when it can't be.
        """
        if not self._opened:
            self._hypervisor.open()
            self._opened = True
        return self._hypervisor

    def close(self) -> None:
        """Let go of libvirt and of the journal; jobs go on."""
        if self._opened:
            self._hypervisor.close()
            self._opened = False
        self._journal.close()

    def another(self) -> SwapService:
        """Return a service of the same hypervisor and journal, for another thread."""
        return SwapService(self.hypervisor, self._journal, self._conf, clock=self._clock)

    # -- a swap of our own ---------------------------------------------------------------

    def plan(self, request: SwapRequest) -> Plan:
        """Check a request; see :meth:`Planner.plan`.

        Of several iscsi portals the first that answers is taken; the plan's own request
        names it, and a check says which it is.
        """
        timeout = self._conf.blockmirror.iscsi_portal_timeout
        request = replace(request, destination=portals.choose(request.destination, timeout))
        return Planner(self.hypervisor, self._admission().checks).plan(request)

    def admit(
        self, plans: Sequence[Plan], again: Again, observer: Observer | None = None
    ) -> tuple[tuple[Plan, ...], tuple[SwapRecord, ...]]:
        """Have swaps that begin together wait for their turn; see :meth:`Admission.admit`."""
        return self._admission().admit(plans, again, observer)

    def _admission(self) -> Admission:
        return Admission(self._journal, self._conf, self._control, self._clock)

    def run(
        self,
        request: SwapRequest,
        *,
        observer: Observer | None = None,
        plan: Plan | None = None,
        record: SwapRecord | None = None,
    ) -> Outcome:
        """Plan, wait for a turn, copy, pivot, verify and clean up.

        Returns when the guest is on the destination (exit code 0 or 8 in the outcome), or
        when a copy without a pivot is finished or left running.

        :param record: its row, if :meth:`admit` has written it for that plan.
        :raise Refused: TimedOut, Cancelled, CopyFailed: the guest is on the source.
        :raise StateUnknown: an operator must look.
        """
        try:
            return self._planned(request, observer, plan, record)
        finally:
            self._control.reset()

    def _planned(
        self,
        request: SwapRequest,
        observer: Observer | None,
        plan: Plan | None,
        record: SwapRecord | None,
    ) -> Outcome:
        plan = plan if plan is not None else self.plan(request)
        plan.raise_if_refused()
        if record is None:
            (plan,), (record,) = self.admit(
                [plan], lambda turn: [self.plan(replace(request, turn=turn))], observer
            )
        try:
            with claimed(record.id):
                return self._run(plan, record, observer)
        except exception.BlockmirrorError as error:
            error.swap_id = record.id
            raise

    def _run(self, plan: Plan, record: SwapRecord, observer: Observer | None) -> Outcome:
        assert plan.source is not None
        destination = destination_of(plan.request)
        swap = swap_of(record, plan.source, destination, plan.request.options)
        ledger = Ledger(self._journal, swap, observer, self._clock)
        ledger.emit('plan', 'all checks passed')
        try:
            swap = prepare(self.hypervisor, ledger, plan, swap)
        except exception.BlockmirrorError as error:
            Settlement(self.hypervisor, self._journal, swap, ledger).revert(error)
        runner = Runner(
            self.hypervisor, self._journal, swap, self._control, ledger, budget=self._budget()
        )
        try:
            return runner.copy()
        finally:
            runner.close()

    def _budget(self) -> Budget:
        return Budget.from_conf(self._conf)

    def cancel_local(self) -> None:
        """Ask the swap that this process runs to go back to the source."""
        self._control.cancel()

    def leave(self) -> None:
        """Ask the swap that this process runs to be left running, to be taken up later."""
        self._control.leave()

    def look(self) -> None:
        """Have the swap that this process runs look at its requests at once."""
        self._control.look()

    # -- the journal ---------------------------------------------------------------------

    def records(self, *, active_only: bool = False) -> tuple[SwapRecord, ...]:
        """Return the journal's swaps, oldest first."""
        return self._journal.records(active_only=active_only)

    def record(self, swap_id: str) -> SwapRecord:
        """Return one swap by id or unique beginning; see :meth:`Journal.record`."""
        return self._journal.record(swap_id)

    def steps(self, swap_id: str) -> tuple[Step, ...]:
        """Return the history of one swap."""
        return self._journal.steps(self.record(swap_id).id)

    def request_cancel(self, swap_id: str) -> int:
        """Ask a swap's owner to cancel it; return the request's number.

        :raise WrongState: when it has ended or switched, or nobody owns it.
        """
        return self._ask(swap_id, RequestKind.CANCEL)

    def request_pivot(self, swap_id: str) -> int:
        """Ask a held swap's owner to pivot."""
        return self._ask(swap_id, RequestKind.PIVOT)

    def request_speed(self, swap_id: str, bandwidth: int) -> int:
        """Ask a swap's owner for another bandwidth, bytes/s; 0 means unlimited."""
        return self._ask(swap_id, RequestKind.SPEED, bandwidth)

    def request_hold(self, swap_id: str, on: bool) -> int:
        """Ask a swap's owner to wait in READY, or to wait no longer."""
        return self._ask(swap_id, RequestKind.HOLD, int(on))

    def was_taken(self, number: int) -> bool:
        """Tell whether a request was taken up by the owner."""
        return self._journal.was_taken(number)

    def _ask(self, swap_id: str, kind: RequestKind, argument: int = 0) -> int:
        record = self.record(swap_id)
        if record.state in ENDED:
            raise exception.WrongState(f'swap {record.id} has ended: {record.state.value}')
        if record.state in (SwapState.PIVOTING, SwapState.PIVOTED, SwapState.VERIFIED):
            raise exception.WrongState(
                f'swap {record.id} is {record.state.value}: it is past the point of no return'
            )
        if not record.owner_alive:
            raise exception.WrongState(
                f'swap {record.id} has no living owner',
                hint=f'blockmirror recover {record.id} takes it up',
            )
        return self._journal.ask(record.id, kind, argument)

    # -- afterwards ----------------------------------------------------------------------

    def recover(
        self,
        swap_id: str | None = None,
        *,
        action: str = 'resume',
        observer: Observer | None = None,
    ) -> tuple[RecoverResult, ...]:
        """Take up swaps without a living owner; all of them, or one.

        Also rebuilds rows that the journal lost, sweeps secrets that nobody needs, and
        forgets what ended long ago.

        :param action: a value of :class:`RecoverAction`, for copies that still run.
        :raise SwapNotFound: SwapNotOwned: only when one swap was named.
        :raise UsageError: for another action.
        """
        try:
            wanted = RecoverAction(action)
        except ValueError as error:
            raise exception.UsageError(f'not an action: {action[:40]!r}') from error
        recovery = self._recovery(observer)
        rebuild(self.hypervisor, self._journal)
        if swap_id is not None:
            record = self.record(swap_id)
            if record.state in ENDED:
                raise exception.WrongState(f'swap {record.id} has ended: {record.state.value}')
            chosen: tuple[SwapRecord, ...] = (record,)
        else:
            chosen = self._orphans()
        try:
            results = tuple(self._recovered(recovery, chosen, wanted, named=swap_id is not None))
        finally:
            self._control.reset()
        self._tidy()
        return results

    def _recovery(self, observer: Observer | None) -> Recovery:
        return Recovery(
            self.hypervisor,
            self._journal,
            self._control,
            observer,
            self._clock,
            budget=self._budget(),
        )

    def _orphans(self) -> tuple[SwapRecord, ...]:
        """Return the swaps that nobody runs; those on hold, which wait to be told, last."""
        records = self._journal.records(active_only=True)
        orphans = [record for record in records if not is_run(record.id, record.owner)]
        return tuple(sorted(orphans, key=lambda record: record.hold))

    def _recovered(
        self,
        recovery: Recovery,
        chosen: tuple[SwapRecord, ...],
        action: RecoverAction,
        *,
        named: bool,
    ) -> Iterator[RecoverResult]:
        for record in chosen:
            if self._control.stop:
                return  # what is left is not this run's any more
            try:
                yield recovery.recover(record, action=action)
            except exception.SwapNotOwned:
                if named:
                    raise
                LOG.info('Swap %s was taken up by somebody else', record.id)

    def _tidy(self) -> None:
        """Sweep and prune; what fails is left to the next time."""
        try:
            cleanup.sweep(self.hypervisor, self._journal)
            self.hypervisor.sweep_probes()
            days = self._conf.blockmirror.journal_retention_days
            if days:
                self._journal.prune(time.time() - days * 86400)
        except exception.BlockmirrorError as error:
            LOG.warning('Tidying up is incomplete: %s', error)

    def resolve(self, swap_id: str, side: str) -> SwapRecord:
        """Settle an UNKNOWN swap on ``source`` or ``destination``.

        :raise UsageError: for another word.
        """
        if side not in ('source', 'destination'):
            raise exception.UsageError(f'not a side: {side[:40]!r}', hint='source or destination')
        record = self.record(swap_id)
        settled = resolve.resolve(self.hypervisor, self._journal, record, Side(side))
        if settled.state not in ENDED:
            self._recovery(None).recover(settled)
        return self.record(record.id)

    def audit(
        self, domain: str = '', *, repair: bool = False, records_of: RecordsOf | None = None
    ) -> tuple[Row, ...]:
        """Compare what everybody says of each guest's disks, or of one's; see :class:`Auditor`.

        :raise DomainNotFound: there is no such guest.
        """
        uuid_ = self.hypervisor.domain(domain).uuid if domain else ''
        auditor = Auditor(self.hypervisor, self._journal, records_of)
        return auditor.audit(domain_uuid=uuid_, repair=repair)

    def grow(self, domain: str, dev: str) -> Bytes:
        """Let a disk have all of its volume; see :func:`blockmirror_driver.swap.growth.grow`."""
        return growth.grow(self.hypervisor, self._journal, domain, dev)

    def doctor(self) -> tuple[Check, ...]:
        """Check the host: libvirt, QEMU's block modules, the journal, what is left open."""
        return examine(lambda: self.hypervisor, self._journal, self._conf)
