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
"""What Nova and Cinder have on the volumes of a guest, for the audit.

In nova-compute it runs once at the start, in the background. The command reaches the same
records from outside, as nova-compute does: through the conductor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from nova import exception as nova_exception
from nova import objects
from nova.volume import cinder
from oslo_log import log as logging

from blockmirror_driver import exception
from blockmirror_driver.nova import credentials, strays
from blockmirror_driver.swap.audit import Records
from blockmirror_driver.swap.auditor import Auditor

if TYPE_CHECKING:
    from blockmirror_driver.nova.driver import LibvirtDriver

LOG = logging.getLogger(__name__)


class NovaRecords:
    """Asks Nova and Cinder for one guest after the other. One thread uses it.

    :param volume_api: Nova's client of Cinder.
    """

    def __init__(self, volume_api: Any) -> None:
        self._volume_api = volume_api

    def __call__(self, instance_uuid: str) -> tuple[Records, ...] | None:
        """Return the volumes of a guest, ``None`` when Nova has no such server.

        :raise HypervisorUnavailable: Nova or Cinder does not answer.
        """
        context = credentials.admin_context()
        try:
            objects.Instance.get_by_uuid(context, instance_uuid)
            mappings = objects.BlockDeviceMappingList.get_by_instance_uuid(context, instance_uuid)
            volumes = [one for one in mappings if one.is_volume and one.volume_id]
            found = strays.attachments(context, instance_uuid) if volumes else []
            attachments = {attachment.id: attachment for attachment in found}
            return tuple(self._records(context, one, attachments) for one in volumes)
        except nova_exception.InstanceNotFound:
            return None
        except Exception as error:
            raise exception.HypervisorUnavailable(
                f'the records of server {instance_uuid} can not be read: {error}',
                hint='Nova and Cinder have to answer for this',
            ) from error

    def _records(self, context: Any, mapping: Any, attachments: dict[str, Any]) -> Records:
        attachment = attachments.get(mapping.attachment_id)
        try:
            volume = self._volume_api.get(context, mapping.volume_id)
        except nova_exception.VolumeNotFound:
            volume = {}  # which the missing attachment tells
        return Records(
            volume_id=mapping.volume_id,
            attachment_id=mapping.attachment_id or '',
            device_name=mapping.device_name or '',
            attached_volume_id=attachment.volume_id if attachment else '',
            attachment_status=attachment.status if attachment else '',
            volume_status=volume.get('status') or '',
            migration_status=volume.get('migration_status') or '',
        )


def tell(driver: LibvirtDriver) -> None:
    """Audit this host, and log a warning for each thing that disagrees. Mends nothing.

    Raises nothing of ours: what can't be asked now is not audited at this start.
    """
    auditor = Auditor(
        driver.engine.hypervisor, driver.engine.journal, NovaRecords(driver.volume_api)
    )
    found = 0
    try:
        rows = auditor.audit()
    except exception.BlockmirrorError as error:
        LOG.warning('This host is not audited: %s', error)
        return
    for row in rows:
        where = f'{row.facts.dev} of {row.facts.domain_name}' if row.facts else 'this host'
        for finding in row.findings:
            found += 1
            LOG.warning('Audit, %s: %s. To mend it: %s', where, finding.text, finding.fix)
    LOG.info('Audit: %d findings', found)


def standalone(config_files: Sequence[str]) -> Callable[[str], tuple[Records, ...] | None]:
    """Return what asks Nova and Cinder from a process of its own.

    :param config_files: nova-compute's own; its ``[cinder]`` credentials are used.
    :raise UsageError: they can't be read, or lack something.
    """
    import nova.conf
    from nova import config
    from nova.conductor import rpcapi
    from nova.objects import base

    # Parsed once already, by our own command line.
    nova.conf.CONF.clear()
    words = [word for path in config_files for word in ('--config-file', path)]
    try:
        config.parse_args(['blockmirror', *words])
    except Exception as error:  # oslo.config's, oslo.messaging's, and SystemExit's cousins
        raise exception.UsageError(
            f"Nova's configuration can not be used: {str(error)[:200]}",
            hint='name the files that nova-compute is started with',
        ) from error
    nova.conf.CONF.set_override('log_file', None)
    objects.register_all()
    base.NovaObject.indirection_api = rpcapi.ConductorAPI()
    return NovaRecords(cinder.API())
