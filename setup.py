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
"""What pyproject.toml can't say: where the package beside nova's comes from.

nova-compute looks for its driver below ``nova.virt`` only. A wheel that holds the one folder
``nova/virt/blockmirror``, and nothing of ``nova`` or ``nova.virt`` themselves, puts it there.
"""

import setuptools

setuptools.setup(
    setup_requires=['pbr>=6.1.1'],
    pbr=True,
    packages=[*setuptools.find_packages(include=['blockmirror_driver*']), 'nova.virt.blockmirror'],
    package_dir={'nova.virt.blockmirror': 'blockmirror_driver/nova/shim'},
)
