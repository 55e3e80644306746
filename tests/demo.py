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
"""The main job end to end, for a newcomer: ``python -m tests.demo``.

Brings a lab up (libvirt, QEMU, Ceph with cephx, an iSCSI target with CHAP, an NFS server, all
in namespaces of its own), boots a guest on an nfs volume, and moves its disk nfs -> rbd ->
iscsi -> nfs with the ``blockmirror`` command while the guest writes numbered, checksummed
blocks. After each swap it shows the proof. Exit status 0 when nothing was lost.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from lxml import etree

from tests.lab import oracle
from tests.lab.guest.domain import Domain
from tests.lab.guest.guest import Guest
from tests.lab.lab import VARIABLE, Lab
from tests.lab.pattern import Fill
from tests.lab.volumes import KINDS, Volume

MIB = 1 << 20
SIZE = 256 * MIB
FILLED = Fill(seed=11, length=128 * MIB)
#: Slow enough to watch, and more than twice what the guest's writers can dirty: 250 granules
#: of 64 KiB a second at most. Without it a swap takes a second or two.
SPEED = '40MiB'
ROUTE = ('rbd', 'iscsi', 'nfs')
LAB = (sys.executable, '-m', 'tests.lab', '--name', 'demo')

_CONF = """\
[blockmirror]
journal_path = {home}/journal.sqlite
iscsi_initiator_name = iqn.2026-11.org.blockmirror:demo
nfs_uid = 0
nfs_gid = 0
"""


def say(text: str = '') -> None:
    """Print at once, in order with what the commands print."""
    print(text, flush=True)


class Demo:
    """One guest and its travels."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.home = lab.artefacts_dir / f'demo-{os.getpid()}'
        self.home.mkdir(mode=0o700, parents=True)
        self.config = self.home / 'blockmirror.conf'
        self.config.write_text(_CONF.format(home=self.home))
        self.failures = 0

    def run(self) -> int:
        """Travel the route; return how many promises were broken."""
        source: Volume = KINDS['nfs'](self.lab).create(SIZE)
        source.write(FILLED, FILLED.length)
        volumes = [source]
        domain = Domain(f'demo-{os.getpid()}', [source.disk_xml('vda')])
        try:
            with Guest(self.lab, domain) as guest:
                say(f'== a guest boots on {source.kind}:{source.name} ({SIZE // MIB} MiB)')
                guest.start()
                for kind in ROUTE:
                    volumes.append(KINDS[kind](self.lab).create(SIZE))
                    guest.start_writers(writers=2, blocks=512, delay_us=8000)
                    guest.wait_acked(100)
                    self.travel(guest, volumes[-2], volumes[-1])
                    self.judge(guest, volumes[-1])
        finally:
            for volume in volumes:
                volume.delete()
        return self.failures

    def travel(self, guest: Guest, source: Volume, destination: Volume) -> None:
        """One swap: the plan before, the progress, the proof after."""
        say(f'\n== {source.kind} -> {destination.kind}')
        path = self.home / 'connection.json'
        path.touch(mode=0o600)
        path.write_text(json.dumps(destination.connection_info()))
        where = (guest.name, 'vda', str(path))
        say(f'$ blockmirror plan {guest.name} vda {destination.kind}.json')
        self.check('plan', self.blockmirror('plan', *where) == 0)
        guest.reset()
        say(f'$ blockmirror swap --bandwidth {SPEED} {guest.name} vda {destination.kind}.json')
        self.check('swap', self.blockmirror('swap', '--bandwidth', SPEED, *where) == 0)
        path.unlink()
        after = guest.wait_acked(50)
        say(f'longest write of the guest      {after.longest_us / 1000:.0f} ms')
        say(f'I/O errors in the guest         {after.errors}')
        self.check('no I/O error', after.errors == 0)
        self.show_disk(guest, destination)

    def show_disk(self, guest: Guest, destination: Volume) -> None:
        """Live = inactive = the new source, and no job left: read with libvirt, not with us."""
        live, stored = (_source(guest.domain.XMLDesc(flags)) for flags in (0, 2))
        say(f'live source                     {live}')
        say(f'stored source                   {stored}')
        job = guest.domain.blockJobInfo('vda', 0)
        say(f'block job                       {job or "none"}')
        self.check('live source is the new one', destination.name in live)
        self.check('live and stored source agree', live == stored)
        self.check('no job is left', not job)

    def judge(self, guest: Guest, volume: Volume) -> None:
        """Compare the volume, read from its backend, with all that the guest had acknowledged."""
        say(f'-- the judge reads {volume.kind}:{volume.name} back from its server')
        stat = guest.stop_writers()
        report = oracle.check(volume.read_back(), guest.acked(), FILLED)
        say(f'writes acknowledged meanwhile   {stat.acked}')
        say(f'blocks of the writers checked   {report.checked}')
        say(f'other blocks compared           {report.compared}')
        say(f'writes lost                     {report.lost}')
        say(f'blocks foreign or changed       {report.foreign + report.changed}')
        self.check('every acknowledged write is there, and nothing else', report.ok)

    def blockmirror(self, *args: str) -> int:
        """Run the command, showing what it shows."""
        tool = Path(sys.executable).with_name('blockmirror')
        argv = [str(tool), '--config-file', str(self.config), *args]
        return subprocess.run(argv, check=False).returncode

    def check(self, what: str, ok: bool) -> None:
        """Count a broken promise, loudly."""
        if not ok:
            self.failures += 1
            say(f'!! NOT TRUE: {what}')


def _source(domain_xml: str) -> str:
    source: Any = etree.fromstring(domain_xml).find('devices/disk/source')
    return f'{source.get("protocol")}:{source.get("name")}'


def main() -> int:
    """Bring a lab up, run the demo in it, take it down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--keep', action='store_true', help='leave the lab running')
    keep = parser.parse_args().keep
    if os.environ.get(VARIABLE):
        failures = Demo(Lab.from_env()).run()
        say('\nnothing was lost' if not failures else f'\n{failures} promises broken')
        return 1 if failures else 0
    say('== the lab: libvirt, QEMU, Ceph, an iSCSI target, an NFS server')
    subprocess.run([*LAB, 'up'], check=True)
    try:
        argv = [*LAB, 'run', '--', sys.executable, '-m', 'tests.demo']
        return subprocess.run(argv, check=False).returncode
    finally:
        if not keep:
            subprocess.run([*LAB, 'down'], check=False)


if __name__ == '__main__':
    sys.exit(main())
