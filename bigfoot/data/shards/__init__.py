"""Corpora in shards, on disk or in the cloud: listed by one reading, then streamed shard by shard."""
