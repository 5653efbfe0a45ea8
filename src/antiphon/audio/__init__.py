"""Sound as arrays: PCM, G.711, resampling, the sample-addressed buffer, and files.

Everything is mono ``int16`` unless a name says otherwise. Nothing here waits, knows a session or keeps a thread.
"""
