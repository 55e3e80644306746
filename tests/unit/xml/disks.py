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
"""Disks of every kind that is built."""

from __future__ import annotations

from blockmirror_driver.model import (
    Auth,
    Backing,
    BlockSource,
    Bytes,
    Disk,
    Driver,
    Encryption,
    FileSource,
    Host,
    Identity,
    IoTune,
    IscsiSource,
    NbdSource,
    NfsSource,
    RbdSource,
    SecretRef,
    SecretUsage,
    Source,
)

UUID = '0f4c2d8e-3a51-4a6e-9b0c-7d1f5e2a9c44'
CEPH = Auth('cinder', SecretRef(SecretUsage.CEPH, uuid=UUID))
CHAP = Auth('guest', SecretRef(SecretUsage.ISCSI, usage='array.1'))

SOURCES: dict[str, Source] = {
    'rbd': RbdSource('volumes', 'volume-1', (Host('10.1.0.1', 6789), Host('mon-b')), CEPH),
    'rbd, ipv6': RbdSource('pool.a', 'i+b', (Host('2001:db8::17', 3300),)),
    'rbd, namespace': RbdSource('volumes', 'volume-1', namespace='tenant'),
    'rbd, config': RbdSource('volumes', 'volume-1', config_file='/etc/ceph/east side.conf'),
    'iscsi': IscsiSource('iqn.2030-01.org.example:t', 7, Host('10.1.0.2', 3261), CHAP),
    'iscsi, initiator': IscsiSource('naa.5', 0, Host('::1'), initiator='iqn.2030-01.a:host'),
    'nfs': NfsSource(Host('nas.example.org'), '/srv/with space', 'volume-2'),
    'nfs, root': NfsSource(Host('10.1.0.3'), '/', 'volume-2', Identity(0, 0)),
    'nfs, half': NfsSource(Host('2001:db8::3'), '/a/b', 'ü', Identity(user=107)),
    'nbd': NbdSource('volume-3', Host('nbd.example.org', 10810)),
    'nbd, tls': NbdSource('ü &<', Host('2001:db8::4'), tls=True),
    'nbd, socket': NbdSource('volume-3', socket='/run/nbd of/a.sock'),
    'file': FileSource('/var/lib/a volume.img'),
    'block': BlockSource('/dev/disk/by-id/x'),
}

#: Every field has a value that is not its default.
FULL = Disk(
    source=SOURCES['rbd'],
    target_dev='sdb',
    bus='scsi',
    driver=Driver('qcow2', cache='none', io='threads', discard='unmap', detect_zeroes='unmap'),
    serial='a serial-1.2+3_4',
    readonly=True,
    shareable=True,
    logical_block_size=Bytes(512),
    physical_block_size=Bytes(4096),
    iotune=IoTune(
        read_bytes_sec=1,
        write_bytes_sec=2,
        total_iops_sec=3,
        read_bytes_sec_max=4,
        write_bytes_sec_max=5,
        total_iops_sec_max=6,
        size_iops_sec=7,
    ),
    encryption=Encryption(SecretRef(SecretUsage.VOLUME, uuid=UUID)),
    slice_size=Bytes(1 << 30),
    backing=Backing(FileSource('/b'), 'qcow2', Backing(FileSource('/c'))),
    device='lun',
)
