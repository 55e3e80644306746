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
"""Whether Nova finds our driver, told without importing either."""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

from blockmirror_driver.swap import checks
from blockmirror_driver.swap.checks import Check

#: What ``compute_driver = blockmirror.LibvirtDriver`` makes Nova import.
SHIM = 'nova.virt.blockmirror'


def examine() -> tuple[Check, ...]:
    """Check that the driver lies beside Nova; nothing is said where there is no Nova."""
    nova = importlib.util.find_spec('nova')
    if nova is None or not nova.submodule_search_locations:
        return ()
    folder = Path(next(iter(nova.submodule_search_locations)))
    if not (folder / 'virt' / 'driver.py').is_file():
        return ()
    if _find(SHIM, [str(folder / 'virt')]) is not None:
        return (checks.passed('nova', f'its driver is beside Nova, in {folder.parent}'),)
    fix = (
        'install blockmirror-driver into the environment that nova-compute runs in, with the pip '
        'of that environment'
    )
    ours = Path(__file__).resolve().parents[2]
    detail = f'Nova is in {folder.parent}, blockmirror in {ours}: nova-compute finds no driver'
    return (checks.failed('nova', detail, fix),)


def _find(name: str, path: list[str]) -> ModuleSpec | None:
    """Find a submodule as the import would, but without importing its parents."""
    for finder in sys.meta_path:
        find_spec = getattr(finder, 'find_spec', None)
        try:
            found: ModuleSpec | None = find_spec(name, path) if find_spec else None
        except KeyError:
            # A folder without a file, which an uninstall may leave: a namespace, whose parent
            # would have to be imported.
            continue
        if found is not None and found.loader is not None and found.has_location:
            return found
    return None
