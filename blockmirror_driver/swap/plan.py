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
"""The plan: every condition of a swap, checked before anything is changed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from oslo_log import log as logging

from blockmirror_driver import exception
from blockmirror_driver.model import Bytes, Disk, Seconds
from blockmirror_driver.swap import checks, opening, thin
from blockmirror_driver.swap.checks import Check, Subject
from blockmirror_driver.swap.owner import planner_name
from blockmirror_driver.swap.pressure import Pressure
from blockmirror_driver.swap.request import SwapRequest
from blockmirror_driver.virt.connection import Hypervisor
from blockmirror_driver.virt.secrets import SecretLifetime

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """The checks in the order in which they were made, and what they learned.

    ``probed_at`` is a point of the monotonic clock; together with the moment of the open it
    gives the window in which a destination can still go silent unnoticed.
    """

    request: SwapRequest
    checks: tuple[Check, ...]
    domain_name: str = ''
    domain_uuid: str = ''
    persistent: bool = False
    source: Disk | None = None
    source_xml: str = field(default='', repr=False)
    guest_run: str = ''
    size: Bytes = Bytes(0)
    stored_is_stale: bool = False
    probed_at: Seconds | None = None

    @property
    def ok(self) -> bool:
        """Whether no check failed. A check that could not tell does not fail."""
        return all(check.passed is not False for check in self.checks)

    def raise_if_refused(self) -> None:
        """Raise the first failed check's own error, or PlanRefused if it has none.

        :raise Refused: with that check's detail and fix.
        """
        failed = [check for check in self.checks if check.passed is False]
        if not failed:
            return
        first = failed[0]
        if first.error is not None:
            raise first.error
        raise exception.PlanRefused(
            f'{first.id}: {first.detail}', failed=[check.id for check in failed], hint=first.fix
        )


class Planner:
    """Makes a plan; what one check finds out, the next may use."""

    def __init__(self, hypervisor: Hypervisor, extra: Callable[[Subject], list[Check]]) -> None:
        self._hypervisor = hypervisor
        self._extra = extra

    def plan(self, request: SwapRequest) -> Plan:
        """Check everything. Changes nothing on the guest.

        A throwaway domain and private secrets exist while the destination is probed. They
        are gone when this raises or refuses; else the domain is being ended, and one of a
        destination on the network may have it open until then.

        :raise HypervisorUnavailable: when libvirt can't be reached at all.
        """
        subject = Subject(self._hypervisor, request)
        found = checks.of_guest(subject)
        if subject.live is not None:
            found += checks.of_request(subject)
            found.append(_thin(subject))
            found += self._extra(subject)
        probed_at = None
        if subject.live is not None and all(check.passed is not False for check in found):
            assert subject.domain is not None
            pressure = Pressure(subject.domain, subject.live.disk.source, request)
            found += self._probe(subject)
            told, options = pressure.judge()
            found += told
            request = replace(request, options=options)
            probed_at = Seconds(time.monotonic())
            if any(check.passed is False for check in found):
                # A volume that is not wanted may be deleted next.
                self._hypervisor.places.endings.wait()
        if subject.slice_size is not None:
            sliced = replace(request.destination, slice_size=subject.slice_size)
            request = replace(request, destination=sliced)
        return Plan(
            request=request,
            checks=tuple(found),
            domain_name=subject.name,
            domain_uuid=subject.uuid,
            persistent=subject.persistent,
            source=subject.live.disk if subject.live else None,
            source_xml=subject.source_xml,
            guest_run=subject.guest_run,
            size=subject.size,
            stored_is_stale=subject.stored_is_stale,
            probed_at=probed_at,
        )

    def _probe(self, subject: Subject) -> list[Check]:
        """Open the destination elsewhere, with secrets that live only that long."""
        if not subject.request.options.reuse_external:
            return [opening.created_by_libvirt()]
        owner = planner_name()
        secrets = self._hypervisor.secrets
        try:
            disk = secrets.prepare(subject.request.destination, owner, lifetime=SecretLifetime.JOB)
            return opening.of_destination(subject, disk)
        except exception.BlockmirrorError as error:
            return [checks.failed('destination-opens', error)]
        finally:
            try:
                secrets.discard(owner, SecretLifetime.JOB)
            except exception.BlockmirrorError as error:
                # It hides no answer; the next sweep finds them, once this process is gone.
                LOG.warning('The secrets of %s are left: %s', owner, error)


def _thin(subject: Subject) -> Check:
    assert subject.live is not None
    assert subject.domain is not None
    request = subject.request
    return thin.look(subject.domain, subject.live.disk, request.destination, request.options)
