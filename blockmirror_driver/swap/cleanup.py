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
"""What a swap leaves behind, and taking it away: secrets, and our mark on the domain."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from oslo_concurrency import lockutils
from oslo_log import log as logging

from blockmirror_driver import exception
from blockmirror_driver.mirror import passthrough
from blockmirror_driver.mirror.options import QMP
from blockmirror_driver.swap.attachments import AttachmentStore
from blockmirror_driver.swap.journal import Journal
from blockmirror_driver.swap.ledger import Swap, view_of
from blockmirror_driver.swap.owner import is_living_planner
from blockmirror_driver.swap.request import Ending
from blockmirror_driver.swap.states import ENDED
from blockmirror_driver.virt.connection import Hypervisor
from blockmirror_driver.virt.domain import Domain
from blockmirror_driver.virt.secrets import SecretLifetime
from blockmirror_driver.xml import disk as xml_disk
from blockmirror_driver.xml import domain as xml_domain
from blockmirror_driver.xml import metadata

LOG = logging.getLogger(__name__)

#: What a mark says: of a swap which is to be told before it pivots, of one whose contents are to
#: be compared before, and of one that pivots by itself, or does.
COPYING, COMPARED, PIVOTING = 'copying', 'compared', 'pivoting'


def mark(hypervisor: Hypervisor, swap: Swap, intent: str) -> bool:
    """Write the swap into the domain's metadata, so that a lost journal can be rebuilt.

    A mark that can't be written does not stop a swap: the journal is the first record. Tell
    whether it was.
    """
    ours = metadata.SwapMark(
        swap.id,
        swap.dev,
        swap.source_xml,
        xml_disk.build(swap.destination),
        intent,
    )
    try:
        domain = hypervisor.domain(swap.domain_uuid)
        with _alone(domain):
            others = [m for m in marks_of(domain) if m.swap_id != swap.id]
            domain.set_mark(metadata.build([*others, ours]))
    except exception.BlockmirrorError as error:
        LOG.warning('Swap %s: the domain could not be marked: %s', swap.id, error)
        return False
    return True


def first_intent(swap: Swap) -> str:
    """Return what the mark of a copy says that begins.

    A copy that pivots by itself does so within milliseconds of being READY, while a mark takes
    several: so it is said from the start, and a journal that is lost has asked for the pivot
    for all we know, unless the job is seen to copy still.
    """
    if swap.options.verify_contents:
        return COMPARED
    return COPYING if swap.hold or swap.ending is not Ending.PIVOT else PIVOTING


def unmark(hypervisor: Hypervisor, swap_id: str, domain_uuid: str) -> None:
    """Take our mark off the domain; a domain that is gone has none.

    :raise HypervisorUnavailable: when libvirt does not answer.
    """
    try:
        domain = hypervisor.domain(domain_uuid)
    except exception.DomainNotFound:
        return
    with _alone(domain):
        try:
            marks = marks_of(domain)
        except exception.InvalidDisk:
            # Damaged, and in our own namespace: nobody can read anything from it.
            domain.set_mark(None)
            return
        others = [m for m in marks if m.swap_id != swap_id]
        if len(others) != len(marks):
            domain.set_mark(metadata.build(others) if others else None)


def _alone(domain: Domain) -> contextlib.AbstractContextManager[object]:
    """Keep other threads of this process from the marks: each is written with all others."""
    return lockutils.lock(f'blockmirror-mark-{domain.uuid}')


def marks_of(domain: Domain) -> list[metadata.SwapMark]:
    """Return what stands on a domain.

    :raise InvalidDisk: it is damaged.
    """
    text = domain.mark()
    return list(metadata.parse(text)) if text else []


def release(hypervisor: Hypervisor, swap: Swap) -> list[str]:
    """Let go of a destination that the guest is not on; return what is left over."""
    return _attempt(
        lambda: _let_go(hypervisor, swap),
        lambda: hypervisor.secrets.discard(swap.id, SecretLifetime.JOB),
        lambda: hypervisor.secrets.discard(swap.id, SecretLifetime.DISK),
        lambda: unmark(hypervisor, swap.id, swap.domain_uuid),
    )


def _let_go(hypervisor: Hypervisor, swap: Swap) -> None:
    """Take away what a copy behind libvirt has in QEMU; of a guest that is gone nothing is."""
    if swap.options.method != QMP:
        return
    try:
        domain = hypervisor.domain(swap.domain_uuid)
    except exception.DomainNotFound:
        return
    passthrough.Passthrough(view_of(swap), domain).let_go()


def complete(hypervisor: Hypervisor, journal: Journal, swap: Swap) -> list[str]:
    """Let go of the source after a verified pivot; return what is left over."""
    return _attempt(
        lambda: _let_go(hypervisor, swap),
        lambda: hypervisor.secrets.discard(swap.id, SecretLifetime.JOB),
        lambda: unmark(hypervisor, swap.id, swap.domain_uuid),
        lambda: sweep(hypervisor, journal),
    )


def sweep(hypervisor: Hypervisor, journal: Journal) -> None:
    """Remove secrets of ours that nobody under way and no XML of any domain needs."""
    is_alive = _needs(journal)
    hypervisor.secrets.sweep(is_alive, cited(hypervisor))


def leftover_secrets(hypervisor: Hypervisor, journal: Journal) -> tuple[str, ...]:
    """Return the usages of what :func:`sweep` would remove. Changes nothing."""
    is_alive = _needs(journal)
    return hypervisor.secrets.leftover(is_alive, cited(hypervisor))


def _needs(journal: Journal) -> Callable[[str], bool]:
    """Return what tells of an owner whether it may still need its secrets. Call it first.

    Others work meanwhile. A swap is in the journal before it defines a secret, and one that
    ended since the XML was read may be cited by now, so that each owner is asked about late,
    and counts as alive when it was so at any time from here on. A volume that is connected to
    this host is on record from before its secrets until after them.
    """
    began = time.time()
    attachments = AttachmentStore(journal.path)

    def is_alive(name: str) -> bool:
        if is_living_planner(name) or attachments.has_owner(name):
            return True
        return any(
            record.id == name and (record.state not in ENDED or record.updated_at >= began)
            for record in journal.records()
        )

    return is_alive


def cited(hypervisor: Hypervisor) -> set[str]:
    """Return what the live and stored XML of all domains cite, as uuid or usage."""
    found: set[str] = set()
    for domain in hypervisor.domains():
        try:
            found |= xml_domain.cited_secrets(domain.xml())
            if domain.is_persistent():
                found |= xml_domain.cited_secrets(domain.xml(inactive=True))
        except exception.DomainNotFound:
            continue
    return found


def _attempt(*steps: Callable[[], object]) -> list[str]:
    """Do every step, whatever the others do; return what failed, one line each."""
    problems = []
    for step in steps:
        try:
            step()
        except exception.BlockmirrorError as error:
            problems.append(error.message)
    return problems
