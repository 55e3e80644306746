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

from oslo_config import cfg


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
