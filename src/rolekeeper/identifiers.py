"""The forms of names, those that AWS and SSM Agent give and our own; each describes a whole string (`fullmatch`).

- REGION: the regions of every partition (docs/protocol.md, section 2), so that a new one needs no new version of
  rolekeeper; no pseudo regions (fips-us-east-1, aws-global).
- UUID: a fingerprint (section 1.2) and an activation ID (section 2.1). In lower case: AWS accepts no other.
- NODE_ID: a managed node (section 2.1).
- NAME: an endpoint or a role in the configuration. An endpoint's name is the name of a file, the path of a
  URL, and a part of the name of a systemd credential.
"""

import re

REGION = re.compile(r"(?!fips-)[a-z]{2,8}(-[a-z]+)+-[0-9]{1,2}")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
NODE_ID = re.compile(r"mi-[0-9a-f]{17}")
NAME = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,64}")
