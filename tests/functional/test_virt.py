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
"""The hypervisor room on a real libvirtd, QEMU, Ceph, iSCSI and NFS."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import itertools
import os
import queue
import signal
import subprocess
import sys
import textwrap
import time
import uuid as uuids
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import testtools

from blockmirror_driver import exception
from blockmirror_driver.model import (
    Auth,
    BlockSource,
    BytesPerSecond,
    Disk,
    FileSource,
    Host,
    Identity,
    IscsiSource,
    NbdSource,
    NfsSource,
    RbdSource,
    Seconds,
    Secret,
    SecretRef,
    SecretSpec,
    SecretUsage,
)
from blockmirror_driver.virt import probe, throwaway
from blockmirror_driver.virt.connection import Hypervisor
from blockmirror_driver.virt.domain import CopyFlag, Domain
from blockmirror_driver.virt.events import (
    BlockJobEvent,
    BlockJobStatus,
    ConnectionLost,
    HypervisorEvent,
    Lifecycle,
    LifecycleEvent,
    Reconnected,
)
from blockmirror_driver.virt.secrets import SecretLifetime
from blockmirror_driver.virt.subscriptions import Subscription
from blockmirror_driver.xml import probe as xml_probe
from tests.functional.silent import SilentServer
from tests.lab import ceph, iscsi
from tests.lab.lab import Lab
from tests.lab.process import run
from tests.lab.volumes import KINDS, IscsiVolume, RbdVolume, Volume

MIB = 1 << 20
#: Not a multiple of anything but a sector cluster, so that rounding would show.
SIZE = 24 * MIB + 5 * 4096
#: Seconds within which anything that should happen has happened.
LONG = Seconds(60.0)
#: A probe's deadline in the tests of silent servers.
DEADLINE = Seconds(3.0)
JOB, DISK = SecretLifetime.JOB, SecretLifetime.DISK
CEPH_PLACEHOLDER, CHAP_PLACEHOLDER = 'cephx', 'chap'

_names = itertools.count(1)
_Event = TypeVar('_Event')


def pids_with(path: Path) -> list[str]:
    """The processes that have a file open."""
    found = []
    for file in Path('/proc').glob('[0-9]*/fd/*'):
        with contextlib.suppress(OSError):  # it ended, or closed it
            if file.samefile(path):
                found.append(file.parts[2])
    return found


class VirtCase(testtools.TestCase):
    """A test with a hypervisor of its own; what it broke is mended."""

    def setUp(self) -> None:
        super().setUp()
        self.lab = Lab.from_env()
        self.addCleanup(self.lab.mend)
        self.hypervisor = self.open_hypervisor()
        self.new_owner()

    def open_hypervisor(self, **options: Any) -> Hypervisor:
        hypervisor = Hypervisor(self.lab.uri, **options).open()
        self.addCleanup(hypervisor.close)
        return hypervisor

    def forget_secrets(self, owner: str) -> None:
        self.lab.mend()
        for lifetime in SecretLifetime:
            self.hypervisor.secrets.discard(owner, lifetime)

    def volume(self, kind: str, size: int = SIZE) -> Volume:
        volume = KINDS[kind](self.lab).create(size)
        self.addCleanup(volume.delete)
        return volume

    # The Disk of a volume, written independently of the volume drivers

    def disk(self, volume: Volume) -> Disk:
        make: dict[str, Callable[[Any], Disk]] = {
            'rbd': self._rbd,
            'iscsi': self._iscsi,
            'nfs': lambda v: Disk(
                NfsSource(Host('127.0.0.1'), str(v.path.parent), v.name, Identity(0, 0))
            ),
            'file': lambda v: Disk(FileSource(str(v.path))),
            'block': lambda v: Disk(BlockSource(v.device)),
            'nbd': lambda v: Disk(
                NbdSource(v.name, Host('127.0.0.1', v.connection_info()['data']['port']))
            ),
        }
        return make[volume.kind](volume)

    def _rbd(self, volume: RbdVolume) -> Disk:
        pool, image = volume.image.split('/')
        auth = Auth(ceph.USER, SecretRef(SecretUsage.CEPH, usage=CEPH_PLACEHOLDER))
        return Disk(
            RbdSource(pool, image, (Host(ceph.HOST, ceph.PORT_V1),), auth),
            secrets=(self.ceph_secret(self.lab.ceph.key),),
        )

    @staticmethod
    def ceph_secret(key: str) -> SecretSpec:
        return SecretSpec(SecretUsage.CEPH, CEPH_PLACEHOLDER, Secret(base64.b64decode(key)))

    def _iscsi(self, volume: IscsiVolume) -> Disk:
        host, _, port = iscsi.PORTAL.rpartition(':')
        auth = Auth(
            self.lab.credentials.chap_username,
            SecretRef(SecretUsage.ISCSI, usage=CHAP_PLACEHOLDER),
        )
        return Disk(
            IscsiSource(volume.iqn, iscsi.LUN, Host(host, int(port)), auth, iscsi.INITIATOR),
            secrets=(self.chap_secret(self.lab.credentials.chap_password),),
        )

    @staticmethod
    def chap_secret(password: str) -> SecretSpec:
        return SecretSpec(SecretUsage.ISCSI, CHAP_PLACEHOLDER, Secret(password))

    def prepared(self, disk: Disk) -> Disk:
        """The disk citing job secrets of an owner of its own."""
        return self.hypervisor.secrets.prepare(disk, self.new_owner(), lifetime=JOB)

    def new_owner(self) -> str:
        self.owner = f'test-{uuids.uuid4()}'
        self.addCleanup(self.forget_secrets, self.owner)
        return self.owner

    # A guest that has a disk and does nothing

    def idle_guest(
        self, disk: Disk, *, persistent: bool = True, user: str | None = None, graphics: str = ''
    ) -> Domain:
        """A paused guest with ``disk`` as vda."""
        name = f'virt-{os.getpid()}-{next(_names)}'
        text = xml_probe.build(
            disk,
            name=name,
            uuid=str(uuids.uuid4()),
            like_domain_xml=None,
            read_only=False,
            sparing=False,
        )
        label = (
            "<seclabel type='static' model='dac' relabel='yes'>"
            f'<label>{user}</label></seclabel></domain>'
        )
        text = text.replace('</devices>', f'{graphics}</devices>')
        text = text.replace('</domain>', label if user else '</domain>')
        conn = self.lab.connect()
        if persistent:
            dom = conn.defineXML(text)
            self.addCleanup(self.remove, name)
            dom.createWithFlags(1)  # VIR_DOMAIN_START_PAUSED
        else:
            conn.createXML(text, 1)
            self.addCleanup(self.remove, name)
        return self.hypervisor.domain(name)

    def remove(self, name: str) -> None:
        import libvirt

        conn: Any = self.lab.connect()
        for what in ('destroy', 'undefine'):
            with contextlib.suppress(libvirt.libvirtError):
                getattr(conn.lookupByName(name), what)()

    # Looking

    def event(self, events: Subscription, kind: type[_Event]) -> _Event:
        """The next event of a kind; others on the way are dropped."""
        deadline = time.monotonic() + LONG
        while True:
            found: HypervisorEvent = events.queue.get(timeout=deadline - time.monotonic())
            if isinstance(found, kind):
                return found

    def no_probe_is_left(self) -> None:
        names = [domain.name() for domain in self.lab.connect().listAllDomains()]
        self.assertEqual([], [name for name in names if name.startswith(throwaway.NAME_PREFIX)])
        running = Path('/run/libvirt/qemu').glob(f'{throwaway.NAME_PREFIX}*.pid')
        self.assertEqual([], sorted(running))

    @contextlib.contextmanager
    def frozen(self, domain: Domain) -> Iterator[None]:
        """The guest's QEMU answers nothing, as when it opens a silent destination."""
        pid = int(Path(f'/run/libvirt/qemu/{domain.name}.pid').read_text())
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)


class TestConnection(VirtCase):
    def test_what_it_is(self) -> None:
        versions = self.hypervisor.versions()
        self.assertGreaterEqual(versions.libvirt, 8_000_000)
        self.assertGreaterEqual(versions.qemu, 6_002_000)
        for protocol in ('rbd', 'iscsi', 'nfs'):
            self.assertIs(True, self.hypervisor.capabilities_has_block_driver(protocol))

    def test_survives_libvirtd_killed_and_started_again(self) -> None:
        """Subscribers are told, calls in the outage wait, and events come again."""
        guest = self.idle_guest(self.disk(self.volume('file')))
        with self.hypervisor.subscribe(guest.uuid) as events:
            self.lab.libvirtd.kill()
            self.event(events, ConnectionLost)
            self.assertFalse(self.hypervisor.is_alive)
            error = self.assertRaises(
                exception.HypervisorUnavailable,
                self.hypervisor.run,
                'getVersion',
                lambda conn: conn.getVersion(),
                timeout=Seconds(0.5),
            )
            self.assertFalse(error.outcome_unknown)
            self.lab.libvirtd.start()
            self.assertTrue(guest.is_active())  # it waited for the new connection
            self.assertEqual(Reconnected(2), self.event(events, Reconnected))
            self.remove(guest.name)
            self.assertIs(Lifecycle.SHUTDOWN, self.event(events, LifecycleEvent).event)
            self.assertIs(Lifecycle.STOPPED, self.event(events, LifecycleEvent).event)
        self.assertEqual((), self.hypervisor.hanging)

    def test_reconnect_on_request(self) -> None:
        guest = self.idle_guest(self.disk(self.volume('file')))
        with self.hypervisor.subscribe(guest.uuid) as events:
            self.hypervisor.reconnect()
            self.assertEqual(2, self.hypervisor.generation)
            self.event(events, Reconnected)
            self.remove(guest.name)
            self.assertIs(Lifecycle.SHUTDOWN, self.event(events, LifecycleEvent).event)
            self.assertIs(Lifecycle.STOPPED, self.event(events, LifecycleEvent).event)

    def test_a_silent_libvirtd_is_noticed_by_keepalive(self) -> None:
        """A stopped daemon keeps its socket open: only keepalive tells."""
        hypervisor = self.open_hypervisor(call_timeout=Seconds(1.0), keepalive=(1, 2))
        with hypervisor.subscribe() as events:
            self.lab.libvirtd.stop()
            error = self.assertRaises(exception.HypervisorUnavailable, hypervisor.domains)
            self.assertTrue(error.outcome_unknown)
            self.assertEqual(['listAllDomains'], [call.name for call in hypervisor.hanging])
            self.assertIn('keepalive', self.event(events, ConnectionLost).reason)
            self.lab.libvirtd.cont()
            self.event(events, Reconnected)
        hypervisor.domains()

    def test_no_libvirtd(self) -> None:
        self.lab.libvirtd.kill()
        # systemd is not here to start it, so the socket refuses.
        self.assertRaises(exception.HypervisorUnavailable, Hypervisor(self.lab.uri).open)

    def test_a_hanging_call_does_not_hold_up_the_exit(self) -> None:
        script = textwrap.dedent(f"""
            import os, signal, sys
            from blockmirror_driver import exception
            from blockmirror_driver.virt.connection import Hypervisor
            hypervisor = Hypervisor({self.lab.uri!r}, call_timeout=1.0).open()
            print('open', flush=True)
            sys.stdin.readline()
            try:
                hypervisor.domains()
            except exception.HypervisorUnavailable as error:
                print(error.outcome_unknown, len(hypervisor.hanging))
        """)
        child = subprocess.Popen(
            [sys.executable, '-c', script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        self.assertEqual('open\n', child.stdout.readline())
        self.lab.libvirtd.stop()
        out, err = child.communicate('go\n', timeout=30)
        self.assertEqual((0, 'True 1\n', ''), (child.returncode, out, err))

    def test_one_frozen_guest_does_not_stand_in_the_way_of_others(self) -> None:
        """P9: status is there while another guest's QEMU hangs and its calls pile up."""
        hypervisor = self.open_hypervisor(call_timeout=Seconds(1.0))
        frozen = hypervisor.domain(self.idle_guest(self.disk(self.volume('file'))).uuid)
        other = hypervisor.domain(self.idle_guest(self.disk(self.volume('file'))).uuid)
        with self.frozen(frozen):
            self.assertTrue(frozen.is_active())
            self.assertIsNone(frozen.live_disk('vda').mirror)
            for _ in range(4):
                self.assertRaises(exception.HypervisorUnavailable, frozen.capacity, 'vda')
            self.assertEqual(2, len(hypervisor.hanging))
            for _ in range(30):
                self.assertIsNone(other.job('vda'))
                self.assertEqual(SIZE, other.capacity('vda'))
        deadline = time.monotonic() + LONG
        while hypervisor.hanging and time.monotonic() < deadline:
            time.sleep(0.1)
        self.assertEqual((), hypervisor.hanging)
        self.assertEqual(SIZE, frozen.capacity('vda'))


class TestDomain(VirtCase):
    def test_disks_and_size(self) -> None:
        volume = self.volume('file')
        guest = self.idle_guest(self.disk(volume))
        self.assertTrue(guest.is_active())
        self.assertTrue(guest.is_persistent())
        live, stored = guest.live_disk('vda'), guest.stored_disk('vda')
        assert stored is not None
        self.assertEqual(self.disk(volume).source, live.disk.source)
        self.assertEqual(live.disk.source, stored.disk.source)
        self.assertIsNone(live.mirror)
        self.assertEqual(SIZE, guest.capacity('vda'))
        self.assertIsNone(guest.job('vda'))
        self.assertRaises(exception.DiskNotFound, guest.live_disk, 'vdz')
        self.assertRaises(exception.DiskNotFound, guest.capacity, 'vdz')

    def test_a_guest_that_stopped_has_no_live_disk(self) -> None:
        guest = self.idle_guest(self.disk(self.volume('file')))
        self.lab.connect().lookupByName(guest.name).destroy()
        self.assertRaises(exception.DomainNotFound, guest.live_disk, 'vda')
        self.assertRaises(exception.DomainNotFound, guest.job, 'vda')
        self.assertRaises(exception.DomainNotFound, guest.capacity, 'vda')
        self.assertIsNotNone(guest.stored_disk('vda'))

    def test_a_transient_guest_has_no_stored_disk(self) -> None:
        guest = self.idle_guest(self.disk(self.volume('file')), persistent=False)
        self.assertIsNone(guest.stored_disk('vda'))
        self.assertRaises(exception.WrongState, guest.rewrite_stored, str)
        self.assertFalse(guest.is_persistent())

    def test_marks(self) -> None:
        mark = '<swap xmlns="https://blockmirror.opendev.org/xmlns/swap/1" id="x"/>'
        for persistent in (True, False):
            guest = self.idle_guest(self.disk(self.volume('file')), persistent=persistent)
            self.assertIsNone(guest.mark())
            guest.set_mark(mark)
            self.assertIn('id="x"', (guest.mark() or '').replace("'", '"'))
            self.assertIn('swap/1', guest.xml())
            self.assertIs(persistent, 'swap/1' in guest.xml(inactive=True) and persistent)
            guest.set_mark(None)
            guest.set_mark(None)
            self.assertIsNone(guest.mark())
            self.assertNotIn('swap/1', guest.xml(inactive=True))

    def test_rewriting_keeps_the_graphics_password(self) -> None:
        graphics = "<graphics type='vnc' port='-1' autoport='yes' passwd='canary42'/>"
        guest = self.idle_guest(self.disk(self.volume('file')), graphics=graphics)
        self.assertNotIn('canary42', guest.xml() + guest.xml(inactive=True))
        guest.rewrite_stored(lambda xml: xml.replace('</name>', '</name><title>new</title>'))
        stored = self.lab.connect().lookupByName(guest.name).XMLDesc(1 | 2)
        self.assertIn('canary42', stored)
        self.assertIn('<title>new</title>', stored)

    def test_a_copy_with_its_events_and_the_switch(self) -> None:
        source, target = self.volume('file'), self.volume('nfs')
        guest, destination = self.idle_guest(self.disk(source)), self.disk(target)
        flags = CopyFlag.REUSE_EXT | CopyFlag.TRANSIENT_JOB
        with self.hypervisor.subscribe(guest.uuid) as events:
            guest.block_copy(
                'vda',
                destination.to_xml(),
                bandwidth=BytesPerSecond(MIB),
                granularity=65536,
                buf_size=MIB,
                flags=flags,
            )
            job = guest.job('vda')
            assert job is not None
            self.assertEqual((2, MIB), (job.type, job.bandwidth))
            self.assertRaises(
                exception.DiskBusy, guest.block_copy, 'vda', destination.to_xml(), flags=flags
            )
            self.assertRaises(exception.DiskBusy, guest.pivot, 'vda')
            guest.set_speed('vda', BytesPerSecond(0))
            ready = BlockJobEvent(guest.uuid, 'vda', 2, BlockJobStatus.READY)
            self.assertEqual(ready, self.event(events, BlockJobEvent))
            mirror = guest.live_disk('vda').mirror
            assert mirror is not None
            self.assertEqual('yes', mirror.ready)
            guest.pivot('vda')
            done = BlockJobEvent(guest.uuid, 'vda', 2, BlockJobStatus.COMPLETED)
            self.assertEqual(done, self.event(events, BlockJobEvent))
        self.assertEqual(destination.source, guest.live_disk('vda').disk.source)
        error = self.assertRaises(exception.HypervisorUnavailable, guest.abort, 'vda')
        self.assertEqual(8, error.code)

    def test_abort(self) -> None:
        source, target = self.volume('file'), self.volume('file')
        guest = self.idle_guest(self.disk(source))
        with self.hypervisor.subscribe(guest.uuid) as events:
            guest.block_copy(
                'vda',
                self.disk(target).to_xml(),
                bandwidth=BytesPerSecond(65536),
                flags=CopyFlag.REUSE_EXT | CopyFlag.TRANSIENT_JOB,
            )
            guest.abort('vda')
            self.assertIs(BlockJobStatus.CANCELED, self.event(events, BlockJobEvent).status)
        self.assertIsNone(guest.job('vda'))
        self.assertEqual(self.disk(source).source, guest.live_disk('vda').disk.source)

    def test_a_destination_that_does_not_open(self) -> None:
        guest = self.idle_guest(self.disk(self.volume('file')))
        for disk in (
            Disk(FileSource('/nowhere/at/all')),
            Disk(NfsSource(Host('127.0.0.1'), '/nowhere', 'x')),
        ):
            self.assertRaises(
                exception.DestinationUnusable,
                guest.block_copy,
                'vda',
                disk.to_xml(),
                flags=CopyFlag.REUSE_EXT | CopyFlag.TRANSIENT_JOB,
            )
            self.assertIsNone(guest.job('vda'))


class TestSecrets(VirtCase):
    def ours(self) -> set[str]:
        usages = {secret.usageID() or '' for secret in self.lab.connect().listAllSecrets()}
        return {usage for usage in usages if self.owner in usage}

    def test_two_lifetimes(self) -> None:
        """A restart of libvirtd takes the job's secrets; the disk's stay for a cold start."""
        store, disk = self.hypervisor.secrets, self.disk(self.volume('iscsi'))
        job_disk = store.prepare(disk, self.owner, lifetime=JOB)
        store.prepare(disk, self.owner, lifetime=DISK)
        both = {f'blockmirror/{life}/{self.owner}/0' for life in ('job', 'disk')}
        self.assertEqual(both, self.ours())
        self.lab.libvirtd.kill()
        self.lab.libvirtd.start()
        self.assertEqual({f'blockmirror/disk/{self.owner}/0'}, self.ours())
        self.assertEqual(job_disk, store.prepare(disk, self.owner, lifetime=JOB))
        self.assertEqual(both, self.ours())
        self.assertEqual((f'blockmirror/job/{self.owner}/0',), store.discard(self.owner, JOB))
        self.assertEqual((f'blockmirror/disk/{self.owner}/0',), store.discard(self.owner, DISK))
        self.assertEqual(set(), self.ours())

    def test_nobody_reads_a_value_back(self) -> None:
        import libvirt

        for kind in ('rbd', 'iscsi'):
            disk = self.prepared(self.disk(self.volume(kind)))
            assert isinstance(disk.source, RbdSource | IscsiSource)
            assert disk.source.auth is not None
            ref = disk.source.auth.secret
            self.assertTrue(self.hypervisor.secrets.exists(ref))
            secret: Any = self.lab.connect().secretLookupByUUIDString(ref.uuid)
            self.assertRaises(libvirt.libvirtError, secret.value)

    def test_sweep_leaves_what_others_made(self) -> None:
        store = self.hypervisor.secrets
        before = {secret.UUIDString() for secret in self.lab.connect().listAllSecrets()}
        self.prepared(self.disk(self.volume('iscsi')))
        self.assertEqual((), store.sweep(lambda _owner: True, []))
        self.assertEqual(
            (f'blockmirror/job/{self.owner}/0',),
            store.sweep(lambda owner: owner != self.owner, []),
        )
        after = {secret.UUIDString() for secret in self.lab.connect().listAllSecrets()}
        self.assertEqual(before, after)

    def test_our_name_in_foreign_hands(self) -> None:
        usage = f'blockmirror/job/{self.owner}/0'
        conn: Any = self.lab.connect()
        foreign = conn.secretDefineXML(
            f"<secret><usage type='iscsi'><target>{usage}</target></usage></secret>"
        )
        self.addCleanup(foreign.undefine)
        self.assertRaises(
            exception.SecretUnavailable,
            self.hypervisor.secrets.prepare,
            self.disk(self.volume('iscsi')),
            self.owner,
            lifetime=JOB,
        )
        self.hypervisor.secrets.discard(self.owner, JOB)
        self.assertEqual({usage}, self.ours())


class TestProbe(VirtCase):
    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(self.no_probe_is_left)

    def probe(self, disk: Disk, **options: Any) -> probe.ProbeResult:
        return self.hypervisor.probe(disk, **{'timeout': LONG, **options})

    def refused(self, disk: Disk, *words: str, **options: Any) -> None:
        """The probe says no in time, with libvirt's reason in one line."""
        error = self.assertRaises(
            exception.DestinationUnusable, lambda: self.probe(disk, **options)
        )
        self.assertNotIsInstance(error, exception.DestinationSilent)
        for word in words:
            self.assertIn(word, str(error))
        self.assertNotIn('-blockdev', str(error))
        self.no_probe_is_left()

    def test_exact_size_and_nothing_written(self) -> None:
        """On each backend, read-only and for writing, with private ephemeral secrets."""
        for kind in KINDS:
            volume = self.volume(kind)
            disk = self.prepared(self.disk(volume))
            before = hashlib.sha256(volume.read_back().read_bytes()).digest()
            for writable in (False, True):
                result = self.probe(disk, writable=writable)
                self.assertEqual(SIZE, result.capacity, f'{kind} {writable}')
                self.no_probe_is_left()
            after = hashlib.sha256(volume.read_back().read_bytes()).digest()
            self.assertEqual(before, after, kind)

    def test_a_local_volume_is_closed_while_its_qemu_still_ends(self) -> None:
        """Nobody has it open, and its owner is who it was before."""
        path = self.volume('file').read_back()
        before = path.stat()
        for writable in (False, True):
            disk = Disk(FileSource(str(path)))
            result = self.probe(disk, writable=writable, lingers=True)
            self.assertEqual(SIZE, result.capacity)
            self.assertEqual([], pids_with(path))
            after = path.stat()
            self.assertEqual((before.st_uid, before.st_mode), (after.st_uid, after.st_mode))
        self.hypervisor.places.endings.wait()

    def test_libvirt_is_spared_the_questions_about_the_cpu(self) -> None:
        """Without it libvirt 9 asks 400 of them."""
        path, disk = self.lab.libvirtd.debug_log, self.disk(self.volume('file'))
        told_before = path.stat().st_size
        self.probe(disk)
        with path.open() as log:
            log.seek(told_before)
            sent = [line for line in log if 'qemuMonitorIOWrite' in line and 'qom-' in line]
        self.assertLess(len(sent), 20)

    def test_silent_servers(self) -> None:
        """P9: each protocol is ended at the deadline, and nothing is left."""
        for kind in ('rbd', 'iscsi', 'nfs'):
            disk = self.prepared(self.disk(self.volume(kind)))
            with SilentServer() as server, contextlib.ExitStack() as undo:
                if kind == 'nfs':  # its port is fixed, so the real server is stopped
                    self.lab.nfs.stop()
                    undo.callback(self.lab.nfs.cont)
                silent = self.elsewhere(disk, Host(server.address, server.port))
                started = time.monotonic()
                error = self.assertRaises(
                    exception.DestinationSilent, self.probe, silent, timeout=DEADLINE
                )
                self.assertLess(time.monotonic() - started, DEADLINE + throwaway._DESTROY_TIMEOUT)
                self.assertNotIn(server.address, str(error))
                self.no_probe_is_left()
            self.assertEqual((), self.hypervisor.hanging, kind)
            self.assertEqual(SIZE, self.probe(disk).capacity)

    @staticmethod
    def elsewhere(disk: Disk, host: Host) -> Disk:
        source = disk.source
        if isinstance(source, RbdSource):
            source = dataclasses.replace(source, hosts=(host,))
        elif isinstance(source, IscsiSource):
            source = dataclasses.replace(source, portal=host)
        return disk.with_source(source)

    def test_a_refused_monitor_counts_as_silent(self) -> None:
        """librados tries for 300 s before it gives up."""
        disk = self.prepared(self.disk(self.volume('rbd')))
        refused = self.elsewhere(disk, Host('127.0.0.1', 1))
        self.assertRaises(exception.DestinationSilent, self.probe, refused, timeout=DEADLINE)

    def test_wrong_secrets(self) -> None:
        chap = self.disk(self.volume('iscsi'))
        wrong = dataclasses.replace(chap, secrets=(self.chap_secret('not-the-password'),))
        self.refused(self.prepared(wrong), 'Authentication')
        key = base64.b64encode(base64.b64decode(self.lab.ceph.key)[:-1] + b'?').decode()
        rbd = self.disk(self.volume('rbd'))
        wrong = dataclasses.replace(rbd, secrets=(self.ceph_secret(key),))
        self.refused(self.prepared(wrong), 'error connecting')

    def test_no_secret(self) -> None:
        disk = self.disk(self.volume('iscsi'))
        ref = SecretRef(SecretUsage.ISCSI, uuid=str(uuids.uuid4()))
        self.assertRaises(
            exception.SecretUnavailable, self.probe, disk.with_secret(disk.secrets[0], ref)
        )

    def test_missing_volumes(self) -> None:
        rbd, nfs, lun = (self.disk(self.volume(kind)) for kind in ('rbd', 'nfs', 'iscsi'))
        assert isinstance(rbd.source, RbdSource)
        assert isinstance(nfs.source, NfsSource)
        assert isinstance(lun.source, IscsiSource)
        rbd, lun = self.prepared(rbd), self.prepared(lun)
        assert isinstance(rbd.source, RbdSource)
        assert isinstance(lun.source, IscsiSource)
        image = dataclasses.replace(rbd.source, image='nope')
        self.refused(rbd.with_source(image), 'No such file')
        pool = dataclasses.replace(rbd.source, pool='nope')
        self.refused(rbd.with_source(pool), 'pool')
        self.refused(nfs.with_source(dataclasses.replace(nfs.source, file='nope')), 'NOENT')
        export = dataclasses.replace(nfs.source, export='/nope')
        self.refused(nfs.with_source(export), 'mount')

    def test_missing_targets(self) -> None:
        lun = self.prepared(self.disk(self.volume('iscsi')))
        assert isinstance(lun.source, IscsiSource)
        target = dataclasses.replace(lun.source, target=f'{iscsi.IQN_PREFIX}:nope')
        self.refused(lun.with_source(target), 'Target not found')
        self.refused(lun.with_source(dataclasses.replace(lun.source, lun=77)), 'SENSE')
        self.refused(Disk(FileSource('/nowhere/at/all')), 'No such file')

    def test_opens_as_the_guests_user(self) -> None:
        """An NFS server sees the uid of the guest's QEMU: what root may read, others may not."""
        volume = self.volume('nfs')
        path = volume.read_back()
        path.chmod(0o600)
        disk = self.disk(volume)
        assert isinstance(disk.source, NfsSource)
        disk = disk.with_source(dataclasses.replace(disk.source, identity=None))
        root = self.idle_guest(self.disk(self.volume('file')))
        self.assertEqual(SIZE, self.probe(disk, like=root).capacity)
        nobody = self.idle_guest(self.disk(self.volume('file')), user='+65534:+65534')
        self.refused(disk, 'ACCESS denied', like=nobody)

    def test_an_nfs_file_that_can_only_be_read(self) -> None:
        """Refused before a copy. libvirt 9 opens read-only disks for writing too, 11 does not."""
        volume = self.volume('nfs')
        volume.read_back().chmod(0o444)
        disk = self.disk(volume)
        assert isinstance(disk.source, NfsSource)
        mine = dataclasses.replace(disk.source, identity=Identity(65534, 65534))
        self.refused(disk.with_source(mine), 'ACCESS denied', writable=True)
        if self.hypervisor.versions().libvirt >= 11_000_000:
            self.assertEqual(SIZE, self.probe(disk.with_source(mine)).capacity)
        else:
            self.refused(disk.with_source(mine), 'ACCESS denied')

    def test_a_unit_that_can_only_be_read(self) -> None:
        """Opened read-only it passes; opened for writing it is refused before any copy."""
        volume = self.volume('iscsi')
        assert isinstance(volume, IscsiVolume)
        assert volume.target is not None
        tgtadm = ['tgtadm', '--lld', 'iscsi', '--mode', 'logicalunit', '--op', 'update']
        where = ['--tid', str(volume.target.tid), '--lun', str(iscsi.LUN)]
        run([*tgtadm, *where, '--params', 'readonly=1'])
        disk = self.prepared(self.disk(volume))
        self.assertEqual(SIZE, self.probe(disk).capacity)
        self.refused(disk, writable=True)

    def test_a_ceph_user_who_can_only_read(self) -> None:
        volume = self.volume('rbd')
        assert isinstance(volume, RbdVolume)
        caps = ['mon', 'profile rbd', 'osd', f'profile rbd-read-only pool={volume.pool}']
        run(['ceph', 'auth', 'get-or-create', 'client.reader', *caps])
        self.addCleanup(run, ['ceph', 'auth', 'rm', 'client.reader'])
        key = run(['ceph', 'auth', 'print-key', 'client.reader']).strip()
        disk = self.disk(volume)
        assert isinstance(disk.source, RbdSource)
        assert disk.source.auth is not None
        reader = dataclasses.replace(disk.source.auth, username='reader')
        disk = dataclasses.replace(
            disk,
            source=dataclasses.replace(disk.source, auth=reader),
            secrets=(self.ceph_secret(key),),
        )
        disk = self.prepared(disk)
        for writable in (False, True):
            self.refused(disk, 'not permitted', writable=writable)

    def test_ends_with_its_process(self) -> None:
        """A prober killed in the middle leaves no domain: libvirtd ends it."""
        disk = self.disk(self.volume('nfs'))
        script = textwrap.dedent("""
            import sys
            from blockmirror_driver.virt.connection import Hypervisor
            from blockmirror_driver.model import Disk, Host, NfsSource, Seconds
            hypervisor = Hypervisor(sys.argv[1]).open()
            disk = Disk(NfsSource(Host('127.0.0.1'), sys.argv[2], sys.argv[3]))
            print('go', flush=True)
            hypervisor.probe(disk, timeout=Seconds(600))
        """)
        assert isinstance(disk.source, NfsSource)
        self.lab.nfs.stop()
        child = subprocess.Popen(
            [sys.executable, '-c', script, self.lab.uri, disk.source.export, disk.source.file],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        self.until(lambda: bool(self.probes()))
        child.kill()
        child.wait()
        self.lab.nfs.cont()
        self.until(lambda: not self.probes())

    def probes(self) -> list[str]:
        names = [domain.name() for domain in self.lab.connect().listAllDomains()]
        return [name for name in names if name.startswith(throwaway.NAME_PREFIX)]

    def until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + LONG
        while not holds():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.1)

    def test_old_ones_are_swept(self) -> None:
        disk = self.disk(self.volume('file'))
        for age, name in ((7200, 'blockmirror-probe-old'), (0, 'blockmirror-probe-new')):
            text = xml_probe.build(
                disk, name=name, uuid=throwaway.dated_uuid(time.time() - age), like_domain_xml=None
            )
            self.lab.connect().createXML(text, 1)
            self.addCleanup(self.remove, name)
        self.assertEqual(('blockmirror-probe-old',), self.hypervisor.sweep_probes())
        self.assertEqual(['blockmirror-probe-new'], self.probes())
        self.remove('blockmirror-probe-new')

    def test_many_at_once(self) -> None:
        """Two hang, a third is served meanwhile."""
        good = self.disk(self.volume('file'))
        silent = self.prepared(self.disk(self.volume('iscsi')))
        ended: queue.SimpleQueue[BaseException] = queue.SimpleQueue()

        def hang(disk: Disk) -> None:
            try:
                self.probe(disk, timeout=Seconds(10))
            except exception.BlockmirrorError as error:
                ended.put(error)

        import threading

        with SilentServer() as server:
            elsewhere = self.elsewhere(silent, Host(server.address, server.port))
            threads = [threading.Thread(target=hang, args=(elsewhere,)) for _ in range(2)]
            for thread in threads:
                thread.start()
            self.assertTrue(server.connected.wait(LONG))
            self.assertEqual(SIZE, self.probe(good).capacity)
            for thread in threads:
                thread.join()
        for _ in threads:
            self.assertIsInstance(ended.get(), exception.DestinationSilent)
