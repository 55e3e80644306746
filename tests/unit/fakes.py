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
"""A hypervisor without libvirt, to be scripted by unit tests.

The fakes derive from the real classes, so that mypy holds every signature to theirs; a
test checks that no public method is left real.

>>> hypervisor = FakeHypervisor()
>>> domain = hypervisor.add(FakeDomain('guest'))
>>> domain.jobs['vda'] = JobInfo(2, BytesPerSecond(0), 0, 100)
>>> domain.fail('pivot', exception.DiskBusy('not ready'))        # the next call only
>>> domain.on('block_copy', lambda: domain.emit_job('vda', BlockJobStatus.READY))
>>> domain.calls                                                 # what was called, in order
[]
"""

from __future__ import annotations

import dataclasses
import uuid as uuids
from collections import defaultdict, deque
from collections.abc import Callable, Collection
from concurrent.futures import Future
from typing import Any, Self, TypeVar

from blockmirror_driver import exception
from blockmirror_driver.model import Bytes, BytesPerSecond, Disk, IoTune, Seconds, SecretRef
from blockmirror_driver.virt.calls import CallPool, HangingCall
from blockmirror_driver.virt.capabilities import Versions
from blockmirror_driver.virt.connection import Hypervisor
from blockmirror_driver.virt.counters import WriteCounters
from blockmirror_driver.virt.domain import (
    CopyFlag,
    Domain,
    DomainState,
    JobInfo,
    RebaseFlag,
)
from blockmirror_driver.virt.events import (
    BlockJobEvent,
    BlockJobStatus,
    ConnectionLost,
    HypervisorEvent,
    Lifecycle,
    LifecycleEvent,
    Reconnected,
)
from blockmirror_driver.virt.probe import ProbeResult
from blockmirror_driver.virt.secrets import SecretLifetime, SecretStore
from blockmirror_driver.virt.subscriptions import Fanout, Subscription
from blockmirror_driver.virt.throwaway import Places
from blockmirror_driver.xml.domain import DomainDisk

_T = TypeVar('_T')

NAMESPACE = uuids.UUID('5b0f2f0e-8d5c-4c1e-9f2e-0d7a3a3f6a11')


class Scripted:
    """Records calls, raises what a test planned, runs what a test hooked in.

    ``calls`` is a list of ``(method, args)``. ``fail`` plans an error for the next call
    of a method (several queue up); ``on`` runs something after each call of it that did
    not fail; ``count`` counts the calls of one method.
    """

    def script(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self._failures: defaultdict[str, deque[BaseException | None]] = defaultdict(deque)
        self._hooks: defaultdict[str, list[Callable[[], object]]] = defaultdict(list)

    def fail(self, method: str, *errors: BaseException | None) -> None:
        """Raise these at the next calls of the method, one each; None lets one pass."""
        self._failures[method].extend(errors)

    def on(self, method: str, hook: Callable[[], object]) -> None:
        """Run ``hook`` at the end of each call of the method that was not made to fail."""
        self._hooks[method].append(hook)

    def count(self, method: str) -> int:
        return sum(1 for name, _args in self.calls if name == method)

    def _called(self, method: str, *args: Any) -> None:
        self.calls.append((method, args))
        planned = self._failures[method]
        error = planned.popleft() if planned else None
        if error is not None:
            raise error

    def _done(self, method: str) -> None:
        for hook in self._hooks[method]:
            hook()


class FakeDomain(Scripted, Domain):
    """A guest whose every answer is an attribute.

    ``live`` and ``stored`` map a dev to its DomainDisk; ``persistent=False`` makes the
    stored disks None; ``active=False`` makes every live call raise DomainNotFound.
    ``jobs`` maps a dev to its JobInfo. ``block_copy`` puts a job there unless one is
    there (DiskBusy); ``pivot`` and ``abort`` change nothing but raise
    HypervisorUnavailable(code=8) without a job: what follows is for the test to script.
    """

    hypervisor: FakeHypervisor

    def __init__(self, name: str = 'guest', uuid: str | None = None) -> None:
        self.script()
        self.name = name
        self.uuid = uuid or str(uuids.uuid5(NAMESPACE, name))
        self.active = True
        self.persistent = True
        self.live: dict[str, DomainDisk] = {}
        self.stored: dict[str, DomainDisk] = {}
        self.jobs: dict[str, JobInfo] = {}
        self.capacities: dict[str, int] = {}
        #: Bytes that a volume takes, where its backend tells.
        self.allocations: dict[str, int] = {}
        self.live_xml = '<domain/>'
        self.stored_xml = '<domain/>'
        self.marked: str | None = None
        self.written = WriteCounters(0, 0.0)
        self.run_state = DomainState.RUNNING

    def __repr__(self) -> str:
        return f'FakeDomain({self.name!r})'

    # Events of this domain, to all subscriptions that want them

    def emit_job(self, dev: str, status: BlockJobStatus, job_type: int = 2) -> None:
        self.hypervisor.emit(BlockJobEvent(self.uuid, dev, job_type, status))

    def emit_lifecycle(self, event: Lifecycle, detail: int = 0) -> None:
        self.hypervisor.emit(LifecycleEvent(self.uuid, event, detail))

    def die(self, *, emit: bool = True) -> None:
        """The guest is gone, as after a destroy: jobs go without an event."""
        self.active = False
        self.jobs.clear()
        self.run_state = DomainState.SHUTOFF
        if emit:
            self.emit_lifecycle(Lifecycle.STOPPED, 1)

    # Domain's interface

    def is_active(self) -> bool:
        self._called('is_active')
        self._done('is_active')
        return self.active

    def is_persistent(self) -> bool:
        self._called('is_persistent')
        self._done('is_persistent')
        return self.persistent

    def state(self) -> DomainState:
        self._called('state')
        self._done('state')
        return self.run_state

    def xml(self, *, inactive: bool = False) -> str:
        self._called('xml', inactive)
        self._done('xml')
        return self.stored_xml if inactive or not self.active else self.live_xml

    def live_disk(self, dev: str) -> DomainDisk:
        self._called('live_disk', dev)
        self._require_running()
        found = self._of(self.live, dev)
        self._done('live_disk')
        return found

    def stored_disk(self, dev: str) -> DomainDisk | None:
        self._called('stored_disk', dev)
        found = self._of(self.stored, dev) if self.persistent else None
        self._done('stored_disk')
        return found

    def disks(self, dev: str) -> tuple[DomainDisk | None, DomainDisk]:
        try:
            stored = self.stored_disk(dev)
        except exception.DiskNotFound:
            stored = None
        return stored, self.live_disk(dev)

    def capacity(self, dev: str) -> Bytes:
        self._called('capacity', dev)
        self._require_running()
        self._done('capacity')
        return Bytes(self._of(self.capacities, dev))

    def allocation(self, dev: str) -> Bytes:
        self._called('allocation', dev)
        self._require_running()
        self._done('allocation')
        return Bytes(self.allocations.get(dev, self.capacities[dev]))

    def job(self, dev: str) -> JobInfo | None:
        self._called('job', dev)
        self._require_running()
        found = self.jobs.get(dev)
        self._done('job')
        return found

    def block_copy(
        self,
        dev: str,
        disk_xml: str,
        *,
        bandwidth: BytesPerSecond = BytesPerSecond(0),
        granularity: int = 0,
        buf_size: int = 0,
        flags: CopyFlag = CopyFlag.NONE,
    ) -> None:
        self._called('block_copy', dev, disk_xml, bandwidth, granularity, buf_size, flags)
        self._start_job(dev, bandwidth)
        self._done('block_copy')

    def block_rebase(
        self,
        dev: str,
        path: str,
        *,
        bandwidth: BytesPerSecond = BytesPerSecond(0),
        flags: RebaseFlag = RebaseFlag.NONE,
    ) -> None:
        self._called('block_rebase', dev, path, bandwidth, flags)
        self._start_job(dev, bandwidth)
        self._done('block_rebase')

    def pivot(self, dev: str) -> None:
        self._called('pivot', dev)
        self._require_job(dev)
        self._done('pivot')

    def abort(self, dev: str) -> None:
        self._called('abort', dev)
        self._require_job(dev)
        self._done('abort')

    def set_speed(self, dev: str, bytes_per_second: BytesPerSecond) -> None:
        self._called('set_speed', dev, bytes_per_second)
        self._require_job(dev)
        job = self.jobs[dev]
        self.jobs[dev] = JobInfo(job.type, bytes_per_second, job.cur, job.end)
        self._done('set_speed')

    def freeze(self, timeout: Seconds) -> int:
        self._called('freeze', timeout)
        self._require_running()
        self._done('freeze')
        return 1

    def thaw(self) -> int:
        self._called('thaw')
        self._require_running()
        self._done('thaw')
        return 0

    def write_counters(self, dev: str) -> WriteCounters:
        self._called('write_counters', dev)
        self._require_running()
        self._done('write_counters')
        return self.written

    def suspend(self) -> None:
        self._called('suspend')
        self._require_running()
        self.run_state = DomainState.PAUSED
        self._done('suspend')

    def resume(self) -> None:
        self._called('resume')
        self._require_running()
        self.run_state = DomainState.RUNNING
        self._done('resume')

    def resize(self, dev: str, size: Bytes) -> None:
        self._called('resize', dev, size)
        self._require_running()
        self.capacities[dev] = size
        self._done('resize')

    def set_iotune(self, dev: str, limits: IoTune) -> None:
        self._called('set_iotune', dev, limits)
        for where in (self.live if self.active else {}, self.stored if self.persistent else {}):
            if dev in where:
                disk = dataclasses.replace(where[dev].disk, iotune=limits)
                where[dev] = dataclasses.replace(where[dev], disk=disk)
        self._done('set_iotune')

    def set_mark(self, text: str | None) -> None:
        self._called('set_mark', text)
        self.marked = text
        self._done('set_mark')

    def mark(self) -> str | None:
        self._called('mark')
        self._done('mark')
        return self.marked

    def rewrite_stored(self, edit: Callable[[str], str]) -> None:
        self._called('rewrite_stored')
        if not self.persistent:
            raise exception.WrongState(f'domain {self.name} is transient')
        self.stored_xml = edit(self.stored_xml)
        self._done('rewrite_stored')

    def _start_job(self, dev: str, bandwidth: BytesPerSecond) -> None:
        self._require_running()
        if dev in self.jobs:
            raise exception.DiskBusy(f"disk '{dev}' already in active block job")
        self.jobs[dev] = JobInfo(2, bandwidth, 0, self.capacities.get(dev, 100))

    def _require_running(self) -> None:
        if not self.active:
            raise exception.DomainNotFound('domain is not running')

    def _require_job(self, dev: str) -> None:
        self._require_running()
        if dev not in self.jobs:
            raise exception.HypervisorUnavailable(
                f'disk {dev} does not have an active block job', code=8
            )

    @staticmethod
    def _of(what: dict[str, _T], dev: str) -> _T:
        if dev not in what:
            raise exception.DiskNotFound(f"disk '{dev}' not found in domain")
        return what[dev]


class FakeSecretStore(Scripted, SecretStore):
    """Remembers which owner's secrets were prepared: ``kept`` is {(owner, lifetime)}."""

    def __init__(self) -> None:
        self.script()
        self.kept: set[tuple[str, SecretLifetime]] = set()
        self.known: set[SecretRef] = set()

    def prepare(self, disk: Disk, owner: str, *, lifetime: SecretLifetime) -> Disk:
        self._called('prepare', disk, owner, lifetime)
        if disk.secrets:
            self.kept.add((owner, lifetime))
        for number, spec in enumerate(disk.secrets):
            usage = f'blockmirror/{lifetime.value}/{owner}/{number}'
            ref = SecretRef(spec.type, uuid=str(uuids.uuid5(NAMESPACE, usage)))
            self.known.add(ref)
            disk = disk.with_secret(spec, ref)
        self._done('prepare')
        return disk

    def discard(
        self, owner: str, lifetime: SecretLifetime, *, cited: Collection[str] = ()
    ) -> tuple[str, ...]:
        self._called('discard', owner, lifetime)
        found = (owner, lifetime) in self.kept
        self.kept.discard((owner, lifetime))
        self._done('discard')
        return (f'blockmirror/{lifetime.value}/{owner}/0',) if found else ()

    def sweep(self, is_alive: Callable[[str], bool], cited: Collection[str]) -> tuple[str, ...]:
        self._called('sweep', tuple(cited))
        gone = {(owner, life) for owner, life in self.kept if not is_alive(owner)}
        self.kept -= gone
        self._done('sweep')
        return tuple(
            f'blockmirror/{life.value}/{owner}/0'
            for owner, life in sorted(gone, key=lambda item: item[0])
        )

    def leftover(self, is_alive: Callable[[str], bool], cited: Collection[str]) -> tuple[str, ...]:
        self._called('leftover', tuple(cited))
        left = [(owner, life) for owner, life in self.kept if not is_alive(owner)]
        self._done('leftover')
        return tuple(sorted(f'blockmirror/{life.value}/{owner}/0' for owner, life in left))

    def exists(self, ref: SecretRef) -> bool:
        self._called('exists', ref)
        self._done('exists')
        return ref in self.known


class FakeHypervisor(Scripted, Hypervisor):
    """Holds FakeDomains; :meth:`emit` is what libvirt's event thread would do."""

    def __init__(self, uri: str = 'fake:///system') -> None:
        self.script()
        self.uri = uri
        self.read_only = False
        self.call_timeout = Seconds(1.0)
        self.fake_domains: dict[str, FakeDomain] = {}
        self.fake_secrets = FakeSecretStore()
        self.fake_events_arrive = True
        self.fake_hanging: tuple[HangingCall, ...] = ()
        self.fake_versions = Versions(libvirt=9_000_000, qemu=7_002_000)
        self.block_drivers: dict[str, bool | None] = {}
        #: The next probe's answer: a result, or raised through ``fail('probe', error)``.
        self.probe_result = ProbeResult(Bytes(100), Bytes(100), Seconds(0.1))
        self.fake_alive = True
        self.fake_generation = 1
        self._fanout = Fanout()
        # No unit test makes a throwaway domain there: libvirt knows no such driver.
        self.places = Places(uri, CallPool(), CallPool())

    def add(self, domain: FakeDomain) -> FakeDomain:
        domain.hypervisor = self
        self.fake_domains[domain.uuid] = domain
        return domain

    def emit(self, event: HypervisorEvent) -> None:
        self._fanout.publish(event)

    def publish(self, event: HypervisorEvent) -> None:
        self.emit(event)

    def see(self, domain_uuid: str, view: Callable[[Domain], Domain]) -> None:
        raise NotImplementedError('no unit test copies behind libvirt')

    def lose_connection(self, reason: str = 'end of file') -> None:
        self.fake_alive = False
        self.emit(ConnectionLost(reason))

    @property
    def subscribed(self) -> int:
        """How many subscriptions are open: 0 when everything was closed."""
        return len(self._fanout)

    # Hypervisor's interface

    def open(self) -> Self:
        self._called('open')
        self._done('open')
        return self

    def close(self) -> None:
        self._called('close')
        self._done('close')

    @property
    def generation(self) -> int:
        return self.fake_generation

    @property
    def is_alive(self) -> bool:
        return self.fake_alive

    @property
    def hanging(self) -> tuple[HangingCall, ...]:
        return self.fake_hanging

    def reconnect(self, *, timeout: Seconds | None = None) -> None:
        self._called('reconnect')
        self.fake_alive = True
        self.fake_generation += 1
        self.emit(Reconnected(self.fake_generation))
        self._done('reconnect')

    def beside(self, function: Callable[[], _T]) -> Future[_T]:
        """At once, in the caller's thread: so that tests know the order."""
        future: Future[_T] = Future()
        try:
            future.set_result(function())
        except exception.BlockmirrorError as error:
            future.set_exception(error)
        return future

    def domain(self, name_or_uuid: str) -> Domain:
        self._called('domain', name_or_uuid)
        for domain in self.fake_domains.values():
            if name_or_uuid in (domain.name, domain.uuid):
                return domain
        raise exception.DomainNotFound(f'no domain with name or uuid {name_or_uuid}')

    def domains(self) -> tuple[Domain, ...]:
        self._called('domains')
        return tuple(sorted(self.fake_domains.values(), key=lambda d: d.name))

    def subscribe(self, domain_uuid: str | None = None) -> Subscription:
        self._called('subscribe', domain_uuid)
        return self._fanout.subscribe(domain_uuid)

    @property
    def secrets(self) -> SecretStore:
        return self.fake_secrets

    def versions(self) -> Versions:
        self._called('versions')
        return self.fake_versions

    def capabilities_has_block_driver(self, protocol: str) -> bool | None:
        self._called('capabilities_has_block_driver', protocol)
        return self.block_drivers.get(protocol, True)

    def probe(
        self,
        disk: Disk,
        *,
        like: Domain | None = None,
        timeout: Seconds = Seconds(15.0),
        writable: bool = False,
        lingers: bool = False,
    ) -> ProbeResult:
        self._called('probe', disk, like, timeout, lingers, writable)
        self._done('probe')
        return self.probe_result

    def events_arrive(self, timeout: Seconds) -> bool:
        self._called('events_arrive', timeout)
        return self.fake_events_arrive

    def sweep_probes(self, *, dry_run: bool = False) -> tuple[str, ...]:
        self._called('sweep_probes', dry_run)
        return ()

    def run(self, name: str, function: Any, **kwargs: Any) -> Any:
        raise AssertionError(f'a unit test reached libvirt: {name}')
