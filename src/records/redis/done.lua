-- Ends a request that was begun: it has made its session, or has failed and may be tried again.
-- KEYS: the request. ARGV: the session, how long to remember it (ms; 0: it has failed).
if redis.call('HGET', KEYS[1], MADE) ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then return redis.call('DEL', KEYS[1]) end
redis.call('HSET', KEYS[1], DONE, '1')
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
