-- Returns the word that marks this data, and how long ago (ms) a loss of other data was noticed; -1 if none was.
-- KEYS: the word, the mark of a loss.
-- The write changes nothing. A copy refuses it, and a copy may lack what its primary has.
redis.call('PERSIST', KEYS[1])
local lost = string.match(redis.call('GET', KEYS[2]) or '', '^%w+ (%d+)$')
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
return { redis.call('GET', KEYS[1]) or '', lost and string.format('%.0f', math.max(now - lost, 0)) or '-1' }
