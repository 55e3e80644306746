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
"""What the plugin asks of the compute host and of the backends' storage, in this cloud.

Run inside the lab with the services' virtualenv: ``python -m tests.tempest.host WHAT ...``; the
plugin's options ``compute_command`` and ``backend_command`` say what there is.
"""

import argparse
import sys
from collections.abc import Callable

from tests.cloud import __main__ as cloud
from tests.cloud import site as places
from tests.cloud.openstack import OpenStack
from tests.cloud.site import Site
from tests.cloud.storage import allocated
from tests.lab.lab import Lab

#: When the guest has switched and nobody was told.
_DOOM = 'after:pivoted'


def main() -> int:
    """Entry point; the exit code is 0, 2 for what is not understood, else that of what failed."""
    parser = argparse.ArgumentParser(prog='python -m tests.tempest.host', description=__doc__)
    actions = parser.add_subparsers(dest='what', required=True)
    for what in ('kill', 'doom'):
        actions.add_parser(what)
    for what in ('stop', 'start'):
        actions.add_parser(what).add_argument(
            'backend', nargs='?' if what == 'start' else None, choices=places.BACKENDS
        )
    shown = actions.add_parser('allocated')
    shown.add_argument('backend', choices=places.BACKENDS)
    shown.add_argument('volume')
    options = parser.parse_args()
    lab = Lab.from_env()
    site = Site(lab.layout)
    if options.what == 'allocated':
        print(allocated(site, options.backend, options.volume))
        return 0
    if options.what == 'doom':
        return cloud.main(['restart', '--doom', _DOOM, 'nova-compute'])
    if options.what in ('stop', 'start') and options.backend:
        stop, cont = _storage(lab, options.backend)
        (stop if options.what == 'stop' else cont)()
        return 0
    compute = OpenStack(site).daemons['nova-compute']
    if options.what == 'kill':
        compute.kill()
        return 0
    return 0 if compute.alive() else cloud.main(['restart', 'nova-compute'])


def _storage(lab: Lab, backend: str) -> tuple[Callable[[], None], Callable[[], None]]:
    """How the server of a backend is stopped, and how it goes on."""
    if backend in places.NFS:
        return lab.nfs.stop, lab.nfs.cont
    if backend in places.ISCSI:
        return lab.iscsi.stop, lab.iscsi.cont
    return lab.ceph.stop, lab.ceph.cont


if __name__ == '__main__':
    sys.exit(main())
