"""stub"""

from typing import Any


class StsService:
    def __init__(self, *a: Any) -> None: ...
    def assume(self, *a: Any) -> Any: ...
