"""When to look at a source that has to be asked: what is likely to have happened, and what its limits allow. No I/O."""
