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
"""The guest's domain XML."""

import dataclasses
import pathlib
import re
from collections.abc import Sequence

from tests.lab.image.build import INITRD, KERNEL

#: Quiet, and with nothing that waits for entropy or calibrates a clock under emulation. The last
#: line saves an emulated processor 0.6 of 3.5 s, for nothing that a lab would miss.
_CMDLINE = (
    'console=ttyS0 quiet mitigations=off tsc=reliable random.trust_cpu=on panic=1 '
    'noreplace-smp rodata=off cryptomgr.notests ftrace=off nokaslr'
)


_AGENT = "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"


@dataclasses.dataclass(frozen=True)
class Domain:
    """A domain to be; TCG, since a lab must run where there is no KVM.

    :ivar disks: ``<disk>`` elements
    :ivar user: user and group of the QEMU process, ``name:name`` or ``+uid:+gid``; None for
        the default of libvirtd, root
    :ivar devices: further elements of ``<devices>``
    :ivar guest_agent: with the channel of a guest agent
    :ivar elements: further elements of ``<domain>``, such as ``<metadata>``
    """

    name: str
    disks: Sequence[str]
    memory_mib: int = 256
    user: str | None = None
    devices: str = ''
    elements: str = ''
    guest_agent: bool = False

    def devices_inside(self) -> list[str]:
        """Names of the disks in the guest: its kernel counts each kind from ``a``."""
        kinds = [
            found[:-1] for found in re.findall(r"<target dev='([a-z]+)'", ''.join(self.disks))
        ]
        return [f'{one}{chr(ord("a") + kinds[:at].count(one))}' for at, one in enumerate(kinds)]

    def xml(self, directory: pathlib.Path, socket: pathlib.Path) -> str:
        """The domain XML, with kernel and initrd from `directory`."""
        disks = ''.join(self.disks)
        scsi = "<controller type='scsi' index='0' model='virtio-scsi'/>"
        label = (
            "<seclabel type='static' model='dac' relabel='yes'>"
            f'<label>{self.user}</label></seclabel>'
        )
        return f"""\
<domain type='qemu'>
  <name>{self.name}</name>
  <memory unit='MiB'>{self.memory_mib}</memory>
  <vcpu>1</vcpu>
  {self.elements}
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <kernel>{directory / KERNEL}</kernel>
    <initrd>{directory / INITRD}</initrd>
    <cmdline>{_CMDLINE}</cmdline>
  </os>
  <features><acpi/></features>
  <cpu mode='custom' match='exact'><model>qemu64</model></cpu>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    {disks}
    {scsi if "bus='scsi'" in disks else ''}
    <controller type='usb' model='none'/>
    <serial type='pty'>
      <log file='{socket.with_suffix('.console')}' append='on'/><target port='0'/>
    </serial>
    <serial type='unix'>
      <source mode='bind' path='{socket}'/><target port='1'/>
    </serial>
    <memballoon model='none'/>
    {self.devices}{_AGENT if self.guest_agent else ''}
  </devices>
  {label if self.user else ''}
</domain>
"""
