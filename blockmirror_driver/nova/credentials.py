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
"""Whether nova-compute can talk to Cinder without the user who began a swap."""

from __future__ import annotations

from typing import Any

import nova.conf
from nova import context as nova_context
from nova import service_auth
from nova.volume import cinder
from oslo_config import cfg
from oslo_log import log as logging

LOG = logging.getLogger(__name__)


def admin_context() -> Any:
    """Return a context with the rights of nova-compute's own user of Cinder.

    Nova's own has no project. ``[cinder] endpoint_template`` may name one, and the address that
    comes of none is one under which Cinder answers 404 to everything.

    Raises nothing: where Keystone does not answer, the project stays unknown.
    """
    context = nova_context.get_admin_context()
    if '%(' in (nova.conf.CONF.cinder.endpoint_template or ''):
        try:
            session = service_auth.get_service_auth_session(nova.conf.cinder.cinder_group.name)
            auth = cinder._get_auth(context)  # noqa: SLF001 - what Nova asks Cinder with
            context.project_id = session.get_project_id(auth)
        except Exception as error:  # noqa: BLE001 - keystoneauth's, cinderclient's, requests'
            LOG.warning("The project of [cinder]'s user is not known: %s", type(error).__name__)
    return context


def missing(conf: cfg.ConfigOpts) -> list[str]:
    """Return what nova.conf lacks, one sentence each. Asks nobody on the network."""
    found = []
    if not (conf.cinder.auth_type or conf.cinder.auth_section):
        found.append(
            '[cinder] has no credentials (auth_type): what an interrupted swap has left can not '
            'be brought in line with Cinder after a restart'
        )
    if not conf.service_user.send_service_user_token:
        found.append(
            '[service_user] send_service_user_token is off: a copy that takes longer than the '
            "caller's token lives can not be completed with it"
        )
    return found
