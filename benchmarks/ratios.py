"""What a benchmark has found: ratios to a peer or a limit, beside what is wanted of them."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Ratio:
    """A figure that may be compared between runs and machines.

    Attributes:
        name: what is divided by what.
        value: the ratio; seconds only where a limit in seconds is wanted.
        at_least: what is wanted, or None.
        at_most: what is wanted, or None.
    """

    name: str
    value: float
    at_least: float | None = None
    at_most: float | None = None

    @property
    def wanted(self) -> str:
        """Say what is wanted."""
        if self.at_least is not None:
            return f"at least {self.at_least:g}"
        return "" if self.at_most is None else f"at most {self.at_most:g}"

    @property
    def reached(self) -> bool:
        """Tell whether it is as wanted."""
        low, high = self.at_least, self.at_most
        return (low is None or self.value >= low) and (high is None or self.value <= high)


def print_ratios(ratios: Iterable[Ratio]) -> None:
    """Print a line for each."""
    for ratio in ratios:
        verdict = ("" if ratio.reached else "  NOT REACHED") if ratio.wanted else ""
        print(f"{ratio.name:58}{ratio.value:9.3f}  {ratio.wanted}{verdict}")
