-- Returns the word that marks this data, and how long ago (ms) a loss of other data was noticed; -1 if none was.
-- KEYS: the word, the mark of a loss.
-- The write changes nothing. A copy refuses it, and a copy may lack what its primary has.
redis.call('PERSIST', KEYS[1])
local lost = string.match(string_or_none(KEYS[2]), '^%w+ (%d+)$')
return { redis.call('GET', KEYS[1]) or '', lost and text(math.max(time() - lost, 0)) or '-1' }
