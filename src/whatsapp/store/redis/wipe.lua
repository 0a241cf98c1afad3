-- Deletes a device. If the session still exists, a mark is left that refuses commits until the next claim.
-- KEYS: the session, then all tables.
for at = 2, #KEYS do redis.call('UNLINK', KEYS[at]) end
redis.call('HDEL', KEYS[1], DEVICE, COMMIT)
if redis.call('HEXISTS', KEYS[1], EPOCH) == 1 then redis.call('HSET', KEYS[1], DEVICE, 'wiped') end
return 1
