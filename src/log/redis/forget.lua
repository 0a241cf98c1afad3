-- Removes a log and what receivers of webhooks still were to get of it, and tells who follows it.
-- KEYS: the session, its log, its QR, how far its receivers are. ARGV: channel.
redis.call('UNLINK', KEYS[2], KEYS[3], KEYS[4])
redis.call('HDEL', KEYS[1], LAST, EVENT)
redis.call('PUBLISH', ARGV[1], '')
return 1
