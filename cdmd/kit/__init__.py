"""Tools that know nothing of customers; each module could be its own package."""
