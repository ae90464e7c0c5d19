"""What users' functions raise while something is iterated over, or awaited.

`StopIteration` would seem to be the end of that, and what is left would be missing in silence
(`next()` raises it in a function that finds nothing); a future cannot hold it. As from a generator
(PEP 479) it becomes a RuntimeError.
"""

from __future__ import annotations

_ENDS = (StopIteration, StopAsyncIteration)


def no_end(error: BaseException, who: str = "a function") -> BaseException:
    """What a user's function has raised, or what is raised in its place; it says `who` it was."""
    if not isinstance(error, _ENDS):
        return error
    told = RuntimeError(f"{who} raised {type(error).__name__}, which is not the end of this")
    told.__cause__ = error
    return told
