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
"""Choosing among the portals of an iscsi unit.

A volume driver reads a connection_info without asking the network, so that its disk says the
same thing everywhere; whoever is about to open the disk chooses here.
"""

from __future__ import annotations

from dataclasses import replace

from blockmirror_driver.model import Disk, IscsiSource, Seconds
from blockmirror_driver.volume.reachable import Answering, first_answering


def choose(disk: Disk, timeout: Seconds, answering: Answering = first_answering) -> Disk:
    """Return the disk at the first of its portals that answers, with a note that says which.

    A disk with one portal, or of another kind, comes back as it is. When none answers the
    first of the list stays: the probe of the destination will say what is wrong with it.

    :param timeout: seconds in all; every portal is tried with one TCP connection. With 0
        none is tried.
    """
    source = disk.source
    if not isinstance(source, IscsiSource) or not timeout:
        return disk
    paths = ((source.portal, source.target, source.lun), *source.alternates)
    portals = list(dict.fromkeys(portal for portal, _target, _lun in paths))
    if len(portals) == 1:
        return disk
    answered = answering(portals, timeout)
    chosen = portals[0] if answered is None else answered
    why = 'none answered' if answered is None else 'the first of the list that answered'
    portal, target, lun = next(path for path in paths if path[0] == chosen)
    others = tuple(path for path in paths if path != (portal, target, lun))
    note = f'iscsi: portal {chosen} of {len(portals)} taken, {why}'
    return replace(
        disk,
        source=replace(source, portal=portal, target=target, lun=lun, alternates=others),
        notes=(*disk.notes, note),
    )
