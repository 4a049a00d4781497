"""stub"""


class StsService:
    def __init__(self, *a): ...
