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
"""Is this host fit for swaps? Changes nothing."""

from __future__ import annotations

from collections.abc import Callable

from oslo_config import cfg

from blockmirror_driver import exception
from blockmirror_driver.mirror.options import CopyOptions
from blockmirror_driver.model import Seconds
from blockmirror_driver.swap import checks
from blockmirror_driver.swap.checks import Check
from blockmirror_driver.swap.journal import Journal
from blockmirror_driver.swap.states import SwapState
from blockmirror_driver.virt.connection import Hypervisor

#: Seconds within which a timer of 10 ms has to fire.
_LOOP_DEADLINE = Seconds(5.0)
_PROTOCOLS = ('rbd', 'iscsi', 'nfs')


def examine(
    connect: Callable[[], Hypervisor], journal: Journal, conf: cfg.ConfigOpts
) -> tuple[Check, ...]:
    """Return all checks, failed ones with their fix. Raises nothing of our tree."""
    found: list[Check] = []
    try:
        hypervisor = connect()
        found.append(checks.passed('libvirt', conf.blockmirror.connection_uri))
        found.append(checks.versions(hypervisor, CopyOptions()))
        found += [checks.block_module(hypervisor, protocol) for protocol in _PROTOCOLS]
        found += [_events(hypervisor), _hanging(hypervisor)]
    except exception.BlockmirrorError as error:
        found = [checks.failed('libvirt', error)]
    return (*found, *_journal(journal))


def _events(hypervisor: Hypervisor) -> Check:
    if hypervisor.events_arrive(_LOOP_DEADLINE):
        return checks.passed('event-loop', "libvirt's event loop runs")
    return checks.failed(
        'event-loop',
        "libvirt's event loop does not run: only slow readings would tell of a job's end",
        'look for a handler that hangs in this process',
    )


def _hanging(hypervisor: Hypervisor) -> Check:
    hanging = hypervisor.hanging
    if hanging:
        names = ', '.join(call.name for call in hanging)
        return checks.failed('hanging-calls', f'{len(hanging)}: {names}', 'look at libvirtd')
    return checks.passed('hanging-calls', 'none')


def _journal(journal: Journal) -> list[Check]:
    try:
        journal.check()
        records = journal.records(active_only=True)
    except exception.JournalUnusable as error:
        return [checks.failed('journal', error)]
    found = [checks.passed('journal', str(journal.path))]
    for record in records:
        if record.state is SwapState.UNKNOWN:
            found.append(
                checks.failed(
                    'unknown-swap',
                    f'{record.id} of {record.dev} of {record.domain_name}',
                    f'blockmirror show {record.id}, then blockmirror resolve',
                )
            )
        elif not record.owner_alive:
            found.append(
                checks.failed(
                    'orphaned-swap',
                    f'{record.id} is {record.state.value} and nobody owns it',
                    f'blockmirror recover {record.id}',
                )
            )
    return found
