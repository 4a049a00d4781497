"""The server behind the container credentials endpoint. It imports nothing of the rest of rolekeeper.

systemd starts it for a request and it ends soon after, so its start is part of every first answer. It therefore loads
only modules that are built into the interpreter or nearly so: no json, no re, no dataclasses, and `_socket` in the
place of `socket`, which alone would cost as much as half of the interpreter's own start.
"""
