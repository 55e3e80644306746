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
"""The checks of a plan, one small function each.

Each returns a :class:`Check`: what was looked at, whether it passed (``None``: could not be
told), the reason and the fix. The order is the order of cost: what needs no storage server
comes first.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from blockmirror_driver import exception
from blockmirror_driver.mirror.options import CopyOptions
from blockmirror_driver.model import Bytes, Disk, NetworkSource, Source
from blockmirror_driver.swap import (
    chains,
    contents,
    encryption,
    evidence,
    methods,
    qos,
    requirements,
    zeroes,
)
from blockmirror_driver.swap.request import SwapRequest
from blockmirror_driver.virt.connection import Hypervisor
from blockmirror_driver.virt.domain import Domain
from blockmirror_driver.xml import domain as xml_domain
from blockmirror_driver.xml.disk import same_volume
from blockmirror_driver.xml.domain import DomainDisk


@dataclass(frozen=True, slots=True)
class Check:
    """One condition. ``error`` is the typed error to raise for it, if it has one."""

    id: str
    passed: bool | None
    detail: str
    fix: str = ''
    error: exception.BlockmirrorError | None = field(default=None, repr=False, compare=False)


@dataclass
class Subject:
    """What the checks are about; filled in as they learn of it."""

    hypervisor: Hypervisor
    request: SwapRequest
    domain: Domain | None = None
    live: DomainDisk | None = None
    stored: DomainDisk | None = None
    persistent: bool = False
    size: Bytes = Bytes(0)
    source_xml: str = ''
    guest_run: str = ''
    #: How much of the destination is to be used; ``None`` is all.
    slice_size: Bytes | None = None

    @property
    def name(self) -> str:
        """The domain's name, empty before it was found."""
        return self.domain.name if self.domain else ''

    @property
    def uuid(self) -> str:
        """The domain's UUID, empty before it was found."""
        return self.domain.uuid if self.domain else ''

    @property
    def stored_is_stale(self) -> bool:
        """Whether a stored XML exists that names another volume than the live one."""
        if self.live is None or self.stored is None:
            return False
        return not same_volume(self.stored.disk.source, self.live.disk.source)


def passed(check: str, detail: str) -> Check:
    """A check that passed."""
    return Check(check, True, detail)


def unknown(check: str, detail: str) -> Check:
    """A check that could not be made; it does not refuse."""
    return Check(check, None, detail)


def failed(check: str, error: exception.BlockmirrorError | str, fix: str = '') -> Check:
    """A check that failed, with its typed error or a reason and a fix."""
    if isinstance(error, exception.BlockmirrorError):
        return Check(check, False, error.message, error.hint, error)
    return Check(check, False, error, fix)


def of_guest(subject: Subject) -> list[Check]:
    """Find the guest and its disk; ``subject`` holds both afterwards, if they are there."""
    request = subject.request
    found = [versions(subject.hypervisor, request.options)]
    try:
        domain = subject.hypervisor.domain(request.domain)
        subject.domain = domain
        if not domain.is_active():
            raise exception.DomainNotFound(
                f'domain {request.domain} is not running', hint='start it; only a live disk moves'
            )
        found.append(passed('domain-running', f'{domain.name} runs'))
        live_xml = domain.xml()
        subject.live = xml_domain.find(live_xml, request.dev)
        subject.source_xml = xml_domain.disk_xml(live_xml, request.dev)
        subject.guest_run = evidence.run_of(live_xml)
        subject.persistent = domain.is_persistent()
        subject.stored = _stored(subject, domain)
        subject.size = domain.capacity(request.dev)
    except (exception.DomainNotFound, exception.DiskNotFound) as error:
        check = 'disk-present' if isinstance(error, exception.DiskNotFound) else 'domain-running'
        return [*found, failed(check, error)]
    source = subject.live.disk.source.describe()
    return [*found, passed('disk-present', f'{request.dev} is {source}, {subject.size} bytes')]


def _stored(subject: Subject, domain: Domain) -> DomainDisk | None:
    if not subject.persistent:
        return None
    try:
        return domain.stored_disk(subject.request.dev)
    except exception.DiskNotFound:
        return None


def versions(hypervisor: Hypervisor, options: CopyOptions) -> Check:
    """Check that libvirt and QEMU are new enough, for these options too."""
    have = hypervisor.versions()
    told = requirements.refusal(have, options)
    if told is not None:
        return failed('versions', told.why, told.fix)
    libvirt, qemu = requirements.dotted(have.libvirt), requirements.dotted(have.qemu)
    return passed('versions', f'libvirt {libvirt}, QEMU {qemu}')


def of_request(subject: Subject) -> list[Check]:
    """Check the request against the guest. ``subject.live`` is set."""
    assert subject.live is not None
    assert subject.domain is not None
    return [
        _no_job(subject.domain, subject.live, subject.request.dev),
        _one_writer(subject.live.disk, subject.request.destination),
        _encryption(subject.live, subject.request),
        _access(subject.live.disk, subject.request.destination),
        _stored_agrees(subject),
        _not_in_use(subject),
        _method(subject),
        _chain(subject),
        _contents(subject),
        *_may_be_zeroed(subject),
        _block_module(subject),
        _secrets(subject),
        _inherits(subject.live.disk, subject.request.destination),
        _limits(subject.live.disk, subject.request.destination),
        *(passed('note', note) for note in subject.request.destination.notes),
    ]


def _no_job(domain: Domain, live: DomainDisk, dev: str) -> Check:
    if live.mirror is not None or domain.job(dev) is not None:
        return failed('no-block-job', exception.DiskBusy(f'a block job is already on {dev}'))
    return passed('no-block-job', f'no block job is on {dev}')


def _one_writer(source: Disk, destination: Disk) -> Check:
    for what, disk in (('source', source), ('destination', destination)):
        if disk.shareable:
            # libvirt itself does not refuse it.
            return failed(
                'one-writer', exception.SharedVolume(f'the {what} may have several writers')
            )
    return passed('one-writer', 'neither side is shared')


def _encryption(live: DomainDisk, request: SwapRequest) -> Check:
    try:
        told = encryption.judge(live, request.destination, decrypt=request.options.decrypt)
    except exception.EncryptedVolume as error:
        return failed('encryption', error)
    return passed('encryption', told)


def _access(source: Disk, destination: Disk) -> Check:
    if destination.readonly and not source.readonly:
        return failed('access', 'the destination is read-only', 'attach it with access_mode rw')
    return passed('access', 'the destination may be written')


def _stored_agrees(subject: Subject) -> Check:
    if not subject.persistent:
        return passed('stored-xml', 'the domain is transient: there is none')
    if subject.stored is None:
        return unknown('stored-xml', 'it has no such disk: the guest loses it when it stops')
    if subject.stored_is_stale:
        return unknown(
            'stored-xml', 'it names another volume; it is brought in line before the copy'
        )
    return passed('stored-xml', 'it names the same volume as the live XML')


def _not_in_use(subject: Subject) -> Check:
    return in_use(subject.hypervisor, subject.request.destination.source)


def in_use(hypervisor: Hypervisor, wanted: Source) -> Check:
    """Check that no guest of this host has a volume, nor copies to it."""
    unread: list[str] = []
    for domain in hypervisor.domains():
        try:
            used = xml_domain.disks(domain.xml())
        except exception.DomainNotFound:
            continue
        except exception.InvalidDisk as error:
            unread.append(f'{domain.name} ({error})')
            continue
        for disk in used:
            below = [layer.source for layer in disk.disk.layers]
            if disk.mirror and disk.mirror.source:
                below.append(disk.mirror.source)
            if any(same_volume(one, wanted) for one in (disk.disk.source, *below)):
                return failed(
                    'destination-free',
                    f'the destination is already {disk.disk.target_dev} of {domain.name}',
                    'choose another volume',
                )
    if unread:
        return unknown('destination-free', f"can't read the disks of {', '.join(unread)}")
    return passed('destination-free', 'no guest of this host has it')


def _method(subject: Subject) -> Check:
    request = subject.request
    told = methods.refusal(
        request.destination, request.options, request.ending, persistent=subject.persistent
    )
    if told is not None:
        return failed('copy-method', told.why, told.fix)
    return passed('copy-method', request.options.method)


def _chain(subject: Subject) -> Check:
    assert subject.live is not None
    request = subject.request
    told = chains.judge(subject.live.disk, request.destination, shallow=request.options.shallow)
    return Check('chain', told.passed, told.detail, told.fix)


def _contents(subject: Subject) -> Check:
    assert subject.live is not None
    request = subject.request
    told = contents.refusal(subject.live.disk, request.destination, request.options)
    if told is not None:
        return failed('contents', told.why, told.fix)
    how = 'compared before the pivot' if request.options.verify_contents else 'not compared'
    return passed('contents', how)


def _may_be_zeroed(subject: Subject) -> list[Check]:
    told = zeroes.refusal(subject.request.destination, subject.request.options)
    return [] if told is None else [failed('zeroed', told.why, told.fix)]


def _block_module(subject: Subject) -> Check:
    source = subject.request.destination.source
    if not isinstance(source, NetworkSource):
        return passed('block-module', 'a local volume needs none')
    return block_module(subject.hypervisor, source.describe().partition(':')[0])


def block_module(hypervisor: Hypervisor, protocol: str) -> Check:
    """Check that QEMU can open a protocol."""
    have = hypervisor.capabilities_has_block_driver(protocol)
    if have is None:
        return unknown('block-module', f"can't tell whether QEMU has its {protocol} driver")
    if not have:
        return failed(
            'block-module',
            f'QEMU has no {protocol} driver here',
            'install it (Debian: qemu-block-extra)',
        )
    return passed('block-module', f'QEMU has its {protocol} driver')


def _secrets(subject: Subject) -> Check:
    destination = subject.request.destination
    needed = destination.cited
    given = {spec.usage for spec in destination.secrets}
    for ref in needed:
        if ref.usage not in given and not subject.hypervisor.secrets.exists(ref):
            which = ref.uuid or ref.usage
            return failed('secrets', exception.SecretUnavailable(f'libvirt has no secret {which}'))
    if not needed:
        return passed('secrets', 'none is needed')
    carried = any(ref.usage in given for ref in needed)
    return passed('secrets', 'the request carries it' if carried else 'libvirt has it')


def _inherits(source: Disk, destination: Disk) -> Check:
    """Libvirt keeps these from the disk the guest has; none can change on a live disk."""
    names = ('cache', 'io', 'discard', 'detect_zeroes')
    kept = [
        f'{name}={getattr(source.driver, name)}'
        for name in names
        if getattr(destination.driver, name) not in (None, getattr(source.driver, name))
    ]
    if not kept:
        return passed('inherits', 'the destination asks for nothing else than the source has')
    return unknown('inherits', f'stays as on the source until the next attach: {", ".join(kept)}')


def _limits(source: Disk, destination: Disk) -> Check:
    wanted = qos.describe(destination.iotune)
    if qos.changes(source, destination):
        return passed('limits', f'set after the pivot: {wanted}')
    return passed('limits', f'stay as they are: {qos.describe(source.iotune)}')
