"""The same work by the reference and by us, in processes that take turns. Nothing of theirs is here."""
