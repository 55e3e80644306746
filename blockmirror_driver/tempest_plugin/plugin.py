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
"""What tempest finds by the entry point ``tempest.test_plugins``."""

from __future__ import annotations

from pathlib import Path

from oslo_config import cfg
from tempest import config
from tempest.test_discover import plugins

from blockmirror_driver.tempest_plugin import config as ours


class BlockmirrorPlugin(plugins.TempestPlugin):
    """The scenarios and their options."""

    def load_tests(self) -> tuple[str, str]:
        """Return where the tests are, and the directory that their modules' names begin at."""
        here = Path(__file__).resolve().parent
        return str(here), str(here.parents[1])

    def register_opts(self, conf: cfg.ConfigOpts) -> None:
        """Add our section."""
        config.register_opt_group(conf, ours.GROUP, ours.OPTS)

    def get_opt_lists(self) -> list[tuple[str, list[cfg.Opt]]]:
        """Return the options for tempest's sample configuration."""
        return [(ours.GROUP.name, ours.OPTS)]
