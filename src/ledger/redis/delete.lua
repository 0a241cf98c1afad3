-- Marks a session as deleted; the first mark stays.
-- KEYS: the session. ARGV: when (Unix ms).
if redis.call('HEXISTS', KEYS[1], 'record') == 0 then return 0 end
return redis.call('HSETNX', KEYS[1], 'deleted', ARGV[1])
