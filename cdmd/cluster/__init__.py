"""What several daemons share instead of files of their own: the journal on NATS JetStream, and leases in its key-value store.

Only with the extra ``cdmd[cluster]``, and only where the configuration says so: nothing here is imported by it otherwise
(``nats`` is imported by ``connection``, when it connects). How the promises of ``contracts`` map to JetStream:

* **Entries**: one message for each commit, or for each lane of it under a subject of its own (``division``), numbered by the
  daemon that writes, with the place that it expects (``Nats-Expected-Last-Sequence``). So a commit is whole or not there, an
  acknowledgement that got lost is found out about instead of guessed, and of two daemons that write only the one that opened
  last goes on (``commits``, ``entries``).
* **Connectors' state**: a second stream takes the changes of each commit after its entries are acknowledged; now and then they
  are brought into a bucket, a message for each key, and wiped from there (``beside``). Never ahead of the entries.
* **What is exchanged or removed** is erased by the server (it overwrites a deleted message), after what stands in its place is
  acknowledged.
* **Counters** travel in the message of their entries; the bucket's checkpoint says up to which place they are summed up.

* **Several daemons** apply what one writes: the stream stays one, so that there is one order and one number for each entry, and
  an entry says which lane it is of (its ``part``, by its strongest identifier). Each reads its lanes only (``lanes``), through
  one durable consumer of the server for each, and hears from whoever writes up to where all reaches (``heads``, ``following``).
  Positions are in the store, in the transaction of what was done, as is who has which lane: only who can write there needs
  one. A consumer's own shows an administrator what is not read yet, and nothing rests on it.
"""
