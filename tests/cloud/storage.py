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
"""What volumes take on their backends' storage."""

import json

from tests.cloud import site as places
from tests.cloud.site import Site
from tests.lab.process import run


def allocated(site: Site, backend: str, name: str) -> int:
    """Bytes that a volume takes, by its name on the backend.

    :raise LabError: there is no such volume
    """
    if backend in places.RBD:
        pool, _user = places.RBD[backend]
        # Not "rbd du": it counts whole objects.
        told = json.loads(run(['rbd', 'diff', '--format', 'json', f'{pool}/{name}']))
        return sum(one['length'] for one in told if one['exists'] == 'true')
    folder = site.share_path(backend) if backend in places.NFS else site.iscsi_files
    return (folder / name).stat().st_blocks * 512
