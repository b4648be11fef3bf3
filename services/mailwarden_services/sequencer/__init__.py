"""Who numbers: one sequencer a shard of tenants owns their seqs, duplicates, first contacts, campaigns and spool."""
