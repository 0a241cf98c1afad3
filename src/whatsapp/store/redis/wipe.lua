-- Deletes a device. If the session still exists, a mark is left that refuses commits until the next claim.
-- KEYS: the session, then all tables.
for at = 2, #KEYS do redis.call('UNLINK', KEYS[at]) end
redis.call('HDEL', KEYS[1], 'device', 'commit')
if redis.call('HEXISTS', KEYS[1], 'epoch') == 1 then redis.call('HSET', KEYS[1], 'device', 'wiped') end
return 1
