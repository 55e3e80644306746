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
"""Options of one swap: those of nova.conf, and over them the destination's volume type.

A volume type says by its extra specs how volumes are copied to it::

    openstack volume type set --property blockmirror:bandwidth=104857600 slow

Cinder's scheduler and drivers leave keys of a scope that is not theirs alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from oslo_config import cfg
from oslo_log import log as logging
from oslo_utils import strutils

from blockmirror_driver import exception
from blockmirror_driver.mirror.options import CopyOptions

LOG = logging.getLogger(__name__)

SCOPE = 'blockmirror:'


def _number(text: str) -> int:
    return int(text)


def _flag(text: str) -> bool:
    return strutils.bool_from_string(text, strict=True)


#: Key within the scope: the option, and how its value is read. Rates are bytes/s, sizes
#: bytes, times seconds.
KEYS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    'bandwidth': ('bandwidth', _number),
    'granularity': ('granularity', _number),
    'buf_size': ('buf_size', _number),
    'sync_writes': ('synchronous_writes', _flag),
    'allow_larger': ('allow_larger', _flag),
    'budget_wait': ('budget_wait', float),
    'timeout': ('copy_timeout', float),
    'stall_after': ('stall_after', float),
    'stall_timeout': ('stall_timeout', float),
    'probe_timeout': ('probe_timeout', float),
}


def copy_options(conf: cfg.ConfigOpts, extra_specs: Mapping[str, str]) -> CopyOptions:
    """Return the options of a copy to a volume of a type with these extra specs.

    A key of ours that we do not know is logged: a release that is older must not refuse
    what a newer one understands.

    :raise UsageError: a value can't be read or is out of range.
    """
    overrides: dict[str, Any] = {'allow_larger': conf.blockmirror.allow_larger}
    for key, text in extra_specs.items():
        if not key.startswith(SCOPE):
            continue
        known = KEYS.get(key.removeprefix(SCOPE))
        if known is None:
            LOG.warning('The extra spec %s of a volume type is not known and ignored', key)
            continue
        name, read = known
        try:
            overrides[name] = read(str(text).strip())
        except ValueError as error:
            raise exception.UsageError(
                f'the extra spec {key} of the volume type can not be read: {str(text)[:40]!r}'
            ) from error
    return CopyOptions.from_conf(conf, **overrides)
