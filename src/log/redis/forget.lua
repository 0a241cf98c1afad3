-- Removes a log and tells who follows it.
-- KEYS: the session, its log, its QR. ARGV: channel.
redis.call('UNLINK', KEYS[2], KEYS[3])
redis.call('HDEL', KEYS[1], LAST, EVENT)
redis.call('PUBLISH', ARGV[1], '')
return 1
