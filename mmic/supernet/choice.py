"""What the parts of a single-path supernet share: one of several choices runs at a time."""


class Choice:
    """Mixin for modules that hold several choices and run one.

    Attributes:
        choices (tuple): All of them, in order.
        choice (object): The one that runs; ``default`` until another is selected.
        default (object): What the plain network has here.
    """

    def set_choices(self, choices, default):
        """Set the attributes; called at the end of a constructor.

        Raises:
            ValueError: ``default`` is not among ``choices``.
        """
        self.choices = tuple(choices)
        self.default = default
        self.select(default)

    def check_choice(self, choice):
        """Raise ValueError unless ``choice`` is among ``choices``; True and 1.0 are not 1."""
        if type(choice) not in (int, tuple) or choice not in self.choices:
            raise ValueError(f'{choice!r} is not among the choices {self.choices}.')

    def select(self, choice):
        """Run ``choice`` from now on; raises as ``check_choice`` does."""
        self.check_choice(choice)
        self.choice = choice

    def weights_of(self, choice):
        """State dict of the module that stands here in the network of this choice alone."""
        raise NotImplementedError
