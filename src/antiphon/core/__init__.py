"""The pure core: ``step(state, input) -> (state, effects)``.

Nothing here waits, allocates an id from outside, reads a clock or touches audio. Time arrives inside inputs, audio is
addressed by sample spans, and every id is derived from the seed that the session was opened with, so the same inputs
always give the same effects.
"""
