"""A style whose place a function takes."""

from toonbox.engine.stylize import Style


class Acting(Style):
    """Has the card and the network of a style, and draws as a function does."""

    def __init__(self, style, act):
        super().__init__(style.card, style.session)
        self.act = act

    def __call__(self, photo, **look):
        return self.act(photo, **look)
