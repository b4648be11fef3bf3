"""Files of a message opened: archives, documents, pages, envelopes; each within the budget of the whole message."""
