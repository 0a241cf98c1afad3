-- The word that marks this data, and how long ago (ms) it was found that other data was lost; -1 where it was not.
-- KEYS: the word, the mark of a loss.
-- A write that changes nothing: a copy may not have what its primary has, and refuses it.
redis.call('PERSIST', KEYS[1])
local lost = string.match(string_or_none(KEYS[2]), '^%w+ (%d+)$')
return { redis.call('GET', KEYS[1]) or '', lost and text(math.max(time() - lost, 0)) or '-1' }
