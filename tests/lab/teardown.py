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

import contextlib
import json
import os
import pathlib
import shutil
from collections.abc import Iterable

from tests.lab.layout import LabError, Layout
from tests.lab.namespace import Namespace, mount_inode
from tests.lab.process import Identity, end, members, run

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
    holder = recorded.get('holder')
    _end_all(recorded, keep=keep)
    _detach_loops(layout)
    if holder:
        end(holder, 0)
    for record in _records(layout):
        record.unlink()
    if not keep:
        shutil.rmtree(layout.root)


def _end_all(recorded: dict[str, Identity], *, keep: bool) -> None:
    """End guests and commands that run inside, then the daemons, but not the holder."""
    daemons = {one for name, one in recorded.items() if name != 'holder'}
    for inode in _namespaces(recorded.values()):
        for identity in members(inode):
            if identity not in recorded.values():
                end(identity, 0)
    ordered = [recorded[name] for name in _ORDER if name in recorded] if keep else []
    for identity in ordered:
        end(identity, 20)
    for identity in daemons:
        end(identity, 0)


def _namespaces(recorded: Iterable[Identity]) -> set[int]:
    """Mount namespaces of living, recorded processes; never the caller's own.

    A stored number would not do: that of a namespace which is gone may be in use again.
    """
    found = set()
    for one in recorded:
        with contextlib.suppress(OSError):
            found.add(mount_inode(one.pid))
    return found - {mount_inode(os.getpid())}


def _records(layout: Layout) -> list[pathlib.Path]:
    return [*layout.pids.glob('*.json'), *layout.root.glob('*/pids/*.json')]


def _recorded(layout: Layout) -> dict[str, Identity]:
    """Living processes that were recorded, by name; those of a host within it after its name."""
    found = {}
    for path in _records(layout):
        host = path.parent.parent
        name = path.stem if host == layout.root else f'{host.name}/{path.stem}'
        found[name] = Identity.load(path)
    return {name: one for name, one in found.items() if one and one.alive()}


def _detach_loops(layout: Layout) -> None:
    """Detach loop devices, which no namespace holds, whose files are the lab's."""
    told = json.loads(run(['losetup', '--json', '--list', '--output', 'NAME,BACK-FILE']) or '{}')
    prefix = os.fspath(layout.volumes) + os.sep
    for device in told.get('loopdevices', []):
        if str(pathlib.Path(device['back-file'] or '/')).startswith(prefix):
            run(['losetup', '--detach', device['name']])
