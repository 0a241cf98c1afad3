-- The word that marks this data, stored by the first who asks, the server's run_id, why nothing can be written here now
-- ('' where it can), and the time (Unix ms). A SET that changes nothing is refused like any other.
-- Who knows another word tells of a loss: the mark of that lasts longer than anybody asks for it.
-- KEYS: the word, the mark of a loss. ARGV: a word of our own, the word that was known before ('' for none).
local now = text(time())
local set = redis.pcall('SET', KEYS[1], ARGV[1], 'NX')
local refused = type(set) == 'table' and set.err or ''
-- A user without the right to run INFO gets no run_id.
local info = redis.pcall('INFO', 'server')
local run_id = type(info) == 'string' and string.match(info, 'run_id:(%w+)') or ''
local word = redis.call('GET', KEYS[1]) or ''
if refused == '' and ARGV[2] ~= '' and ARGV[2] ~= word then
    if string.match(string_or_none(KEYS[2]), '^%w+') ~= word then
        redis.call('SET', KEYS[2], word .. ' ' .. now, 'EX', 3600)
    end
end
return { word, run_id, refused, now }
