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
import pathlib

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
    return file_of(site, backend, name).stat().st_blocks * 512


def devices(site: Site) -> list[str]:
    """The loop devices of the cloud's volumes, also of files that are gone."""
    told = run(['losetup', '--noheadings', '--raw', '-O', 'NAME,BACK-FILE']).splitlines()
    folders = tuple(f'{site.loop_files(name)}/' for name in places.LOOP)
    pairs = [line.partition(' ') for line in told]
    return [name for name, _, path in pairs if path.startswith(folders)]


def file_of(site: Site, backend: str, name: str) -> pathlib.Path:
    """The file of a volume, on any backend that has files."""
    if backend in places.NFS:
        return site.share_path(backend) / name
    return (site.loop_files(backend) if backend in places.LOOP else site.iscsi_files) / name
