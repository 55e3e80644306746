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
"""Sphinx's settings; the tables come from the code, see ``_ext/``."""

import importlib.metadata
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / '_ext'))
sys.path.append(str(Path(__file__).parents[2]))  # tests.bench makes tables of its records

project = 'blockmirror-driver'
author = 'The Blockmirror contributors'
copyright = author  # noqa: A001 - Sphinx's name
release = importlib.metadata.version(project)

extensions = [
    'blockmirror_tables',
    'cliff.sphinxext',
    'oslo_config.sphinxext',
    'reno.sphinxext',
]
exclude_patterns = ['_ext']
highlight_language = 'console'

html_theme = 'alabaster'
html_theme_options = {'description': 'Move the volume of a running guest, with proof'}
html_copy_source = False

man_pages = [
    (
        'cli/blockmirror',
        'blockmirror',
        'move the block volume of a running guest between storage backends',
        author,
        1,
    )
]
