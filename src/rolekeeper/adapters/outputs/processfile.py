"""stub"""


class ProcessFiles:
    def __init__(self, files): ...
