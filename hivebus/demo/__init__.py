"""Six agents as processes, one of them killed in the middle: the promise, shown on this machine."""
