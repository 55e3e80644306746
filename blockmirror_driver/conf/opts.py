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
"""What oslo-config-generator prints (entry point ``oslo.config.opts``)."""

from __future__ import annotations

from oslo_config import cfg

from blockmirror_driver import conf


def list_opts() -> list[tuple[str, list[cfg.Opt]]]:
    """Return each group with its options, in the order of the modules."""
    return [(conf.GROUP, [opt for module in conf.MODULES for opt in module.OPTS])]
