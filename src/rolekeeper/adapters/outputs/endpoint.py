"""stub"""


class Endpoints:
    def __init__(self, *a): ...
