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
"""How each fault is made, and how it is mended."""

from __future__ import annotations

import contextlib
import errno
import json
from collections.abc import Callable
from typing import Any

import libvirt

from tests.faults import parts
from tests.faults.catalogue import SERVED
from tests.faults.scene import STORED, Scene, Violation
from tests.lab.process import run
from tests.lab.volumes import IscsiVolume

Mend = Callable[[], None]
Strike = Callable[[Scene], Mend]

#: Offsets in bytes at which a failing volume fails: places that the guest writes to as well.
PLACES = range(20 << 16, 240 << 16, 20 << 16)
#: ``VIR_DOMAIN_BLOCK_COPY_REUSE_EXT`` and ``VIR_DOMAIN_BLOCK_COPY_TRANSIENT_JOB``.
_COPY = 2 | 4
_PIVOT = libvirt.VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT
#: Bytes/s of another tool's copy: it shall not end while it is looked at.
_SLOW = 256 << 10
#: ``VIR_DOMAIN_PAUSED``.
_PAUSED = 3


def nothing() -> None:
    """Nothing is to be mended."""


def _in_process(_scene: Scene) -> Mend:
    """The process itself sees to it, see :mod:`tests.faults.station`."""
    return nothing


# -- libvirtd and the guest ------------------------------------------------------------------


def _libvirtd_killed(scene: Scene) -> Mend:
    scene.lab.libvirtd.kill()
    return scene.lab.libvirtd.start


def _libvirtd_stopped(scene: Scene) -> Mend:
    scene.lab.libvirtd.stop()
    return scene.lab.libvirtd.cont


def _qemu_killed(scene: Scene) -> Mend:
    scene.guest_goes()
    parts.kill_qemu(scene.guest.name)
    scene.guest.console.close()
    return nothing


def _rebooted(scene: Scene) -> Mend:
    scene.guest_goes()
    scene.guest.domain.reset(0)
    scene.guest.console.close()
    return nothing


def _shut_down(scene: Scene) -> Mend:
    scene.guest_goes()
    scene.guest.poweroff()
    return nothing


def _guest_paused(scene: Scene) -> Mend:
    scene.guest.stat()
    scene.guest.domain.suspend()
    return lambda: resume(scene)


def resume(scene: Scene) -> None:
    """Let a paused guest go on."""
    domain = scene.guest.domain
    if domain.isActive() and domain.state()[0] == _PAUSED:
        domain.resume()


def _destroyed(scene: Scene) -> Mend:
    scene.guest_goes()
    scene.guest.domain.destroy()
    scene.guest.console.close()
    return nothing


# -- the volumes and their servers -----------------------------------------------------------


def _server(scene: Scene) -> Any:
    kind = scene.destination.kind
    assert kind in SERVED
    return scene.lab.ceph.osd if kind == 'rbd' else scene.lab.parts[kind]


def _server_killed(scene: Scene) -> Mend:
    server = _server(scene)
    server.kill()
    whole = scene.lab.ceph if scene.destination.kind == 'rbd' else server
    return lambda: whole.start()  # noqa: PLW0108 - of no known type


def _server_hung(scene: Scene) -> Mend:
    server = _server(scene)
    server.stop()
    return lambda: server.cont()  # noqa: PLW0108 - of no known type


def _cut_off(_scene: Scene) -> Mend:
    parts.link(False)
    return lambda: parts.link(True)


def _full(scene: Scene) -> Mend:
    return _fail(scene, scene.destination, errno.ENOSPC, 'write')


def _failing(scene: Scene) -> Mend:
    return _fail(scene, scene.destination, errno.EIO, 'write')


def _source_failing(scene: Scene) -> Mend:
    return _fail(scene, scene.source, errno.EIO, 'read')


def _fail(scene: Scene, volume: object, number: int, iotype: str) -> Mend:
    assert isinstance(volume, parts.FailingVolume)
    volume.fail(number, iotype, PLACES)

    def mend() -> None:
        volume.mend()
        # QEMU pauses a guest whose own disk is full.
        with contextlib.suppress(libvirt.libvirtError):
            resume(scene)

    return mend


def _blocklisted(scene: Scene) -> Mend:
    image = f'volumes/{scene.destination.name}'
    told = json.loads(run(['rbd', 'status', '--format', 'json', image]))
    clients = [str(one['address']) for one in told['watchers']]
    if not clients:
        raise Violation('harness: nobody has the image open')
    for client in clients:
        scene.lab.ceph.command('osd', 'blocklist', 'add', client)
    scene.parts['locked out'] = True

    def mend() -> None:
        for client in clients:
            scene.lab.ceph.command('osd', 'blocklist', 'rm', client)

    return mend


def _key_revoked(scene: Scene) -> Mend:
    scene.lab.ceph.command('auth', 'rm', 'client.cinder')
    keyring = scene.lab.layout.root / 'ceph' / 'cinder.keyring'
    return lambda: _told(scene.lab.ceph.command('auth', 'import', '-i', str(keyring)))


def _told(_answer: object) -> None:
    return


def _target_removed(scene: Scene) -> Mend:
    assert isinstance(scene.destination, IscsiVolume) and scene.destination.target
    target = scene.destination.target
    scene.lab.iscsi.withdraw(target)
    return lambda: scene.lab.iscsi.restore(target)


def _chap_changed(scene: Scene) -> Mend:
    assert isinstance(scene.destination, IscsiVolume) and scene.destination.target
    target = scene.destination.target
    scene.lab.iscsi.change_account(target)
    return lambda: scene.lab.iscsi.change_account(target, back=True)


def _export_gone(scene: Scene) -> Mend:
    nfs = scene.lab.nfs
    nfs.kill()
    nfs.start_without_export()

    def mend() -> None:
        nfs.kill()
        nfs.start()

    return mend


# -- other hands -----------------------------------------------------------------------------


def _foreign_job(scene: Scene) -> Mend:
    domain, third = scene.guest.domain, scene.third()
    if scene.guest.domain.blockJobInfo('vda', 0):
        domain.blockJobAbort('vda', 0)
    domain.blockCopy('vda', third.disk_xml('vda'), {'bandwidth': _SLOW}, _COPY)

    def mend() -> None:
        mirror = scene.disk().find('mirror')
        if mirror is None or third.name not in str(mirror.find('source').get('file')):  # type: ignore[union-attr]
            raise Violation("P4: another tool's job is gone")
        scene.guest.domain.blockJobAbort('vda', 0)

    return mend


def _foreign_abort(scene: Scene) -> Mend:
    scene.guest.domain.blockJobAbort('vda', 0)
    return nothing


def _foreign_pivot(scene: Scene) -> Mend:
    # Refused as long as the copy is not ready.
    with contextlib.suppress(libvirt.libvirtError):
        scene.guest.domain.blockJobAbort('vda', _PIVOT)
    return nothing


def _undefined(scene: Scene) -> Mend:
    scene.guest.domain.undefine()

    def mend() -> None:
        domain = scene.guest.domain
        if not domain.isPersistent():
            scene.lab.connect().defineXML(domain.XMLDesc(STORED))

    return mend


def _redefined(scene: Scene) -> Mend:
    scene.store(scene.third())
    return nothing


def _secret_undefined(scene: Scene) -> Mend:
    found = [
        secret
        for secret in scene.lab.connect().listAllSecrets()
        if scene.swap_id in (secret.usageID() or '')
    ]
    if not found:
        raise Violation('harness: the swap has no secret')
    for secret in found:
        secret.undefine()
    return nothing


def _second_swap(scene: Scene) -> Mend:
    path = scene.command.connection_file(scene.third().connection_info())
    swap = scene.command.start('swap', scene.guest.name, 'vda', path)
    recover = scene.command.start('recover', scene.swap_id)
    codes = swap.wait().code, recover.wait().code
    if codes != (3, 3):
        raise Violation(f'P2: a second swap ended with {codes[0]}, a recovery with {codes[1]}')
    return nothing


# -- the journal -----------------------------------------------------------------------------


def _journal_full(scene: Scene) -> Mend:
    disk: parts.SmallDisk = scene.parts['disk']
    disk.fill()
    return disk.free


def _journal_deleted(scene: Scene) -> Mend:
    for path in scene.journal_path.parent.iterdir():
        path.unlink()
    return nothing


STRIKES: dict[str, Strike] = {
    'killed-before': _in_process,
    'killed-after': _in_process,
    'libvirtd-killed': _libvirtd_killed,
    'libvirtd-stopped': _libvirtd_stopped,
    'qemu-killed': _qemu_killed,
    'guest-rebooted': _rebooted,
    'guest-shut-down': _shut_down,
    'guest-paused': _guest_paused,
    'guest-destroyed': _destroyed,
    'destination-killed': _server_killed,
    'destination-hung': _server_hung,
    'destination-cut-off': _cut_off,
    'destination-full': _full,
    'destination-failing': _failing,
    'source-failing': _source_failing,
    'osd-stopped': _server_hung,
    'client-blocklisted': _blocklisted,
    'key-revoked': _key_revoked,
    'target-removed': _target_removed,
    'chap-changed': _chap_changed,
    'nfs-stopped': _server_hung,
    'export-gone': _export_gone,
    'foreign-job': _foreign_job,
    'foreign-abort': _foreign_abort,
    'foreign-pivot': _foreign_pivot,
    'domain-undefined': _undefined,
    'domain-redefined': _redefined,
    'events-lost': _in_process,
    'events-late': _in_process,
    'events-doubled': _in_process,
    'journal-full': _journal_full,
    'journal-deleted': _journal_deleted,
    'clock-forward': _in_process,
    'clock-back': _in_process,
    'secret-undefined': _secret_undefined,
    'second-swap': _second_swap,
}
#: What the process itself does, by :mod:`tests.faults.station`'s word for it.
IN_PROCESS = {
    'killed-before': 'before',
    'killed-after': 'after',
    'events-lost': 'lost',
    'events-late': 'late',
    'events-doubled': 'doubled',
    'clock-forward': 'forward',
    'clock-back': 'back',
}
