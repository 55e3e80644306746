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
"""Every service's configuration file, written anew at each ``up``."""

import dataclasses
import json
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from tests.cloud import site as places
from tests.cloud.environment import SERVICES
from tests.cloud.site import HOST, Site
from tests.lab.keys import folder_keys
from tests.lab.layout import write_private

Sections = dict[str, dict[str, Any]]
#: Cinder's driver of the iscsi backend.
_ISCSI_DRIVER = 'blockmirror_driver.cinder.tgtfile.TgtFileDriver'
#: Cinder's manager of volumes, whose copies of volumes without a server are ours.
_VOLUME_MANAGER = 'blockmirror_driver.cinder.manager.VolumeManager'
#: Seconds that a token lives.
TOKEN_S = 86400
_QUIET = (
    'amqp=WARN,oslo.messaging=INFO,oslo_messaging=INFO,sqlalchemy=WARN,stevedore=INFO,'
    'urllib3=WARN,keystonemiddleware=WARN,keystoneauth=WARN,oslo_policy=INFO,'
    'oslo.privsep.daemon=INFO,oslo_concurrency=INFO,dogpile=INFO'
)
#: Stands in for mount.nfs, since this kernel may have no NFS client: the lab's server exports
#: a directory of this same machine, and that is bound to where it shall be mounted.
_MOUNT = """\
#!/bin/sh
next=
for word in "$@"; do
    [ "$next" = -t ] && kind=$word
    next=$word
    case $word in {host}:{export}/*) share=$word ;; esac
done
if [ "$kind" = nfs ] && [ -n "$share" ]; then
    exec {mount} --bind "${{share#{host}:}}" "$word"
fi
exec {mount} "$@"
"""
#: On a busy machine QEMU gives up the derivation of a key at times, as its clock of the thread's
#: time shows no progress. Cinder asks once.
_QEMU_IMG = """\
#!/bin/sh
[ "$1" = create ] || exec {real} "$@"
for attempt in 1 2 3 4 5; do
    told=$({real} "$@" 2>&1) && echo "$told" && exit 0
    case $told in *'accurate CPU usage'*) ;; *) break ;; esac
done
echo "$told" >&2
exit 1
"""


@dataclasses.dataclass(frozen=True)
class Choice:
    """Which compute driver nova-compute loads, and what ``[blockmirror]`` has beside defaults.

    :ivar cinder: nova-compute's endpoint of Cinder, empty for the catalog's
    """

    driver: str = places.OUR_DRIVER
    native_protocols: Sequence[str] = ('rbd', 'iscsi', 'nfs')
    blockmirror: Mapping[str, str] = dataclasses.field(default_factory=dict)
    cinder: str = ''

    @classmethod
    def of(cls, site: Site) -> 'Choice':
        """The choice that was made last."""
        try:
            return cls(**json.loads(site.choice.read_text()))
        except FileNotFoundError:
            return cls()

    def store(self, site: Site) -> None:
        """Keep it for the next start of nova-compute."""
        write_private(site.choice, json.dumps(dataclasses.asdict(self)))


def write_all(site: Site) -> None:
    """Write all files. Values that are secret stay in files of mode 0600."""
    _stand_ins(site)
    for name, sections in {
        'keystone/keystone.conf': _keystone(site),
        'glance/glance-api.conf': _glance(site),
        'placement/placement.conf': _placement(site),
        'nova/nova.conf': _nova(site),
        'cinder/cinder.conf': _cinder(site),
    }.items():
        _write(site.etc / name, sections)
    shutil.copy(SERVICES.root / 'etc/nova/api-paste.ini', site.etc / 'nova')
    for name, share in site.shares.items():
        (site.etc / 'cinder' / f'{name}.shares').write_text(f'{share}\n')
    write_compute(site)


def write_compute(site: Site) -> None:
    """Write nova-compute's file, with the chosen driver."""
    _write(site.etc / 'nova' / 'nova-compute.conf', compute(site, Choice.of(site)))


def write_second(site: Site, choice: Choice) -> None:
    """Write the file of the second host's nova-compute: all that tells two hosts apart."""
    sections = compute(site, choice)
    state = site.state / 'nova2'
    sections['DEFAULT'] |= {'host': places.NODE2, 'my_ip': places.HOST2, 'state_path': state}
    sections['serial_console']['proxyclient_address'] = places.HOST2
    sections['libvirt'] |= {
        'nfs_mount_point_base': state / 'mnt',
        'live_migration_inbound_addr': places.HOST2,
    }
    sections['oslo_concurrency']['lock_path'] = state / 'lock'
    sections['blockmirror'] |= {
        'journal_path': site.journal2,
        'iscsi_initiator_name': 'iqn.2026-01.example.cloud:compute2',
    }
    privsep = _privsep(site, 'nova/nova-compute2.conf')
    sections |= dict.fromkeys(('nova_sys_admin', 'privsep_osbrick'), privsep)
    _write(site.etc / 'nova' / 'nova-compute2.conf', sections)


def compute(site: Site, choice: Choice) -> Sections:
    """What nova-compute's file has: no database, and the chosen driver."""
    sections = _nova(site)
    for name in ('database', 'api_database'):
        del sections[name]
    sections['DEFAULT']['compute_driver'] = choice.driver
    sections['blockmirror'] = {
        'connection_uri': 'qemu:///system',
        'journal_path': site.journal,
        'native_protocols': ','.join(choice.native_protocols),
        'iscsi_initiator_name': 'iqn.2026-01.example.cloud:compute',
        **choice.blockmirror,
    }
    if choice.cinder:
        sections['cinder']['endpoint_template'] = f'{choice.cinder}/v3/%(project_id)s'
    return sections


def write_keystone(site: Site, token_s: int) -> None:
    """Write Keystone's file, with tokens that live that many seconds."""
    _write(site.etc / 'keystone' / 'keystone.conf', _keystone(site, token_s))


def _write(path: pathlib.Path, sections: Sections) -> None:
    path.parent.mkdir(exist_ok=True)
    lines = []
    for name, options in sections.items():
        lines.append(f'[{name}]')
        lines += [f'{option} = {value}' for option, value in options.items()]
    write_private(path, '\n'.join(lines) + '\n')


def _stand_ins(site: Site) -> None:
    export = site.layout.volumes / 'nfs'
    mount, qemu_img = (
        shutil.which(name, path='/usr/bin:/bin:/usr/sbin:/sbin') for name in ('mount', 'qemu-img')
    )
    for name, text in {
        'mount': _MOUNT.format(host=HOST, export=export, mount=mount),
        'qemu-img': _QEMU_IMG.format(real=qemu_img),
    }.items():
        (site.bin / name).write_text(text)
        (site.bin / name).chmod(0o755)


def _database(site: Site, name: str) -> str:
    return f'mysql+pymysql://os:{site.password}@{HOST}:{places.MARIADB}/{name}?charset=utf8'


def _login(site: Site, user: str) -> dict[str, Any]:
    """Options with which a service logs in to Keystone."""
    return {
        'auth_type': 'password',
        'auth_url': site.auth_url,
        'username': user,
        'password': site.password,
        'user_domain_name': 'Default',
        'project_name': 'service',
        'project_domain_name': 'Default',
        'region_name': places.REGION,
    }


def _middleware(site: Site, user: str) -> dict[str, Any]:
    return {
        'www_authenticate_uri': site.auth_url,
        'memcached_servers': f'{HOST}:{places.MEMCACHED}',
        'service_token_roles': 'service',
        'service_token_roles_required': True,
        **_login(site, user),
    }


def _privsep(site: Site, conf: str) -> dict[str, Any]:
    return {'helper_command': f'{SERVICES.bin}/privsep-helper --config-file {site.etc}/{conf}'}


def _keys(site: Site) -> Sections:
    """The key manager, which gives each encrypted volume a key of its own."""
    return folder_keys.configuration(site.keys, folder_keys.SERVICES_BACKEND)


def _messages(site: Site) -> str:
    return f'rabbit://openstack:{site.password}@{HOST}:{places.RABBIT}/'


def _keystone(site: Site, token_s: int = TOKEN_S) -> Sections:
    etc = site.etc / 'keystone'
    return {
        'DEFAULT': {'log_file': site.log('keystone'), 'use_stderr': False},
        'database': {'connection': _database(site, 'keystone')},
        'token': {'provider': 'fernet', 'expiration': token_s},
        'fernet_tokens': {'key_repository': etc / 'fernet-keys'},
        'credential': {'key_repository': etc / 'credential-keys'},
        'cache': {
            'enabled': True,
            'backend': 'dogpile.cache.memcached',
            'memcache_servers': f'{HOST}:{places.MEMCACHED}',
        },
        'oslo_policy': {'enforce_scope': False},
    }


def _glance(site: Site) -> Sections:
    stores = site.state / 'glance'
    return {
        'DEFAULT': {
            'log_file': site.log('glance'),
            'use_stderr': False,
            'enabled_backends': 'fs:file',
            'worker_self_reference_url': f'http://{HOST}:{places.GLANCE}',
            # Without brackets Glance fails later, with a message about something else.
            'enabled_import_methods': '[glance-direct]',
        },
        'database': {'connection': _database(site, 'glance')},
        'keystone_authtoken': _middleware(site, 'glance'),
        'paste_deploy': {
            'flavor': 'keystone',
            'config_file': SERVICES.root / 'etc/glance/glance-api-paste.ini',
        },
        'glance_store': {'default_backend': 'fs'},
        'fs': {'filesystem_store_datadir': stores / 'images'},
        'os_glance_staging_store': {'filesystem_store_datadir': stores / 'staging'},
        'os_glance_tasks_store': {'filesystem_store_datadir': stores / 'tasks'},
        'oslo_concurrency': {'lock_path': site.state / 'lock'},
    }


def _placement(site: Site) -> Sections:
    return {
        'DEFAULT': {'log_file': site.log('placement'), 'use_stderr': False},
        'placement_database': {'connection': _database(site, 'placement')},
        'api': {'auth_strategy': 'keystone'},
        'keystone_authtoken': _middleware(site, 'placement'),
    }


def _nova(site: Site) -> Sections:
    state = site.state / 'nova'
    privsep = _privsep(site, 'nova/nova-compute.conf')
    first = next(iter(site.secrets.ceph))
    return {
        'DEFAULT': {
            'debug': True,
            'use_stderr': False,
            'host': places.NODE,
            'my_ip': HOST,
            'state_path': state,
            'instances_path': site.console_logs,
            'transport_url': _messages(site),
            'default_log_levels': _QUIET,
            'heal_instance_info_cache_interval': -1,
            'reserved_host_memory_mb': 0,
            'reserved_host_disk_mb': 0,
            'vif_plugging_is_fatal': False,
            'vif_plugging_timeout': 0,
            # A restart is over when a service has reported itself.
            'report_interval': 2,
            'block_device_allocate_retries_interval': 1,
            'running_deleted_instance_action': 'reap',
            # The guest has no ACPI daemon: the default of 60 s is waited for in vain.
            'shutdown_timeout': 3,
            # Nova waits for a thread of its own that listens to libvirt and never ends.
            'manager_shutdown_timeout': 5,
            'graceful_shutdown_timeout': 12,
        },
        'api': {'auth_strategy': 'keystone'},
        'wsgi': {'api_paste_config': site.etc / 'nova/api-paste.ini'},
        'api_database': {'connection': _database(site, 'nova_api')},
        'database': {'connection': _database(site, 'nova')},
        'keystone_authtoken': _middleware(site, 'nova'),
        'service_user': {'send_service_user_token': True, **_login(site, 'nova')},
        'placement': _login(site, 'placement'),
        'glance': {'api_servers': f'http://{HOST}:{places.GLANCE}'},
        'cinder': {
            'os_region_name': places.REGION,
            'catalog_info': 'volumev3:cinder:publicURL',
            **_login(site, 'nova'),
        },
        'neutron': _login(site, 'nova'),
        'vnc': {'enabled': False},
        'spice': {'enabled': False},
        # The guest's second serial port is where the agent listens.
        'serial_console': {
            'enabled': True,
            'port_range': '10000:10999',
            'proxyclient_address': HOST,
        },
        'libvirt': {
            'virt_type': 'qemu',
            'connection_uri': 'qemu:///system',
            'cpu_mode': 'none',
            'hw_machine_type': 'x86_64=q35',
            'num_pcie_ports': 12,
            'images_type': 'qcow2',
            'rbd_user': first,
            'rbd_secret_uuid': site.secrets.ceph[first],
            'nfs_mount_point_base': state / 'mnt',
            'wait_soft_reboot_seconds': 5,
            # Of another host only its address is known, which leads to libvirt's socket there.
            'live_migration_uri': f'qemu+unix:///system?socket={site.sockets}/%s',
            'live_migration_inbound_addr': HOST,
        },
        'oslo_concurrency': {'lock_path': site.state / 'lock'},
        'oslo_messaging_notifications': {'driver': 'messagingv2'},
        'scheduler': {'discover_hosts_in_cells_interval': 5, 'workers': 1},
        'conductor': {'workers': 1},
        'nova_sys_admin': privsep,
        'privsep_osbrick': privsep,
        'vif_plug_linux_bridge_privileged': privsep,
        'vif_plug_ovs_privileged': privsep,
        'workarounds': {'skip_cpu_compare_on_dest': True},
        **_keys(site),
    }


def _cinder(site: Site) -> Sections:
    etc, state = site.etc / 'cinder', site.state / 'cinder'
    privsep = _privsep(site, 'cinder/cinder.conf')
    sections: Sections = {
        'DEFAULT': {
            'debug': True,
            'use_stderr': False,
            'host': places.NODE,
            'my_ip': HOST,
            'state_path': state,
            'transport_url': _messages(site),
            'auth_strategy': 'keystone',
            'api_paste_config': SERVICES.root / 'etc/cinder/api-paste.ini',
            'resource_query_filters_file': SERVICES.root / 'etc/cinder/resource_filters.json',
            'rootwrap_config': SERVICES.root / 'etc/cinder/rootwrap.conf',
            'glance_api_servers': f'http://{HOST}:{places.GLANCE}',
            'enabled_backends': ','.join(places.ENABLED),
            'default_volume_type': places.BACKENDS[0],
            'default_log_levels': _QUIET,
            'periodic_interval': 10,
            'backend_stats_polling_interval': 10,
            'migration_create_volume_timeout_secs': 60,
            'osapi_volume_workers': 1,
            'volume_clear': 'none',
            'volume_manager': _VOLUME_MANAGER,
        },
        # A copy that ours can't do shall fail, not be done by another.
        'blockmirror': {
            'offline_copy': 'always',
            'iscsi_initiator_name': 'iqn.2026-01.example.cloud:cinder',
        },
        'database': {'connection': _database(site, 'cinder')},
        'keystone_authtoken': _middleware(site, 'cinder'),
        'service_user': {'send_service_user_token': True, **_login(site, 'cinder')},
        'nova': {'interface': 'public', **_login(site, 'cinder')},
        'oslo_concurrency': {'lock_path': site.state / 'lock'},
        'coordination': {'backend_url': f'file://{site.state}/coordination'},
        'cinder_sys_admin': privsep,
        'privsep_osbrick': privsep,
        **_keys(site),
    }
    for name, (pool, user) in places.RBD.items():
        sections[name] = {
            'volume_driver': 'cinder.volume.drivers.rbd.RBDDriver',
            'volume_backend_name': name,
            'rbd_pool': pool,
            'rbd_user': user,
            'rbd_ceph_conf': site.etc / 'ceph' / 'ceph.conf',
            'rbd_secret_uuid': site.secrets.ceph[user],
            'rbd_flatten_volume_from_snapshot': False,
            'rbd_exclusive_cinder_pool': True,
            'report_discard_supported': True,
        }
    for name in places.NFS:
        sections[name] = {
            'volume_driver': 'cinder.volume.drivers.nfs.NfsDriver',
            'volume_backend_name': name,
            'nfs_shares_config': etc / f'{name}.shares',
            'nfs_mount_point_base': state / 'mnt',
            'nfs_sparsed_volumes': True,
            'nfs_snapshot_support': False,
            'nas_secure_file_operations': False,
            'nas_secure_file_permissions': False,
        }
    for name in places.ISCSI:
        sections[name] = {
            'volume_driver': _ISCSI_DRIVER,
            'volume_backend_name': name,
            'tgtfile_directory': site.iscsi_files,
            'target_helper': 'tgtadm',
            'target_protocol': 'iscsi',
            'target_ip_address': HOST,
            'target_prefix': 'iqn.2026-01.example.cloud:',
            'volumes_dir': site.targets,
        }
    for name in places.LOOP:
        sections[name] = {
            'volume_driver': 'loopfile.LoopFileDriver',
            'volume_backend_name': name,
            'tgtfile_directory': site.loop_files(name),
            'volumes_dir': site.targets,
            'target_prefix': 'iqn.2026-01.example.cloud:',
        }
    return sections
