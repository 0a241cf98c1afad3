-- Writes record and lease again as their owner knows them, after Redis came back: it may have lost them, or its end.
-- KEYS: the session. ARGV: record, owner, epoch, lease (ms), deleted ('' if not).
-- 1: they stand. 0: somebody else has the session.
if fence(KEYS[1], ARGV[2], ARGV[3]) == 0 then return 0 end
redis.call('HSET', KEYS[1], RECORD, ARGV[1], OWNER, ARGV[2], EPOCH, ARGV[3], EXPIRES, text(time() + ARGV[4]), RUNS, '1')
if ARGV[5] ~= '' then redis.call('HSET', KEYS[1], DELETED, ARGV[5]) end
return 1
