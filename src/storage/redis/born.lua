-- The word that marks this data, stored by the first who asks, and the server's run_id.
-- KEYS: the mark. ARGV: a word of our own.
local word = redis.call('GET', KEYS[1])
if not word then
    word = ARGV[1]
    redis.call('SET', KEYS[1], word)
end
-- A user without the right to ask learns no run_id.
local info = redis.pcall('INFO', 'server')
return { word, type(info) == 'string' and string.match(info, 'run_id:(%w+)') or '' }
