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
"""What an administrator does through the APIs, and what the records say afterwards."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any

import openstack

from tests.cloud import site as places
from tests.cloud import storage
from tests.cloud.server import Server
from tests.cloud.site import Site
from tests.lab.deadline import wait_until
from tests.lab.lab import Lab
from tests.lab.layout import LabError, write_private
from tests.lab.process import run

#: Seconds for what the services do; generous, since they share two cores with the guests.
WAIT_S = 120.0
#: The volume API that shows an attachment's connection_info.
_ATTACHMENTS = '3.44'
#: The volume API that extends a volume which is attached.
_EXTENDS_IN_USE = '3.42'
_COMPUTE = '2.89'


@dataclasses.dataclass(frozen=True)
class Record:
    """A volume as Cinder's administrator sees it.

    :ivar name_id: the id that its name on the backend is made of
    """

    id: str
    status: str
    migration_status: str | None
    volume_type: str
    backend: str
    name_id: str
    size: int

    @property
    def name(self) -> str:
        """Its name on the backend, in Cinder's default template."""
        return f'volume-{self.name_id}'


class Api:
    """The cloud's APIs, with the rights of an administrator."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.site = Site(lab.layout)
        self.cloud: Any = openstack.connect(**self._login('admin', 'admin'))

    def as_user(self, name: str, project: str) -> Any:
        """A connection of another user; all have the cloud's one password."""
        return openstack.connect(**self._login(name, project))

    def _login(self, name: str, project: str) -> dict[str, Any]:
        return {
            'auth_url': self.site.auth_url,
            'username': name,
            'password': self.site.password,
            'project_name': project,
            'user_domain_name': 'Default',
            'project_domain_name': 'Default',
            'region_name': places.REGION,
            'load_envvars': False,
            'load_yaml_config': False,
        }

    # -- servers -----------------------------------------------------------------------

    def boot(self, name: str, volume: Record | None = None) -> Server:
        """Boot a server, from an image or from a volume, and wait for its agent."""
        image = self.cloud.image.find_image('tiny')
        given: dict[str, Any] = {'image_id': image.id}
        if volume is not None:
            mapping = {'boot_index': 0, 'uuid': volume.id, 'source_type': 'volume'}
            mapping |= {'destination_type': 'volume', 'delete_on_termination': False}
            given = {'block_device_mapping_v2': [mapping]}
        # A second host may be up.
        given['availability_zone'] = f'nova:{places.NODE}'
        made = self.cloud.compute.create_server(name=name, flavor_id='1', networks='none', **given)
        made = self.cloud.compute.wait_for_server(made, wait=WAIT_S)
        server = Server(self.lab, self.site.journal, made.id, made.instance_name)
        server.reconnect()
        return server

    def reboot(self, server: Server, kind: str) -> None:
        """Reboot a server, ``SOFT`` or ``HARD``, and wait for its agent."""
        server.console.close()
        self.cloud.compute.reboot_server(server.id, kind)
        self._wait_status(server, 'ACTIVE')
        server.reconnect()

    def stop(self, server: Server) -> None:
        """Stop a server."""
        server.console.close()
        self.cloud.compute.stop_server(server.id)
        self._wait_status(server, 'SHUTOFF')

    def start(self, server: Server) -> None:
        """Start a stopped server, and wait for its agent."""
        self.cloud.compute.start_server(server.id)
        self._wait_status(server, 'ACTIVE')
        server.reconnect()

    def _wait_status(self, server: Server, status: str) -> None:
        def reached() -> bool:
            found = self.cloud.compute.get_server(server.id)
            return found.status == status and not found.task_state

        wait_until(reached, WAIT_S, f'{server.name} is {status}')

    def live_migrate(self, server: Server, host: str) -> str:
        """Let Nova move a running server to another host; returns how the migration ended.

        The guest is paused meanwhile, with what it has in flight: QEMU without KVM loses pages
        of a running guest's memory on the way.
        """
        server.console.close()
        self.cloud.compute.pause_server(server.id)
        self._wait_status(server, 'PAUSED')
        body = {'os-migrateLive': {'host': host, 'block_migration': 'auto'}}
        path = f'/servers/{server.id}'
        since = len(self._migrations(server))
        answer = self.cloud.compute.post(f'{path}/action', json=body, microversion=_COMPUTE)
        if answer.status_code >= 300:
            raise LabError('nova', f'live migration: {answer.status_code} {answer.text[:300]}')

        def ended() -> str | None:
            found = self._migrations(server)[since:]
            told = str(found[-1]['status']) if found else ''
            return told if told in ('completed', 'error', 'failed', 'cancelled') else None

        how = wait_until(ended, WAIT_S, f'the live migration of {server.name} ends')
        self._wait_status(server, 'PAUSED')
        self.cloud.compute.unpause_server(server.id)
        self._wait_status(server, 'ACTIVE')
        return how

    def _migrations(self, server: Server) -> list[dict[str, Any]]:
        """Nova's records of a server's migrations, the oldest first."""
        query = f'/os-migrations?instance_uuid={server.id}'
        told = self.cloud.compute.get(query, microversion=_COMPUTE).json()['migrations']
        return sorted(told, key=lambda one: one['id'])

    def host_of(self, server: Server) -> str:
        """Nova's name of the host that a server runs on."""
        told = self.cloud.compute.get(f'/servers/{server.id}').json()['server']
        return str(told['OS-EXT-SRV-ATTR:host'])

    def swap(self, server: Server, old: Record, new: Record) -> None:
        """Ask Nova for a swap as Cinder does, but without Cinder."""
        path = f'/servers/{server.id}/os-volume_attachments/{old.id}'
        body = {'volumeAttachment': {'volumeId': new.id}}
        answer = self.as_user('cinder', 'service').compute.put(path, json=body)
        if answer.status_code >= 300:
            raise LabError('nova', f'swap: {answer.status_code} {answer.text[:300]}')

    def swap_failure(self, server: Server) -> str | None:
        """The result of the newest swap that Nova's records of actions show, once there is one."""
        path = f'/servers/{server.id}/os-instance-actions'
        for one in self.cloud.compute.get(path).json()['instanceActions']:
            if one['action'] == 'swap_volume':
                told = self.cloud.compute.get(f'{path}/{one["request_id"]}').json()
                events = told['instanceAction']['events']
                results = [event['result'] for event in events if event['result']]
                return results[0] if results else None
        return None

    def delete_server(self, server: Server) -> None:
        """Delete it and wait until it is gone."""
        server.console.close()
        self.cloud.compute.delete_server(server.id)
        wait_until(
            lambda: self.cloud.compute.find_server(server.id) is None, WAIT_S, 'the server is gone'
        )

    # -- volumes -----------------------------------------------------------------------

    def create(self, volume_type: str, *, image: str | None = None) -> Record:
        """Create a volume of 1 GiB and wait until it is available."""
        given = {'image_id': self.cloud.image.find_image(image).id} if image else {}
        made = self.cloud.block_storage.create_volume(size=1, volume_type=volume_type, **given)
        return self.wait(made.id, 'available')

    def record(self, volume_id: str) -> Record:
        """What Cinder says of a volume now."""
        told = self.cloud.block_storage.get(f'/volumes/{volume_id}').json()['volume']
        return Record(
            id=told['id'],
            status=told['status'],
            migration_status=told.get('migration_status'),
            volume_type=told['volume_type'],
            backend=(told['os-vol-host-attr:host'] or '').partition('#')[0].partition('@')[2],
            name_id=told.get('os-vol-mig-status-attr:name_id') or told['id'],
            size=told['size'],
        )

    def wait_answers(self) -> None:
        """Wait until Cinder answers again: its API asks Keystone who is calling."""

        def answers() -> bool:
            return bool(self.cloud.block_storage.get('/limits').status_code == 200)

        wait_until(answers, WAIT_S, 'the volume API answers')

    def wait(self, volume_id: str, status: str, seconds: float = WAIT_S) -> Record:
        """Wait until a volume has a status, and return what Cinder says of it.

        :raise LabError: it went to an error, or took too long
        """

        def reached() -> Record | None:
            found = self.record(volume_id)
            if found.status.startswith('error') and not status.startswith('error'):
                raise LabError('cinder', f'{volume_id} is {found.status}, not {status}')
            return found if found.status == status else None

        return wait_until(reached, seconds, f'volume {volume_id} is {status}')

    def wait_moved(self, volume_id: str, seconds: float = WAIT_S) -> Record:
        """Wait until a retype or a migration has ended, well or badly."""
        settled = ('in-use', 'available', 'error')

        def ended() -> Record | None:
            found = self.record(volume_id)
            done = found.migration_status in ('success', 'error')
            return found if done and found.status in settled else None

        return wait_until(ended, seconds, f'the move of volume {volume_id} ends')

    def forget_move(self, volume_id: str) -> None:
        """Let a volume that was moved before look as if it never was."""
        body = {'os-reset_status': {'migration_status': 'none'}}
        self.cloud.block_storage.post(f'/volumes/{volume_id}/action', json=body)

    def attach(self, server: Server, volume: Record) -> str:
        """Attach a volume; returns the target of its disk, once the guest's kernel has it."""
        self.cloud.compute.create_volume_attachment(server.id, volume_id=volume.id)
        self.wait(volume.id, 'in-use')
        dev = str(self.attachments(server)[volume.id]['device']).rpartition('/')[2]
        server.wait_disk(dev)
        return dev

    def detach(self, server: Server, volume: Record) -> None:
        """Detach a volume and wait until it is available."""
        path = f'/servers/{server.id}/os-volume_attachments/{volume.id}'
        self.cloud.compute.delete(path)
        self.wait(volume.id, 'available')

    def extend(self, volume: Record, size: int) -> Record:
        """Make a volume in use larger, in GiB, and wait until Cinder says so."""
        path, body = f'/volumes/{volume.id}/action', {'os-extend': {'new_size': size}}
        answer = self.cloud.block_storage.post(path, json=body, microversion=_EXTENDS_IN_USE)
        if answer.status_code >= 300:
            raise LabError('cinder', f'{body}: {answer.status_code} {answer.text[:300]}')

        def extended() -> Record | None:
            found = self.record(volume.id)
            return found if (found.size, found.status) == (size, 'in-use') else None

        return wait_until(extended, WAIT_S, f'volume {volume.id} has {size} GiB')

    def delete_volume(self, volume_id: str) -> None:
        """Delete a volume, whatever state it is in, and wait until it is gone."""
        api = self.cloud.block_storage
        found = api.find_volume(volume_id)
        if found is None:
            return
        reset = {'status': 'available', 'attach_status': 'detached', 'migration_status': 'none'}
        api.post(f'/volumes/{volume_id}/action', json={'os-reset_status': reset})
        api.delete_volume(volume_id)
        api.wait_for_delete(found, interval=1, wait=WAIT_S)

    def retype(self, volume: Record, volume_type: str, connection: Any = None) -> None:
        """Ask Cinder for a retype that may migrate."""
        self.forget_move(volume.id)
        body = {'os-retype': {'new_type': volume_type, 'migration_policy': 'on-demand'}}
        self._act(volume, body, connection)

    def migrate(self, volume: Record, backend: str) -> None:
        """Ask Cinder for a migration to another backend."""
        self.forget_move(volume.id)
        host = f'{places.NODE}@{backend}#{backend}'
        self._act(volume, {'os-migrate_volume': {'host': host, 'force_host_copy': False}})

    def _act(self, volume: Record, body: dict[str, Any], connection: Any = None) -> None:
        api = (connection or self.cloud).block_storage
        answer = api.post(f'/volumes/{volume.id}/action', json=body)
        if answer.status_code >= 300:
            raise LabError('cinder', f'{body}: {answer.status_code} {answer.text[:300]}')

    # -- what the records say ----------------------------------------------------------

    def attachments(self, server: Server) -> dict[str, dict[str, Any]]:
        """Nova's attachments of a server by the volume's id."""
        path = f'/servers/{server.id}/os-volume_attachments'
        told = self.cloud.compute.get(path, microversion=_COMPUTE).json()
        # A server that is gone has none.
        return {one['volumeId']: one for one in told.get('volumeAttachments', ())}

    def cinder_attachments(self, volume_id: str) -> list[dict[str, Any]]:
        """Cinder's attachments of a volume, each with its connection_info."""
        api = self.cloud.block_storage
        query = f'/attachments?volume_id={volume_id}'
        listed = api.get(query, microversion=_ATTACHMENTS).json()['attachments']
        return [
            api.get(f'/attachments/{one["id"]}', microversion=_ATTACHMENTS).json()['attachment']
            for one in listed
        ]

    def mapping(self, server: Server, volume_id: str) -> dict[str, Any]:
        """The connection_info of Nova's block device mapping, from its database.

        :raise LabError: there is not exactly one
        """
        query = (
            'SELECT connection_info FROM nova.block_device_mapping WHERE deleted = 0 '
            f"AND instance_uuid = '{server.id}' AND volume_id = '{volume_id}'"
        )
        socket = self.site.root / 'mariadb.sock'
        argv = ['mariadb', '--no-defaults', '-uroot', f'--socket={socket}', '-N', '-r', '-B']
        rows = [line for line in run(argv, stdin=query).splitlines() if line]
        if len(rows) != 1:
            raise LabError('nova', f'{len(rows)} mappings of volume {volume_id}')
        found: dict[str, Any] = json.loads(rows[0])
        return found

    def read_back(self, volume: Record) -> pathlib.Path:
        """A raw file with what a guest would see of a volume; only to be read."""
        stored = self._stored(volume)
        if self.key_id(volume.id) is None:
            return stored
        key, out = (self.lab.layout.scratch / f'{volume.name}.{end}' for end in ('key', 'plain'))
        write_private(key, self.passphrase(volume.id))
        image = f'driver=luks,key-secret=key,file.filename={stored}'
        argv = ['qemu-img', 'convert', '--object', f'secret,id=key,file={key}', '--image-opts']
        try:
            run([*argv, image, '-O', 'raw', str(out)])
        finally:
            key.unlink()
        return out

    def _stored(self, volume: Record) -> pathlib.Path:
        if volume.backend in places.RBD:
            pool, _user = places.RBD[volume.backend]
            out = self.lab.layout.scratch / f'{volume.name}.raw'
            out.unlink(missing_ok=True)
            run(['rbd', '--no-progress', 'export', f'{pool}/{volume.name}', str(out)])
            return out
        return storage.file_of(self.site, volume.backend, volume.name)

    def address(self, volume: Record) -> str:
        """What names a volume's image wherever it is named: the id of its image, or a device."""
        if volume.backend not in places.LOOP:
            return volume.name_id
        file = storage.file_of(self.site, volume.backend, volume.name)
        return run(['losetup', '--noheadings', '-O', 'NAME', '-j', str(file)]).strip()

    def volume_type(
        self, name: str, extra_specs: dict[str, str], *, luks_bits: int | None = None
    ) -> None:
        """Make a volume type unless it is there.

        :param luks_bits: its volumes are encrypted by QEMU, with keys of this size
        """
        api = self.cloud.block_storage
        if api.find_type(name) is not None:
            return
        made = api.create_type(name=name, extra_specs=extra_specs)
        if luks_bits is None:
            return
        encryption = {'provider': 'luks', 'control_location': 'front-end'}
        encryption |= {'cipher': 'aes-xts-plain64', 'key_size': str(luks_bits)}
        answer = api.post(f'/types/{made.id}/encryption', json={'encryption': encryption})
        if answer.status_code >= 300:
            raise LabError('cinder', f'{name}: {answer.status_code} {answer.text[:300]}')

    def key_id(self, volume_id: str) -> str | None:
        """The id of the key that Cinder has for a volume, if it is encrypted."""
        told = self.cloud.block_storage.get(f'/volumes/{volume_id}/encryption').json()
        found: str | None = told.get('encryption_key_id')
        return found

    def passphrase(self, volume_id: str) -> str:
        """What an encrypted volume is opened with, as Nova and Cinder make it of the key."""
        key_id = self.key_id(volume_id)
        assert key_id is not None, f'{volume_id} is not encrypted'
        return (self.site.keys / key_id).read_bytes().hex()

    def swaps(self, journal: pathlib.Path) -> list[dict[str, Any]]:
        """The rows of a host's journal, as ``blockmirror list`` shows them."""
        argv = ['blockmirror', 'list', '--journal', str(journal)]
        found: list[dict[str, Any]] = json.loads(run([*argv, '-f', 'json']))
        return found

    def blockmirror(self, verb: str, *words: str) -> str:
        """Run our command on the journal of nova-compute, and return what it printed.

        :raise LabError: it failed
        """
        return run(['blockmirror', verb, '--journal', str(self.site.journal), *words])
