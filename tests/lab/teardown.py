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
"""Ending a lab: its processes, its loop devices, its files; nobody else's."""

import json
import os
import pathlib
import shutil
import signal

from tests.lab.layout import LabError, Layout
from tests.lab.namespace import Namespace
from tests.lab.process import Identity, end, run

#: Ended in this order when the data shall be kept; libvirtd's guests come before all of them.
_ORDER = (
    'libvirtd',
    'virtlogd',
    'ganesha',
    'rpcbind',
    'ceph-osd',
    'ceph-mgr',
    'ceph-mon',
)


def down(layout: Layout, namespace: Namespace, *, keep: bool) -> None:
    """Stop everything that the lab started, and remove its directory.

    :param keep: end the daemons in order and keep the files, for another ``up``
    :raise LabError: called from inside, or a process survives SIGKILL; then nothing is removed
    """
    if namespace.inside():
        raise LabError('down', 'not from inside the lab')
    if not layout.root.is_dir():
        return
    recorded = _recorded(layout)
    daemons = set(recorded.values())
    # The inode of a namespace that is gone may be in use again, so only trust a living holder.
    others = [one for one in namespace.members() if one not in daemons]
    for identity in others:
        end(identity, 0)
    if keep:
        for name in _ORDER:
            if name in recorded:
                recorded[name].signal(signal.SIGCONT)
                end(recorded[name], 20)
    for name, identity in recorded.items():
        if name != 'holder':
            end(identity, 0)
    _detach_loops(layout)
    if 'holder' in recorded:
        end(recorded['holder'], 0)
    for record in layout.pids.glob('*.json'):
        record.unlink()
    if not keep:
        shutil.rmtree(layout.root)


def _recorded(layout: Layout) -> dict[str, Identity]:
    """Living processes that were recorded, by name."""
    found = {path.stem: Identity.load(path) for path in layout.pids.glob('*.json')}
    return {name: one for name, one in found.items() if one and one.alive()}


def _detach_loops(layout: Layout) -> None:
    """Detach loop devices, which no namespace holds, whose files are the lab's."""
    told = json.loads(run(['losetup', '--json', '--list', '--output', 'NAME,BACK-FILE']) or '{}')
    prefix = os.fspath(layout.volumes) + os.sep
    for device in told.get('loopdevices', []):
        if str(pathlib.Path(device['back-file'] or '/')).startswith(prefix):
            run(['losetup', '--detach', device['name']])
