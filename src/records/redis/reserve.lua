-- A place among so many.
-- KEYS: the places, by the time they were taken. ARGV: who, how many there may be.
-- 1: a new place. 2: it has one already. 0: all are taken.
if redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 2 end
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[1], redis.call('TIME')[1], ARGV[1])
return 1
