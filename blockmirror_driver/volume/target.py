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
"""Names of iscsi targets and initiators."""

from __future__ import annotations

#: RFC 3720, 3.2.6.1.
_MAX_BYTES = 223
#: Beside letters and digits; RFC 3722 allows ``-.:`` only, arrays emit the others too.
_PUNCTUATION = frozenset('.:-_+~')


def is_name(text: str) -> bool:
    """Tell whether it may be sent as a name; it need not be a proper iqn, eui or naa.

    Left out is what separates parts of libvirt's ``target/lun`` and of libiscsi's URL
    (``/ ? @ % &``), and all blanks.
    """
    return 0 < len(text.encode(errors='replace')) <= _MAX_BYTES and all(
        char.isalnum() or char in _PUNCTUATION for char in text
    )
