"""Mail that is held: where it lies, who may have it, and its way out.

A release delivers the original bytes once. For mail in our own store it goes so:

1. The row goes from `held` to `releasing` in one compare-and-set, with a claim of its own: of two releases one wins.
2. The bytes are read and held against their hash; the next hop is asked to take the sender and every recipient. Until
   here nothing was handed over: a failure, or a crash that the next release finds, puts the row back to `held`.
3. Before the message's end is sent, the row says that it is `sending`; from here the next hop may have it.
4. The next hop's reply to the message's end decides: accepted makes the row `released`, refused makes it `held`.
5. A crash between 3 and the row's change in 4 leaves `releasing` with `sending`. SMTP has no way to ask a next hop
   whether it took a message (RFC 1047), so nobody guesses: such a row is not lost, is listed, is not sent again by
   itself, and a person settles it: `release --again` (a double at worst) or `release --settle` (it was delivered).

Every other moment is told by the row alone: before 3 the next hop cannot have the message, after 4 it is written down
that it has. For mail in Postfix's hold queue, 2 to 4 are one `postsuper -H`, which may be repeated: the queue file
leaves the hold queue by a rename, and what is no longer on hold is not released a second time.

What was released may pass the filter once more on its way. It is known there by the hash of its bytes and its
recipients, as the row has them, and by no field that a stranger could write.
"""

from mailwarden.stores.quarantine.files import HeldFiles
from mailwarden.stores.quarantine.rows import Held, HeldMail, Place, Quarantine, State

__all__ = ["Held", "HeldFiles", "HeldMail", "Place", "Quarantine", "State"]
