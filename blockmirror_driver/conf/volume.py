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
"""Options that turn a connection_info into a disk."""

from __future__ import annotations

from oslo_config import cfg

OPTS: list[cfg.Opt] = [
    cfg.StrOpt(
        'rbd_secret_uuid',
        help="""
UUID of the libvirt secret with the cephx key, for a connection_info whose ``secret_uuid`` is
empty.

Related options: ``rbd_user``.
""",
    ),
    cfg.StrOpt(
        'rbd_user',
        help="""
The cephx user, for a connection_info without ``auth_username``.

Related options: ``rbd_secret_uuid``.
""",
    ),
    cfg.StrOpt(
        'rbd_config_file',
        help="""
A ceph.conf that librados reads for every rbd disk we build.

With ``client_mount_timeout`` and ``rados_mon_op_timeout`` in its ``[client]`` section an
unreachable monitor costs the guest at most that long. The file must stay where it is as long
as any guest uses it.
""",
    ),
    cfg.StrOpt(
        'iscsi_initiator_name',
        help="""
The initiator's iqn. Without it the host's ``/etc/iscsi/initiatorname.iscsi`` is read.
""",
    ),
    cfg.FloatOpt(
        'iscsi_portal_timeout',
        default=3.0,
        min=0.0,
        help="""
Seconds to wait for TCP connections to the portals of a connection_info that lists several.

libvirt takes one portal: the first of the list that answers. All are tried at once. 0 tries
none and takes the first of the list.
""",
    ),
    cfg.IntOpt(
        'nfs_uid',
        min=0,
        help="""
The uid that the NFS client in QEMU presents. Without it QEMU's own uid is presented.

Related options: ``nfs_gid``.
""",
    ),
    cfg.IntOpt(
        'nfs_gid',
        min=0,
        help="""
The gid that the NFS client in QEMU presents.

Related options: ``nfs_uid``.
""",
    ),
    cfg.BoolOpt(
        'detect_zeroes',
        default=False,
        help="""
Set ``detect_zeroes='unmap'`` on disks whose connection_info allows discard, so that a thin
volume stays thin when it is copied.
""",
    ),
]
