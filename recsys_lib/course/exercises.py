"""Checks of a learner's answers: one friendly sentence each, and nothing that stops a notebook."""

import base64
import math
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

import numpy as np

Condition = tuple[Callable[[Any], Any], str]


def check(scope: Mapping[str, Any], name: str, *conditions: Condition, right: str = "") -> None:
    """Print whether a learner's variable is right, in which way it is wrong, or that it is not yet there.

    Parameters
    ----------
    scope : mapping
        The notebook's variables: `globals()`.
    name : str
        The variable that holds the answer.
    *conditions : (function, str)
        What must hold for the answer, and the sentence to print where it does not; the first one that fails
        is told. An answer on which a function raises is wrong, too.
    right : str
        A sentence to add where all hold.

    Examples
    --------
    >>> check({"share": 1.5}, "share", (lambda share: share <= 1, "A share is at most 1."))
    Not right yet: share. A share is at most 1.
    >>> check({"share": 0.5}, "share", (lambda share: share <= 1, "A share is at most 1."))
    Right: share.
    >>> check({}, "share")
    Not yet there: share. Give it a value in the cell above, run that cell, then this one.
    """
    answer = scope.get(name)
    if answer is None or answer is Ellipsis:
        print(f"Not yet there: {name}. Give it a value in the cell above, run that cell, then this one.")
        return
    for holds, sentence in conditions:
        try:
            fine = bool(np.all(holds(answer)))
        except NameError as error:  # the check itself lacks something: a cell above has not been run
            sentence, fine = f"It could not be checked: {error}. Run the cells above.", False
        except Exception as error:  # whatever a learner wrote: the answer is a sentence, not a traceback
            sentence += f" (Yours, of type {type(answer).__name__}, could not be checked: {error}.)"
            fine = False
        if not fine:
            print(f"Not right yet: {name}. {sentence}")
            return
    print(f"Right: {name}. {right}".rstrip())


def near(sealed: str, tolerance: float, low: str = "", high: str = "") -> list[Condition]:
    """Return the conditions of a number that must come close to another one, which is out of sight.

    Parameters
    ----------
    sealed : str
        The number in base64, as `base64.b64encode(b"2.5")` gives it: a learner who reads the check does not
        read the answer with it.
    tolerance : float
        The largest distance that counts as right; wide enough for any seed and profile.
    low, high : str
        What to add for an answer that is too low, or too high.

    Examples
    --------
    >>> check({"mean": 3}, "mean", *near("Mi41", 0.1, high="Did you divide by n?"))
    Not right yet: mean. It is too high. Did you divide by n?
    """
    value = float(base64.b64decode(sealed))
    return [
        (lambda answer: isinstance(_scalar(answer), Real), "It should be a number."),
        (lambda answer: math.isfinite(_scalar(answer)), "It should be a finite number."),
        (lambda answer: _scalar(answer) >= value - tolerance, f"It is too low. {low}".rstrip()),
        (lambda answer: _scalar(answer) <= value + tolerance, f"It is too high. {high}".rstrip()),
    ]


def _scalar(answer: Any) -> Any:
    # A number may come as an array or a tensor of no dimensions; a truth value is no number.
    return (
        None if isinstance(answer, bool | np.bool_) else answer.item() if hasattr(answer, "item") else answer
    )
