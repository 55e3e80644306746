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
"""A guest whose XML is real text, and its hypervisor, in a world of their own."""

from __future__ import annotations

import queue
import uuid
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from lxml import etree

from blockmirror_driver import exception
from blockmirror_driver.model import (
    Auth,
    Bytes,
    BytesPerSecond,
    Disk,
    Encryption,
    FileSource,
    Host,
    IoTune,
    RbdSource,
    Secret,
    SecretRef,
    SecretSpec,
    SecretUsage,
    Source,
)
from blockmirror_driver.virt.domain import Domain, JobInfo
from blockmirror_driver.virt.events import BlockJobStatus, Lifecycle
from blockmirror_driver.virt.secrets import SecretLifetime
from blockmirror_driver.virt.subscriptions import Subscription
from blockmirror_driver.xml import disk as xml_disk
from blockmirror_driver.xml import domain as xml_domain
from blockmirror_driver.xml.domain import DomainDisk
from tests.unit.fakes import FakeDomain, FakeHypervisor, FakeSecretStore

if TYPE_CHECKING:
    from tests.unit.swap.world import World

SOURCE = FileSource('/volumes/old')
OTHER = FileSource('/volumes/third')
#: As a volume driver makes it: it cites a secret by a placeholder, and carries its value.
DESTINATION = Disk(
    source=RbdSource(
        'volumes',
        'new',
        hosts=(Host('192.0.2.1', 6789),),
        auth=Auth('cinder', SecretRef(SecretUsage.CEPH, usage='placeholder')),
    ),
    secrets=(SecretSpec(SecretUsage.CEPH, 'placeholder', Secret('c4n4ry-value')),),
)
SERIAL = 'serial-1'
SIZE = 1 << 20
DEV = 'vda'

Ready = Literal['no', 'yes', 'pivot', 'abort']
Fate = Literal['switch', 'refuse', 'fail', 'never', 'die', 'vanish']


def source_element(source: Source, encryption: Encryption | None = None) -> tuple[str, str]:
    """The type and the <source> of a disk."""
    root = etree.fromstring(xml_disk.build(Disk(source=source, encryption=encryption)))
    (element,) = root.findall('source')
    return root.get('type', ''), etree.tostring(element, encoding='unicode', with_tail=False)


def disk_element(
    source: Source,
    dev: str,
    mirror: tuple[Source, str] | None,
    limits: IoTune | None = None,
    encryption: Encryption | None = None,
) -> str:
    """A <disk> as libvirt writes it, with what it adds while a guest runs."""
    kind, text = source_element(source, encryption)
    mirrored = tuned = ''
    if limits is not None:
        root = etree.fromstring(xml_disk.build(Disk(source=source, iotune=limits)))
        (element,) = root.findall('iotune')
        tuned = etree.tostring(element, encoding='unicode', with_tail=False)
    if mirror is not None:
        mirror_kind, mirror_text = source_element(mirror[0])
        ready = '' if mirror[1] == 'no' else f" ready='{mirror[1]}'"
        mirrored = (
            f"<mirror type='{mirror_kind}' job='copy'{ready}><format type='raw'/>{mirror_text}"
            '</mirror>'
        )
    return (
        f"<disk type='{kind}' device='disk'><driver name='qemu' type='raw' cache='none'/>{text}"
        f"<backingStore/>{mirrored}<target dev='{dev}' bus='virtio'/>{tuned}"
        f"<serial>{SERIAL}</serial><alias name='virtio-disk0'/></disk>"
    )


class TimedQueue:
    """Waits on the world's clock: an empty queue lets the planned things happen."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._items: list[Any] = []

    def put(self, item: Any) -> None:
        self._items.append(item)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        if not self._items and timeout:
            self._world.pass_time(timeout)
        if not self._items:
            raise queue.Empty
        return self._items.pop(0)


class Guest(FakeDomain):
    """A guest with one disk, and a hypervisor that does what ``pivots`` and ``aborts`` say.

    ``ready_after``: seconds from the copy's start to READY, ``None``: never. ``pivots``: what
    comes of the next pivots, ``switch`` when it is empty. ``abort_hangs``: an abort that was
    asked for does not end. ``events``: whether events of the job arrive.
    """

    hypervisor: SwapHypervisor

    def __init__(self, world: World, name: str = 'guest') -> None:
        super().__init__(name)
        self.world = world
        self.capacities[DEV] = SIZE
        self.live_source: Source | None = SOURCE
        self.stored_source: Source | None = SOURCE
        self.mirrored: tuple[Source, Ready] | None = None
        self.ready_after: float | None = 2.0
        self.pivots: list[Fate] = []
        self.abort_hangs = False
        self.run = 7
        self.events = True
        self.limits: IoTune | None = None
        #: Of what the guest has, live and stored, and of the copy's destination.
        self.encryption: Encryption | None = None
        self.mirrored_encryption: Encryption | None = None
        self.on('block_copy', self._began)
        self.on('pivot', self._pivot_asked)
        self.on('abort', self._abort_asked)

    # What it says of itself

    def text(self, source: Source | None, *, live: bool) -> str:
        mirror = self.mirrored if live else None
        disk = ''
        if source is not None:
            disk = disk_element(source, DEV, mirror, self.limits, self.encryption)
        number = f" id='{self.run}'" if live else ''
        return (
            f"<domain type='qemu'{number}><name>{self.name}</name><uuid>{self.uuid}</uuid>"
            f'<devices>{disk}</devices></domain>'
        )

    def xml(self, *, inactive: bool = False) -> str:
        self._called('xml', inactive)
        live = self.active and not inactive
        text = self.text(self.live_source if live else self.stored_source, live=live)
        self._done('xml')
        return text

    def live_disk(self, dev: str) -> DomainDisk:
        self._called('live_disk', dev)
        self._require_running()
        found = xml_domain.find(self.text(self.live_source, live=True), dev)
        self._done('live_disk')
        return found

    def is_active(self) -> bool:
        self._require_there()
        return super().is_active()

    def _require_there(self) -> None:
        if not self.active and not self.persistent:
            raise exception.DomainNotFound(f'domain {self.name} not found')

    def stored_disk(self, dev: str) -> DomainDisk | None:
        self._called('stored_disk', dev)
        self._require_there()
        if not self.persistent:
            return None
        found = xml_domain.find(self.text(self.stored_source, live=False), dev)
        self._done('stored_disk')
        return found

    def set_iotune(self, dev: str, limits: IoTune) -> None:
        self._called('set_iotune', dev, limits)
        self.limits = limits
        self._done('set_iotune')

    def rewrite_stored(self, edit: Callable[[str], str]) -> None:
        self._called('rewrite_stored')
        assert self.persistent
        text = edit(self.text(self.stored_source, live=False))
        self.stored_source = xml_domain.find(text, DEV).disk.source
        self._done('rewrite_stored')

    def _called(self, method: str, *args: Any) -> None:
        super()._called(method, *args)
        self.hypervisor.require_connection()

    # What happens to it

    def shows(self, ready: Ready, destination: Source | None = None) -> None:
        """Let our job be there, in this phase."""
        target = destination or (self.mirrored[0] if self.mirrored else self.world.prepared)
        self.mirrored = (target, ready)
        cur = 0 if ready == 'no' else SIZE
        limit = self.jobs[DEV].bandwidth if DEV in self.jobs else BytesPerSecond(0)
        self.jobs[DEV] = JobInfo(2, limit, cur, SIZE)

    def moves(self, cur: int) -> None:
        """The job's cursor goes on to this byte."""
        self.jobs[DEV] = replace(self.jobs[DEV], cur=Bytes(cur))

    def foreign(self) -> None:
        """Let another tool's job be on the disk."""
        self.shows('no', OTHER)

    def ends(self, status: BlockJobStatus | None = None) -> None:
        """Let the job be gone, the guest being where it was."""
        self.mirrored = None
        self.jobs.pop(DEV, None)
        if status is not None and self.events:
            self.emit_job(DEV, status)

    def switches(self) -> None:
        """Let the guest be on the destination; libvirt rewrites a stored XML that agreed."""
        if self.mirrored is None or not self.active:
            return
        old, self.live_source = self.live_source, self.mirrored[0]
        self.encryption = self.mirrored_encryption
        if self.stored_source == old:
            self.stored_source = self.live_source
        self.ends(BlockJobStatus.COMPLETED)

    def ready(self) -> None:
        if self.mirrored is not None and self.mirrored[1] == 'no' and self.mirrored[0] != OTHER:
            self.shows('yes')
            if self.events:
                self.emit_job(DEV, BlockJobStatus.READY)

    def die(self, *, emit: bool = True) -> None:
        self.mirrored = None
        super().die(emit=False)
        if not self.persistent:
            self.hypervisor.fake_domains.pop(self.uuid, None)
        if emit and self.events:
            self.emit_lifecycle(Lifecycle.STOPPED, 1)

    def start_again(self) -> None:
        """Somebody starts the guest: from its stored XML."""
        self.active = True
        self.run += 1
        self.live_source = self.stored_source

    # What libvirt does when it is asked

    def _began(self) -> None:
        _dev, text, *_rest = self.calls[-1][1]
        destination = xml_disk.parse(text)
        self.mirrored_encryption = destination.encryption
        self.shows('no', destination.source)
        if self.ready_after is not None:
            self.world.later(self.ready_after, self.ready)

    def _pivot_asked(self) -> None:
        early = self.mirrored is None or self.mirrored[1] == 'no'
        fate: Fate = 'refuse' if early else self.pivots.pop(0) if self.pivots else 'switch'
        if fate == 'refuse':
            raise exception.DiskBusy('block copy still active: not ready for pivot yet')
        if fate == 'vanish':
            return  # answered, and nothing comes of it
        self.shows('pivot')
        what: dict[str, Callable[[], object]] = {
            'switch': self.switches,
            'fail': lambda: self.ends(BlockJobStatus.FAILED),
            'die': self.die,
        }
        if fate in what:
            self.world.later(0.1, what[fate])

    def _abort_asked(self) -> None:
        self.shows('abort')
        if not self.abort_hangs:
            self.world.later(0.1, self._abort_ends)

    def _abort_ends(self) -> None:
        if self.mirrored is not None and self.mirrored[1] == 'abort':
            self.ends(BlockJobStatus.CANCELED)


class Secrets(FakeSecretStore):
    """Also spares what is cited, as the real one does, and may be away."""

    hypervisor: SwapHypervisor

    def _called(self, method: str, *args: Any) -> None:
        super()._called(method, *args)
        self.hypervisor.require_connection()

    def sweep(self, is_alive: Callable[[str], bool], cited: Collection[str]) -> tuple[str, ...]:
        self._called('sweep', tuple(cited))
        gone = self._unneeded(is_alive, cited)
        self.kept -= gone
        self._done('sweep')
        return tuple(sorted(f'blockmirror/{life.value}/{owner}/0' for owner, life in gone))

    def leftover(self, is_alive: Callable[[str], bool], cited: Collection[str]) -> tuple[str, ...]:
        self._called('leftover', tuple(cited))
        left = self._unneeded(is_alive, cited)
        self._done('leftover')
        return tuple(sorted(f'blockmirror/{life.value}/{owner}/0' for owner, life in left))

    def _unneeded(
        self, is_alive: Callable[[str], bool], cited: Collection[str]
    ) -> set[tuple[str, SecretLifetime]]:
        return {
            (owner, life)
            for owner, life in self.kept
            if self.uuid_of(owner, life) not in cited and not is_alive(owner)
        }

    @staticmethod
    def uuid_of(owner: str, life: SecretLifetime) -> str:
        namespace = uuid.UUID('5b0f2f0e-8d5c-4c1e-9f2e-0d7a3a3f6a11')
        return str(uuid.uuid5(namespace, f'blockmirror/{life.value}/{owner}/0'))


class SwapHypervisor(FakeHypervisor):
    """Its subscriptions wait on the world's clock; ``away`` makes every call fail."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.away = False
        self.fake_secrets = Secrets()
        self.fake_secrets.hypervisor = self
        self.probe_result = replace(self.probe_result, capacity=Bytes(SIZE))

    def require_connection(self) -> None:
        if self.away:
            raise exception.HypervisorUnavailable('libvirt is away', outcome_unknown=True)

    def subscribe(self, domain_uuid: str | None = None) -> Subscription:
        self.require_connection()
        subscription = super().subscribe(domain_uuid)
        subscription.queue = TimedQueue(self.world)  # type: ignore[assignment]
        return subscription

    def domain(self, name_or_uuid: str) -> Domain:
        self.require_connection()
        return super().domain(name_or_uuid)

    def domains(self) -> tuple[Domain, ...]:
        self.require_connection()
        return super().domains()
