"""Who is who: which identifiers of an event count, and whose event it is. Decides only; nothing here reads or writes."""
