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
"""Real parts for the functional tests: libvirt, QEMU, Ceph, iSCSI, NFS, and a guest.

``python -m tests.lab up`` starts them in namespaces of their own, ``run -- COMMAND`` runs a
command in there, and :meth:`Lab.from_env` gives that command a handle on all of them.
"""

from tests.lab.lab import Lab, Part
from tests.lab.layout import LabError

__all__ = ['Lab', 'LabError', 'Part']
