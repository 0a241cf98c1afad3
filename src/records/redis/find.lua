-- A session as the deployment knows it now: record, owner (whose lease lasts), epoch, runs, deleted, wish, when it was
-- made, last event, the time, owner whether or not its lease lasts.
-- KEYS: the session.
local held = redis.call('HMGET', KEYS[1], RECORD, OWNER, EPOCH, RUNS, DELETED, WISH, WISHED, LAST, EXPIRES)
local now, last_owner = time(), held[2] or ''
held[2] = owner_at(now, held[2], held[9])
for at = 1, 8 do held[at] = held[at] or '' end
held[9] = text(now)
held[10] = last_owner
return held
