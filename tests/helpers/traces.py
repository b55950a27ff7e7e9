"""Counting how often JAX traces a function: once, if nothing is compiled again."""


def count_traces(function):
    """Return the function, with the number of its calls in `traces`."""

    def counting(*arguments):
        counting.traces += 1
        return function(*arguments)

    counting.traces = 0
    return counting
