-- Returns four values: the word that marks this data, which the first caller stores; the server's run_id; why nothing
-- can be written here now ('' if it can); the time (Unix ms). The SET changes nothing, but is refused like any other
-- write.
-- A caller that knows another word proves that data was lost. The mark of that loss expires later than any caller asks
-- for it.
-- KEYS: the word, the mark of a loss. ARGV: a new word for unmarked data, the word that the caller knew before ('' for
-- none).
local now = redis.call('TIME')
now = string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000))
local set = redis.pcall('SET', KEYS[1], ARGV[1], 'NX')
local refused = type(set) == 'table' and set.err or ''
-- A user without the right to run INFO gets no run_id.
local info = redis.pcall('INFO', 'server')
local run_id = type(info) == 'string' and string.match(info, 'run_id:(%w+)') or ''
local word = redis.call('GET', KEYS[1]) or ''
if refused == '' and ARGV[2] ~= '' and ARGV[2] ~= word then
    local lost = redis.call('GET', KEYS[2]) or ''
    if string.match(lost, '^%w+') ~= word then
        redis.call('SET', KEYS[2], word .. ' ' .. now, 'EX', 3600)
    end
end
return { word, run_id, refused, now }
