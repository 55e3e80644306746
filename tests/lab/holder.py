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
"""The first process of a lab's namespaces: it sets them up, says so, and stays.

Started as ``unshare --mount --net python -m tests.lab.holder ROOT``.
"""

import os
import pathlib
import shutil
import sys
from collections.abc import Sequence

from tests.lab.layout import Layout
from tests.lab.process import run

#: Host directories that get a private double.  All of them come with Debian's packages; one
#: that does not exist on this host is left out, for no host directory is ever created.
HYPERVISOR = ('/etc/libvirt', '/var/lib/libvirt', '/var/cache/libvirt', '/var/log/libvirt', '/run')
_PRIVATE = (
    *HYPERVISOR,
    '/etc/ceph',
    '/var/lib/ceph',
    '/var/log/ceph',
    '/var/lib/nfs',
    '/etc/iscsi',
    '/etc/nvme',
)


def hold(layout: Layout, private: Sequence[str] = _PRIVATE) -> None:
    """Set up the namespaces that this process was started in, say so, and stay for ever.

    :param private: directories that get a double
    """
    shutil.rmtree(layout.hostdirs / 'run', ignore_errors=True)  # as after a boot
    for name in private:
        target = pathlib.Path(name)
        if target.is_dir():
            double = layout.hostdirs / name.lstrip('/')
            double.mkdir(parents=True, exist_ok=True)
            run(['mount', '--bind', str(double), name])
    for name in ('lock', 'libvirt', 'ceph', 'ganesha', 'rpcbind', 'tgtd'):
        pathlib.Path('/run', name).mkdir(exist_ok=True)
    run(['ip', 'link', 'set', 'lo', 'up'])
    os.write(1, b'ready\n')
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)
    os.chdir('/')
    os.execvp('sleep', ['sleep', 'infinity'])


if __name__ == '__main__':
    hold(Layout.at(pathlib.Path(sys.argv[1])))
