"""An installation moved from one place to another: from files to servers that machines share, and back.

What is moved is the journal, the store, or both, whichever of them lies elsewhere in the configuration that is moved to, and
what lies in the state directory where that is another one. In this order, so that a kill at any moment leaves one installation
that is whole and no second one that starts:

1. What is there is copied, while nobody uses it, into a place that says of itself that it is being filled (``stores``,
   ``journals``). What an earlier run copied is recognised.
2. Both are read again, from the beginning, and compared by counts and digests.
3. The old one says of itself that it was moved; then the new one no longer says that it is being filled; then files are put
   where they belong (``ending``).

Not here: SQL and streams (``cdmd.store``, ``cdmd.cluster``).
"""
