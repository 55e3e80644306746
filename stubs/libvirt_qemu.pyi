# ruff: noqa: N802 - the names are libvirt's
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
#
# What we use of the QEMU part of libvirt-python; see libvirt.pyi. Only virt/monitor.py does.
from typing import Any

import libvirt

def qemuMonitorCommand(domain: libvirt.virDomain, cmd: str, flags: int) -> str: ...
def qemuMonitorCommandWithFiles(
    domain: libvirt.virDomain, cmd: str, files: list[int] = ..., flags: int | None = ...
) -> tuple[str, list[Any]]: ...
