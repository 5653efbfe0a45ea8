"""What carries the core: clocks, the session actor, the manager, VAD batches, playout, tools and recordings."""
