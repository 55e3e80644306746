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
"""The options of blockmirror, group ``[blockmirror]`` of nova.conf or blockmirror.conf.

Each module owns some options and has ``register_opts(conf)`` and ``list_opts()``;
:mod:`blockmirror_driver.conf.opts` gathers them for oslo-config-generator.
"""

from __future__ import annotations

from oslo_config import cfg

from blockmirror_driver.conf import cinder, copy, host, journal, nova, volume

#: The option group that all of our options live in.
GROUP = 'blockmirror'

MODULES = (host, journal, copy, volume, nova, cinder)

CONF = cfg.CONF


def register_opts(conf: cfg.ConfigOpts) -> None:
    """Register every option of ours on ``conf``; safe to call more than once."""
    for module in MODULES:
        conf.register_opts(module.OPTS, group=GROUP)


register_opts(CONF)
