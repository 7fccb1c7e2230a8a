"""hivebus over Redis Streams: durable inboxes on Redis >= 7.0 or Valkey, or on an embedded server."""
