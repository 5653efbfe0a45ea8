"""What clients speak. Each protocol translates both ways and decides nothing: policy is the core's."""
